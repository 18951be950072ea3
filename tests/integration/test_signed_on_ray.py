"""A real Ray whose actors read signed hrefs of a served catalogue, some of them hostile.

The storage knows the driver's token by its number, 0. It refuses the first that an actor gets, and leads
actors away from one of the files. The canary must never be asked, and no token may be left in any file of the
run or of Ray's session.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from item_files import footprint_of, item_document, projection_fields, write_pixels
from label_worlds import blobs, canonical
from raw_server import RawServer, canary
from ray_heads import ray_environment
from sas_server import SECRET, SasServer, sas_server
from stac_server import rustac_server

ROOT = Path(__file__).parents[2]
SIDE = 160
SIGNER = """
from pipeline.files.sas_tokens import PlanetaryComputerSigner

class LocalSigner(PlanetaryComputerSigner):
    hosts = ("localhost",)
"""
"""The Planetary Computer's signer for this machine, plugged in. A proxy that leads its real hosts here would
be in the way of Ray."""

KEY = "MYSUBSCRIPTIONKEY"
COLUMNS = {"west": (0, 60), "middle": (60, 110), "lured": (110, 160)}
"""First column and the one after the last, by scene."""

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

untouched = pytest.fixture(canary)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SasServer]:
    (tmp_path / "storage" / "naip").mkdir(parents=True)
    with sas_server(tmp_path / "storage") as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", server.token_url())
        monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", KEY)
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
        monkeypatch.setenv("PYTHONPATH", str(plugged_in(tmp_path / "plugin")))
        yield server


def plugged_in(folder: Path) -> Path:
    """Write the signer as an installed package."""
    about = folder / "local_signer-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: local-signer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[terraquery.signers]\nlocal = local_signer:LocalSigner\n")
    (folder / "local_signer.py").write_text(SIGNER)
    return folder


@pytest.fixture
def catalogue(tmp_path: Path, server: SasServer, untouched: RawServer) -> Iterator[str]:
    """A STAC API of the three scenes, and of items that lead elsewhere; gives its URL."""
    rng = np.random.default_rng(4)
    documents = []
    for name, (first, end) in COLUMNS.items():
        path = tmp_path / "storage" / "naip" / f"{name}.tif"
        write_pixels(path, rng.integers(30, 220, (3, SIDE, end - first)).astype(np.uint8), col0=first)
        documents.append(described(name, f"{storage(server)}/naip/{name}.tif", path))
    inside = f"http://localhost:{untouched.port}/naip/west.tif"
    hostile = {
        "elsewhere": inside,
        "gdal-path": f"/vsicurl/{inside}",
        "credentials": "http://169.254.169.254/latest/meta-data/iam/a.tif",
    }
    documents += [described(name, href, path) for name, href in hostile.items()]
    with rustac_server(documents) as url:
        yield url


def storage(server: SasServer) -> str:
    return server.url.replace("127.0.0.1", "localhost")


def described(name: str, href: str, like: Path) -> dict[str, object]:
    return item_document(name, {"image": href}, on_item=projection_fields(like), like=like, collection="naip")


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray keeps its sessions; a short path, for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="rg"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run(session: Path, *words: object) -> tuple[int, str]:
    """Run the job in a process of its own, which starts a Ray; returns exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "jobs/segment_region.py", *(str(word) for word in words), "--runner", "ray"],
        capture_output=True,
        text=True,
        timeout=420,
        cwd=ROOT,
        check=False,
        env=ray_environment() | {"RAY_TMPDIR": str(session)},
    )
    return done.returncode, done.stdout + done.stderr


def require_no_secret(said: str, *folders: Path) -> int:
    """Neither a token nor the user's key was said or is in any file; returns how many files were searched."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for secret in (SECRET, KEY):
        assert secret not in said
        found = [path for path in files if secret.encode() in path.read_bytes()]
        assert found == []
    return len(files)


def test_actors_read_signed_hrefs_and_follow_nobody_elsewhere(
    server: SasServer, catalogue: str, session: Path, tmp_path: Path, untouched: RawServer
) -> None:
    labels = blobs(np.random.default_rng(3), SIDE, SIDE, grain=9)
    write_pixels(tmp_path / "labels.tif", labels[None].astype(np.int32), nodata=None)
    area = tmp_path / "aoi.geojson"
    area.write_text(json.dumps(footprint_of(tmp_path / "labels.tif")))
    out = tmp_path / "out"
    command: list[object] = ["--source", f"stac:{catalogue}#naip", "--aoi", area]
    command += ["--allow-host", storage(server).partition("://")[2]]
    command += ["--query", "tanks", "--models", f"oracle:{tmp_path / 'labels.tif'}", "--out", out]
    command += ["--tile", 64, "--halo", 8, "--block", 2]

    server.revoked.add(1)
    server.leads_away["/naip/lured.tif"] = f"http://localhost:{untouched.port}/stolen.tif"
    status, said = run(session, *command)
    assert status == 3, said
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["tile_col"] for row in failed} == {
        2,
        3,
    }  # cores of 48 px: those that show columns from 110 on
    assert all("is redirected to" in row["error"] and "not allowed" in row["error"] for row in failed)
    by_status = [status for _, status in server.reads]
    assert by_status.count(403) == 1  # the first actor's first request
    assert by_status.count(302) >= 1
    assert len(server.tokens) >= 3  # the driver's, the refused one, and the one after it
    left = {row["scene_id"] for row in pq.read_table(out / "scenes.parquet").to_pylist() if not row["taken"]}
    assert left == {"elsewhere", "gdal-path", "credentials"}

    server.leads_away.clear()
    status, said_again = run(session, *command, "--retry-failed")
    assert status == 0, said_again
    found = np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0]).astype(np.int64)
    np.testing.assert_array_equal(canonical(found), canonical(labels))

    assert untouched.connections == 0
    logs = {path.name.partition("-")[0] for path in session.rglob("logs/*")}
    assert {"worker", "raylet.out", "gcs_server.out"} <= logs
    assert require_no_secret(said + said_again, out, session) > 30
