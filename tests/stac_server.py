"""Real STAC APIs over HTTP on a port of this machine, made for one test module and gone after it.

- `pgstac_server`: stac-fastapi with pgstac, the stack of the large public catalogues. It can filter, sort and
  count, pages by token, and needs PostgreSQL with PostGIS (Debian, Ubuntu: postgresql-postgis). Without
  them the test is skipped.
- `rustac_server`: the server inside rustac. It can neither filter nor sort nor count, pages by POST bodies,
  and needs nothing else, so it always runs.

stac-fastapi-geoparquet is not used: its DuckDB fetches the spatial extension from the network at the start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

START_S = 60.0
"""Longest wait for a server to answer."""


@contextmanager
def rustac_server(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Serve items, in collections of the names that they bear; gives the URL of the landing page."""
    command = Path(sys.executable).with_name("rustac")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
        port = free_port()
        arguments = ["serve", "--create-collections", "--addr", f"127.0.0.1:{port}", str(path)]
        with _running([str(command), *arguments], f"http://127.0.0.1:{port}/") as url:
            yield url


@contextmanager
def pgstac_server(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Serve items likewise, from pgstac; skips the test where PostgreSQL or PostGIS is absent."""
    with _postgres() as database:
        _load(items, database)
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "stac_fastapi.pgstac.app:app", "--port", str(port)]
        with _running([*command, "--log-level", "warning"], f"http://127.0.0.1:{port}/", database) as url:
            yield url


@contextmanager
def _running(command: list[str], url: str, variables: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server until the caller is done with it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=os.environ | dict(variables or {}), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Any) -> None:
    stop = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < stop:
        try:
            urllib.request.urlopen(url, timeout=5).read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    log.seek(0)
    raise RuntimeError(f"{url} does not answer: {log.read().decode()[-2000:]}")


@contextmanager
def _postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL of its own, empty; gives the variables by which clients find it."""
    programs = _programs()
    owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if owner:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    quick = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", f"unix_socket_directories={folder}"]
    port = free_port()
    variables = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "stac",
        "PGPASSWORD": "stac",
        "PGDATABASE": "postgres",
    }
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "stac", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **owner,
        )
        command = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), *quick]
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner
        )
        try:
            _wait_for_port(port)
            yield variables
        finally:
            process.terminate()
            process.wait(timeout=20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Find PostgreSQL's programs, with PostGIS beside them; skips the test where they are absent."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    known = shutil.which("initdb")
    for initdb in [*found, *([Path(known).resolve()] if known else [])]:
        asked = subprocess.run(
            [initdb.with_name("pg_config"), "--sharedir"], capture_output=True, text=True, check=False
        )
        share = Path(asked.stdout.strip() or f"/usr/share/postgresql/{initdb.parent.parent.name}")
        if (share / "extension" / "postgis.control").is_file():
            return initdb.parent
    pytest.skip("PostgreSQL with PostGIS is absent (Debian: apt-get install postgresql-postgis)")


def _wait_for_port(port: int) -> None:
    import psycopg

    stop = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(
                f"host=127.0.0.1 port={port} user=stac dbname=postgres", connect_timeout=5
            ).close()
        except psycopg.OperationalError:
            if time.monotonic() > stop:
                raise
            time.sleep(0.1)
        else:
            return


def _load(items: Sequence[Mapping[str, Any]], database: Mapping[str, str]) -> None:
    """Fill the database by pgstac's own tools."""
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods
    from pypgstac.migrate import Migrate

    dsn = "postgresql://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**database)
    with PgstacDB(dsn=dsn) as pgstac:
        Migrate(pgstac).run_migration()
        loader = Loader(pgstac)
        names = sorted({str(item["collection"]) for item in items})
        loader.load_collections([collection(name) for name in names], Methods.upsert)
        loader.load_items([dict(item) for item in items], Methods.upsert)
        pgstac.query_one("UPDATE pgstac.pgstac_settings SET value = 'on' WHERE name = 'context' RETURNING 1")


def collection(name: str) -> dict[str, Any]:
    """A STAC collection that may hold items of any place and time."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [["1900-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }
