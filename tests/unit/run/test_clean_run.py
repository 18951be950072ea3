from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from job_files import load_job
from zone_results import zoned_info

from pipeline.errors import InputError, RunBusyError
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.run.clean_run import clean, plan_cleaning, run_dirs
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.manifest import write_manifest
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin, conclude
from pipeline.write.run_json import RunInfo, read_run_json
from pipeline.write.run_lock import LOCK_NAME, take
from pipeline.write.zoned.zoned_json import ZoneEntry, write_zoned_json
from tests.s3_server import BUCKET, serving_s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StorePath:
    if request.param == "local":
        return store_path(tmp_path / "out")
    return store_path(f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}")


def run_info() -> RunInfo:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=64, height=64)
    return RunInfo(
        run_id="run",
        fingerprint="a run",
        status="running",
        parameters={},
        queries=("roofs",),
        lattice=TileLattice(grid=grid, tile_px=64, halo_px=8, block_tiles=1),
        scenes=(),
    )


def publish(place: StorePath, name: str) -> RunInfo:
    """A snapshot of two files that counts."""
    run_dir = RunDir(place).in_snapshot(name)
    take(place)
    info = begin(run_dir, run_info())
    run_dir.coverage.write_bytes(name.encode())
    write_manifest(run_dir, info.fingerprint, ())
    info = conclude(run_dir, replace(info, status="complete"))
    (place / LOCK_NAME).delete()
    return info


def names(place: StorePath) -> list[str]:
    return RunDir(place).snapshots.children()


def test_the_one_that_counts_and_the_latest_before_it_stay(place: StorePath) -> None:
    for name in ("one", "two", "three", "four"):
        publish(place, name)
    (place / "snapshots/killed/coverage.parquet").write_bytes(b"half")
    said: list[str] = []
    run_dir = run_dirs(str(place))[0]
    fates = {each.name: bool(each.stays) for each in plan_cleaning(run_dir, keep=1, min_age_s=-60.0)}
    assert fates == {"four": True, "three": True, "two": False, "one": False, "killed": False}
    assert len(names(place)) == 5
    clean(run_dir, keep=1, min_age_s=-60.0, say=said.append)
    assert names(place) == ["four", "three"]
    assert sorted(text.split()[2].rstrip(":") for text in said) == ["killed", "one", "two"]
    info = read_run_json(RunDir(place).run_json)
    assert (info.snapshot, info.earlier) == ("four", ("three",))
    assert not (place / LOCK_NAME).exists()


def test_the_snapshot_of_a_zone_that_the_whole_was_made_of_stays(tmp_path: Path) -> None:
    """An update that was interrupted has published the zone, and not the whole."""
    zone = store_path(tmp_path / "zones" / "a")
    left = store_path(tmp_path / "zones" / "b")
    for name in ("first", "second", "third"):
        publish(zone, name)
    publish(left, "first")
    entry = ZoneEntry(
        name="a",
        crs="",
        path="zones/a",
        fingerprint="",
        id_offset=0,
        n_scenes=1,
        n_tiles=1,
        owned_wkb="",
        snapshot="second",
    )
    whole = replace(zoned_info({}), zones=(entry,), left_zones=(replace(entry, name="b", path="zones/b"),))
    write_zoned_json(tmp_path / "run.json", whole)
    places = run_dirs(str(tmp_path))
    assert [str(place.path) for place in places] == [str(tmp_path), str(zone), str(left)]
    plan = plan_cleaning(places[1], keep=0, min_age_s=-60.0)
    assert {each.name: each.stays for each in plan} == {
        "first": "",
        "second": "the result of all zones was made of it",
        "third": "it counts",
    }


def test_what_is_young_stays(place: StorePath) -> None:
    publish(place, "one")
    publish(place, "two")
    (plan, _) = plan_cleaning(RunDir(place), keep=0, min_age_s=3600.0)
    assert plan.name == "one"
    assert "younger than 1 h" in plan.stays
    assert clean(RunDir(place), keep=0, min_age_s=3600.0, say=print) == []
    assert names(place) == ["one", "two"]


def test_nothing_is_removed_beside_a_driver_at_work(tmp_path: Path) -> None:
    place = store_path(tmp_path)
    publish(place, "one")
    publish(place, "two")
    holder = {"host": os.uname().nodename, "pid": os.getppid(), "born": "", "pid_table": "x", "token": "t"}
    (tmp_path / LOCK_NAME).write_text(json.dumps(holder))
    with pytest.raises(RunBusyError, match="one driver at a time"):
        clean(RunDir(place), keep=0, min_age_s=-60.0, say=print)
    assert load_job("clean_run").main([str(tmp_path), "--keep", "0", "--min-age-hours", "0"]) == 5
    assert names(place) == ["one", "two"]


def test_uploads_that_never_ended_are_ended(bucket: str) -> None:
    import boto3

    place = store_path(f"{bucket}/{uuid.uuid4()}")
    publish(place, "one")
    key = f"{place.root.removeprefix(bucket)[1:]}/snapshots/one/instances/part-00000.parquet"
    boto3.client("s3").create_multipart_upload(Bucket=BUCKET, Key=key)
    other = boto3.client("s3").create_multipart_upload(Bucket=BUCKET, Key="somebody/else")
    said: list[str] = []
    clean(RunDir(place), keep=0, min_age_s=-60.0, say=said.append)
    assert said == [f"ended an upload that never ended: {key}"]
    left = boto3.client("s3").list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [upload["UploadId"] for upload in left] == [other["UploadId"]]


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json"):
        plan_cleaning(RunDir(tmp_path), keep=1, min_age_s=0.0)


def test_the_job_says_what_goes_before_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = store_path(tmp_path)
    publish(place, "one")
    publish(place, "two")
    main = load_job("clean_run").main
    words = [str(tmp_path), "--keep", "0", "--min-age-hours", "0"]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "one  2 files, 0.0 MB: would go" in told
    assert "two  2 files, 0.0 MB: it counts" in told
    assert names(place) == ["one", "two"]
    assert main(words) == 0
    assert "removed snapshot one: 2 files" in capsys.readouterr().out
    assert names(place) == ["two"]
    assert main([str(tmp_path / "nothing")]) == 2
    assert "run.json" in capsys.readouterr().err


def test_what_counted_until_now_stays_for_its_readers(
    place: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago it was written: somebody may have opened it a moment ago."""
    publish(place, "first")
    publish(place, "second")
    ages = {"manifest.json": 1e6, "run.json": 5.0}
    store = type(place.store)
    monkeypatch.setattr(store, "age_s", lambda _, key: ages[key.rpartition("/")[2]])
    (first, _) = plan_cleaning(RunDir(place), keep=0, min_age_s=60.0)
    assert first.name == "first"
    assert "younger" in first.stays
    ages["run.json"] = 100.0
    (first, _) = plan_cleaning(RunDir(place), keep=0, min_age_s=60.0)
    assert first.stays == ""
