"""Whole runs over imagery whose hrefs are signed when they are read, with oracle models.

The items name files of Azure's storage by their real host; a proxy of the environment leads to a server on
this machine that has both, the files and the endpoint for tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from item_files import item_document, projection_fields, write_items, write_pixels
from label_worlds import blobs, canonical
from raw_server import RawServer, canary
from sas_server import SECRET, SasServer, sas_server

ROOT = Path(__file__).parents[2]
SIDE = 160
HOST = "naipeuwest.blob.core.windows.net"
KEY = "MYSUBSCRIPTIONKEY"

untouched = pytest.fixture(canary)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SasServer]:
    (tmp_path / "storage" / "naip").mkdir(parents=True)
    with sas_server(tmp_path / "storage") as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", server.token_url())
        monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", KEY)
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server


@pytest.fixture
def command(server: SasServer, tmp_path: Path, untouched: RawServer) -> list[object]:
    """A run over two scenes; a third item would lead elsewhere."""
    ids = blobs(np.random.default_rng(3), SIDE, SIDE, grain=9)
    write_pixels(tmp_path / "labels.tif", ids[None].astype(np.int32), nodata=None)
    rng = np.random.default_rng(4)
    documents = []
    for name, col0 in (("west", 0), ("east", SIDE // 2)):
        path = tmp_path / "storage" / "naip" / f"{name}.tif"
        pixels = rng.integers(30, 220, (3, SIDE, SIDE // 2)).astype(np.uint8)
        write_pixels(path, pixels, col0=col0)
        href = f"http://{HOST}/naip/{name}.tif"
        documents.append(item_document(name, {"image": href}, on_item=projection_fields(path), like=path))
    elsewhere = {"image": f"{untouched.url}/naip/west.tif"}
    documents.append(item_document("elsewhere", elsewhere, like=path, on_item=projection_fields(path)))
    items = write_items(tmp_path / "items.json", documents)
    return [
        *(
            "--source",
            items,
            "--whole-scene",
            "--query",
            "tanks",
            "--models",
            f"oracle:{tmp_path / 'labels.tif'}",
        ),
        *("--tile", 64, "--halo", 8, "--block", 1, "--runner", "local", "--allow-host", HOST),
        *("--out", tmp_path / "out"),
    ]


def run(command: list[object]) -> tuple[int, str]:
    """Run the job in a process of its own, which writes run.log; returns exit code and what it said."""
    words = [sys.executable, "jobs/segment_region.py", *(str(word) for word in command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)
    return done.returncode, done.stdout + done.stderr


def require_no_secret(folder: Path, said: str) -> None:
    """Nothing that a run leaves or says holds a token or the user's key."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"run.json", "plan.parquet", "report.html"} <= {path.name for path in files}
    for secret in (SECRET, KEY, "sig="):
        assert secret not in said
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_run_with_signed_hrefs_is_exact_and_keeps_no_token(
    server: SasServer, command: list[object], tmp_path: Path, untouched: RawServer
) -> None:
    """Its tokens are refused amid the run: tiles fail and say so. Given again, the command does the rest."""
    server.refuses_from = 8
    status, said = run(command)
    assert status == 3, said
    require_no_secret(tmp_path / "out", said)
    coverage = pq.read_table(tmp_path / "out" / "coverage.parquet").to_pylist()
    failed = [row for row in coverage if row["status"] == "failed"]
    assert failed
    assert all("403" in row["error"] for row in failed if HOST in row["error"])
    server.refuses_from = None
    status, said = run([*command, "--retry-failed"])
    assert status == 0, said
    require_no_secret(tmp_path / "out", said)
    group = zarr.open_group(str(tmp_path / "out" / "masks.zarr"), mode="r")
    found = np.asarray(group["instance_id"][0]).astype(np.int64)
    labels = blobs(np.random.default_rng(3), SIDE, SIDE, grain=9)
    np.testing.assert_array_equal(canonical(found), canonical(labels))
    assert 3 <= len(server.tokens) <= 6
    assert set(server.keys) == {KEY}
    assert untouched.connections == 0
    entry = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {scene["signer"] for scene in entry["scenes"]} <= {"planetary-computer", ""}
