"""A run whose models, catalogue and servers are hostile, and whose environment holds secrets.

Every file of it is read, and what it says on the screen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import spiteful_models
from fault_server import FaultServer, fault_server
from item_files import item_document, projection_fields, write_items, write_pixels
from job_files import load_job
from label_worlds import blobs
from planted_secrets import PLANTED, SAS, SECRET_ENVIRONMENT
from ray_heads import ray_environment
from spiteful_models import (
    HOSTILE,
    obeyed_in,
    secrets_in,
    strings_in,
    texts_of,
)

from pipeline.files.public_text import secret_values
from pipeline.run.infer import shared_models
from pipeline.write.report.map.map_section import map_scripts

ROOT = Path(__file__).parents[2]
SIDE = 192
PRESIGNED = PLANTED["presigned query"][0]

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "served").mkdir()
    with fault_server(tmp_path / "served") as server:
        yield server


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Secrets in the environment, and models that say them."""
    for name, value in SECRET_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    secret_values.cache_clear()
    for name in ("build_prompter", "build_segmenter"):
        monkeypatch.setattr(shared_models, name, getattr(shared_models, name))  # put back at the end
    spiteful_models.install()
    yield
    secret_values.cache_clear()


@pytest.fixture
def command(server: FaultServer, tmp_path: Path) -> list[object]:
    """Two scenes behind signed URLs, one that has gone, one whose href holds a password."""
    ids = blobs(np.random.default_rng(3), SIDE, SIDE, grain=9)
    write_pixels(tmp_path / "labels.tif", ids[None].astype(np.int32), nodata=None)
    rng = np.random.default_rng(4)
    documents = []
    third = SIDE // 3
    hrefs = [f"west.tif?{SAS}", f"mid.tif?{PRESIGNED}", f"gone.tif?{SAS}"]
    for number, href in enumerate(hrefs):
        path = tmp_path / "served" / href.partition("?")[0]
        pixels = rng.integers(30, 220, (3, SIDE, third)).astype(np.uint8)
        write_pixels(path, pixels, col0=number * third)
        document = item_document(
            f"{number} {HOSTILE[number]}",
            {"image": f"{server.url}/{href}"},
            on_item=projection_fields(path) | {"title": HOSTILE[3], "description": HOSTILE[0]},
            like=path,
            collection=HOSTILE[5],
        )
        documents.append(document)
    user = server.url.replace("://", "://someone:pa55w0rd!@")
    documents.append(item_document("user " + HOSTILE[2], {"image": f"{user}/west.tif"}, like=path))
    path.unlink()
    words: list[object] = ["--source", write_items(tmp_path / "items.json", documents), "--whole-scene"]
    words += [
        "--query",
        "tanks",
        "--models",
        f"oracle:{tmp_path / 'labels.tif'}",
        "--allow-host",
        "127.0.0.1",
    ]
    words += ["--tile", 64, "--halo", 8, "--block", 1, "--runner", "local", "--out", tmp_path / "out"]
    return words


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names = set[str]()
        self.handlers = set[str]()
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.handlers |= {name for name, _ in attrs if name.startswith("on")}
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = str(dict(attrs)["content"])


@pytest.mark.usefixtures("hostile")
def test_nothing_secret_or_hostile_leaves_a_run(
    run_job: Callable[..., int], command: list[object], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_job(*command, "--dry-run") == 0
    assert run_job(*command) == 3
    assert run_job(*command, "--explain-tile", "0", "0") == 0
    assert load_job("export_results").main([str(out), "--gpkg", "--cog"]) == 0
    load_job("verify_run").main([str(out)])
    assert run_job(*command, "--tile", 80) == 2  # another run: the difference is told
    seen = capfd.readouterr()
    said = seen.out + seen.err
    assert "HTTP 404" in said or "404" in said
    assert secrets_in(said) == set()
    assert obeyed_in(said) == set()

    found = list(texts_of(out))
    names = {path.name for path, _ in found}
    assert {"run.json", "item.json", "report.html", "coverage.parquet", "scenes.parquet", "run.log"} <= names
    assert [(path.name, secrets_in(text)) for path, text in found if secrets_in(text)] == []
    readable = {".json", ".html", ".log"}
    assert {p.name: obeyed_in(text) for p, text in found if p.suffix in readable and obeyed_in(text)} == {}
    for path in out.rglob("*.parquet"):
        table = pq.read_table(path)
        texts = list(strings_in([table[name].to_pylist() for name in table.column_names]))
        assert [text for text in texts if obeyed_in(text)] == [], path
        assert max((len(text) for text in texts), default=0) <= 20_000

    coverage = pq.read_table(out / "coverage.parquet").to_pylist()
    errors = " ".join(row["error"] for row in coverage if row["status"] == "failed")
    assert "RuntimeError" in errors
    assert "***" in errors
    assert "gone.tif" in errors
    report = (out / "report.html").read_text()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", report, re.S)
    assert [text for kind, text in scripts if 'type="application/json"' not in kind] == map_scripts()
    assert report.count("<script") == len(scripts)
    page = Tags(report)
    assert not {"svg", "iframe", "object", "link", "form"} & page.names
    assert page.handlers == set()
    assert page.policy.startswith("default-src 'none'")
    assert json.loads((out / "item.json").read_text())["type"] == "Feature"
    (package,) = out.rglob("*.gpkg")
    words = list(texts_in(package))
    assert any("you are owned" in text for text in words)
    assert [text for text in words if obeyed_in(text) or secrets_in(text)] == []


def texts_in(package: Path) -> Iterator[str]:
    """Every text in a GeoPackage's own tables."""
    with sqlite3.connect(package) as database:
        names = [name for (name,) in database.execute("SELECT table_name FROM gpkg_contents")]
        for name in names:
            for row in database.execute(f'SELECT * FROM "{name}"'):
                yield from (value for value in row if isinstance(value, str))


ON_RAY = """
import sys
import ray
from job_files import load_job
from pipeline.run.ray_access import own_token
own_token()
hook = {"worker_process_setup_hook": "spiteful_models.install"}
ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env=hook,
         object_store_memory=150 * 2**20, _temp_dir=sys.argv[1])
sys.exit(load_job("segment_region").main(sys.argv[2:]))
"""


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_nothing_secret_is_in_the_files_and_logs_of_a_run_on_ray(
    command: list[object], tmp_path: Path
) -> None:
    words = [str(word) for word in command]
    words[words.index("--runner") + 1] = "ray"
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "tests"))
    scratch = Path(tempfile.mkdtemp(prefix="rayhead"))  # short, for its sockets
    try:
        done = subprocess.run(
            [sys.executable, "-c", ON_RAY, str(scratch), *words],
            cwd=ROOT,
            env=ray_environment() | SECRET_ENVIRONMENT | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=400,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 3, said
        assert secrets_in(said) == set()
        logs = [
            path for path in scratch.rglob("*") if path.is_file() and path.suffix in (".log", ".out", ".err")
        ]
        texts = [(path, path.read_text(errors="replace")) for path in logs]
        printed = ("you are owned", "alert(1)", "onmouseover", "/C calc", "im_start", "{{7*7}}")
        assert any(word in text for _, text in texts for word in printed)  # what the models print is there
        assert [(path.name, secrets_in(text)) for path, text in texts if secrets_in(text)] == []
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = list(texts_of(tmp_path / "out"))
    assert "RuntimeError" in " ".join(text for _, text in found)
    assert [(path.name, secrets_in(text)) for path, text in found if secrets_in(text)] == []
