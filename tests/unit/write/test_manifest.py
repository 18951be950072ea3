"""manifest.json against hashes of the standard library; a whole snapshot and what is left of one."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from record_world import QUERIES, id_raster, lattice_of, table_of, write_rasters
from s3_server import BUCKET, serving_s3

from pipeline.errors import IncompleteRunError, InputError
from pipeline.files.store.zarr_adapter import Written
from pipeline.write import manifest as module
from pipeline.write.manifest import (
    MANIFEST_VERSION,
    Manifest,
    manifest_bytes,
    read_manifest,
    snapshot_name,
    write_manifest,
)
from pipeline.write.run_dir import RunDir

FP = "f" * 64


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> RunDir:
    place = tmp_path / "out" if request.param == "local" else None
    if place is None:
        return RunDir(f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}/out").in_snapshot("abc")
    return RunDir(place).in_snapshot("abc")


def written_of(content: bytes, key: str) -> Written:
    return Written(key, len(content), hashlib.sha256(content).hexdigest())


def filled(run_dir: RunDir) -> RunDir:
    (run_dir.instances / "part-00000.parquet").write_bytes(b"rows")
    (run_dir.instances / "part-00001.parquet").write_bytes(b"more rows")
    run_dir.coverage.write_bytes(b"ledger")
    run_dir.report.write_bytes(b"")
    return run_dir


def test_every_file_is_named_with_size_and_hash(run_dir: RunDir) -> None:
    shard = written_of(b"pixels", "mask/c/0/0/0")
    manifest = write_manifest(filled(run_dir), FP, [shard])
    content = {
        "masks.zarr/mask/c/0/0/0": b"pixels",
        "instances/part-00000.parquet": b"rows",
        "instances/part-00001.parquet": b"more rows",
        "coverage.parquet": b"ledger",
        "report.html": b"",
    }
    assert manifest == Manifest(
        snapshot="abc",
        fingerprint=FP,
        files={path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in content.items()},
    )
    assert read_manifest(run_dir) == manifest
    assert list(manifest.files) == sorted(content)
    document = json.loads(run_dir.manifest.read_bytes())
    assert set(document) == {"manifest_version", "snapshot", "fingerprint", "files"}
    assert document["files"]["coverage.parquet"] == {
        "size": 6,
        "sha256": hashlib.sha256(b"ledger").hexdigest(),
    }


def test_pages_beside_the_report_are_named_too(run_dir: RunDir) -> None:
    page = filled(run_dir).zone_report("west")
    page.write_bytes(b"page")
    manifest = write_manifest(run_dir, FP, [], pages=[page])
    assert manifest.files["zones/west/report.html"] == (4, hashlib.sha256(b"page").hexdigest())


def test_the_shards_of_a_real_store_need_no_second_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were hashed on their way; the other files alone are measured."""
    run_dir = filled(RunDir(tmp_path).in_snapshot("abc"))
    rasters = [id_raster(seed=0), id_raster(seed=1)]
    store = write_rasters(run_dir.masks.local(), lattice_of(), rasters, table_of(rasters))
    assert len(QUERIES) == len(rasters)
    looked: list[str] = []
    measure = module.measured

    def watched(path: Any) -> tuple[int, str]:
        looked.append(path.below(run_dir.results))
        return measure(path)

    monkeypatch.setattr(module, "measured", watched)
    manifest = write_manifest(run_dir, FP, store.written())
    assert not any(path.startswith("masks.zarr") for path in looked)
    root = run_dir.results.local()
    there = {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    there.pop("manifest.json")
    assert dict(manifest.files) == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in there.items()
    }


def test_what_could_not_be_made_is_not_named(run_dir: RunDir) -> None:
    filled(run_dir).report.delete()
    manifest = write_manifest(run_dir, FP, [])
    assert sorted(manifest.files) == [
        "coverage.parquet",
        "instances/part-00000.parquet",
        "instances/part-00001.parquet",
    ]


def test_tables_that_are_gone_make_no_manifest(run_dir: RunDir) -> None:
    """A driver slept, and its successor removed the snapshot that nobody was shown."""
    filled(run_dir).coverage.delete()
    with pytest.raises(IncompleteRunError, match="was removed while its snapshot was being written"):
        write_manifest(run_dir, FP, [])
    assert not run_dir.manifest.exists()


def test_the_same_files_give_the_same_bytes_in_any_order(run_dir: RunDir) -> None:
    shards = [written_of(b"%d" % n, f"mask/c/0/0/{n}") for n in range(12)]
    write_manifest(filled(run_dir), FP, shards)
    first = run_dir.manifest.read_bytes()
    write_manifest(run_dir, FP, reversed(shards))
    assert run_dir.manifest.read_bytes() == first


def test_a_snapshot_without_a_manifest_has_none(run_dir: RunDir) -> None:
    assert read_manifest(filled(run_dir)) is None


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(manifest_version=MANIFEST_VERSION + 1),
        without("manifest_version"),
        without("files"),
        without("snapshot"),
        without("fingerprint"),
        lambda document: document["files"]["report.html"].pop("sha256"),
        lambda document: document.update(files={"report.html": None}),
    ],
)
def test_a_damaged_or_newer_one_is_refused_with_what_to_do(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    run_dir = filled(RunDir(tmp_path).in_snapshot("abc"))
    write_manifest(run_dir, FP, [])
    document = json.loads(run_dir.manifest.read_bytes())
    change(document)
    run_dir.manifest.write_bytes(json.dumps(document).encode())
    with pytest.raises(InputError, match=r"manifest\.json must be the readable manifest.*restitch_region"):
        read_manifest(run_dir)


def test_every_prefix_of_one_is_refused(tmp_path: Path) -> None:
    run_dir = filled(RunDir(tmp_path).in_snapshot("abc"))
    whole = manifest_bytes(write_manifest(run_dir, FP, [])).rstrip()
    assert run_dir.manifest.read_bytes().rstrip() == whole
    for n in range(0, len(whole), 23):
        run_dir.manifest.write_bytes(whole[:n])
        with pytest.raises(InputError, match="readable manifest"):
            read_manifest(run_dir)


@pytest.mark.parametrize(
    "content", [b"[]", b"7", b'"text"', b"null", b'{"manifest_version": 1, "files": []}']
)
def test_other_json_is_refused(tmp_path: Path, content: bytes) -> None:
    run_dir = RunDir(tmp_path).in_snapshot("abc")
    run_dir.manifest.write_bytes(content)
    with pytest.raises(InputError, match="readable manifest"):
        read_manifest(run_dir)


def test_a_name_follows_from_all_that_the_bytes_follow_from(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"fingerprint": FP, "records": {"b00000_00000": "1", "b00000_00001": "2"}, "mode": "instances"}
    name = snapshot_name(content)
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")
    assert snapshot_name(dict(reversed(content.items()))) == name
    assert snapshot_name({**content, "mode": "semantic"}) != name
    assert snapshot_name({**content, "records": {"b00000_00000": "1", "b00000_00001": "3"}}) != name
    monkeypatch.setattr(module, "version", lambda _: "another")
    assert snapshot_name(content) != name
