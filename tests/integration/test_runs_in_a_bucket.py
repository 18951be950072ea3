"""A run in a bucket is the run that would lie in a folder, byte for byte, and common libraries read it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import zarr
from growing_worlds import interrupt_at, make_growing_world
from job_files import load_job
from label_worlds import blobs, write_label_world

from pipeline.files.run_times import EPOCH
from pipeline.files.store.s3_store import S3Store
from pipeline.files.store.store import ObjectEntry
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.run import flow
from pipeline.run.events.event_log import read_events
from pipeline.run.merge import merge_job, order_tasks
from pipeline.run.verify.verify_run import verify
from pipeline.write.records import block_records
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import finished_run
from pipeline.write.run_lock import LOCK_NAME
from tests.s3_server import BUCKET, serving_s3

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A region of 3 x 3 blocks with objects over their edges, and oracle models."""
    folder = tmp_path_factory.mktemp("world")
    world = write_label_world(folder, blobs(np.random.default_rng(5), 300, 300, grain=9))
    options = folder / "options.toml"
    options.write_text("[tiles]\npx = 64\nhalo_px = 12\nblock_tiles = 2\n")
    return [
        *("--source", world.scene, "--whole-scene", "--query", "anything"),
        *("--models", f"oracle:{world.labels}", "--config", options, "--runner", "local"),
    ]


def objects_of(place: StorePath) -> dict[str, bytes]:
    """Key -> bytes of everything in a run directory; links left out."""
    return {
        path.below(place): path.read_bytes()
        for path in place.entries()
        if not (path.is_local and path.local().is_symlink())
        and not path.below(place).startswith(("current/", "masks.zarr/", "instances/"))
    }


def without_times(objects: dict[str, bytes]) -> dict[str, bytes]:
    """Objects but for those that tell times."""
    times = ("run.json", "item.json", "cost.json")
    return {key: data for key, data in objects.items() if key not in times and not key.startswith("logs/")}


def test_it_is_the_run_that_would_lie_in_a_folder(
    run_job: RunJob, words: list[object], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EPOCH, "1700000000")
    assert run_job(*words, "--out", tmp_path / "out") == 0
    assert run_job(*words, "--out", f"{bucket}/same") == 0
    local = objects_of(store_path(tmp_path / "out"))
    there = objects_of(store_path(f"{bucket}/same"))
    assert sorted(there) == sorted(local)
    different = [key for key, data in there.items() if local[key] != data]
    assert different == []
    assert any(key.startswith("snapshots/") for key in there)
    assert not (store_path(f"{bucket}/same") / LOCK_NAME).exists()
    assert verify(f"{bucket}/same").sound


def test_it_is_resumed_and_says_what_it_holds(run_job: RunJob, words: list[object], bucket: str) -> None:
    place = store_path(f"{bucket}/resumed")
    assert run_job(*words, "--out", place) == 0
    before = objects_of(place)
    lost = next(key for key in before if key.startswith("blocks/"))
    (place / lost).delete()
    snapshot = finished_run(place).results
    (snapshot / "manifest.json").delete()
    assert not verify(str(place)).sound
    assert run_job(*words, "--out", place) == 0
    after = objects_of(place)
    assert without_times(after) == without_times(before)
    starts = [event.values for event in read_events(RunDir(place)) if event.event == "started"]
    assert len(starts) == 2
    assert verify(str(place)).sound


@pytest.mark.long
def test_an_update_in_a_bucket_is_the_run_that_would_lie_in_a_folder(
    run_job: RunJob, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted, ends, and shrinks again, and then the records go that nobody needs."""
    monkeypatch.setenv(EPOCH, "1700000000")
    world = make_growing_world(tmp_path)
    room = ["--grid-area", world.folder / "all.gpkg"]
    june = [*world.words, *world.scene("june"), *room]
    assert run_job(*june, *world.aoi("all"), "--out", tmp_path / "fresh") == 0
    place = store_path(f"{bucket}/grows")
    update = [*world.words, *world.scene("june"), "--update", "--out", place]
    assert run_job(*june, *world.aoi("north"), "--out", place) == 0
    first = finished_run(place).results
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, block_records, "after_block_record", after=1)
        assert run_job(*update, *world.aoi("all")) == 130
    assert finished_run(place).results == first
    verdict = verify(str(place))
    assert verdict.intact, (verdict.findings, verdict.not_made)
    assert "1 block is still of the older plan, 3 new blocks are not done yet" in verdict.update

    assert run_job(*update, *world.aoi("all")) == 0
    fresh = objects_of(store_path(tmp_path / "fresh"))
    grown = objects_of(place)
    older = [key for key in grown if key.startswith(f"snapshots/{first.name}/")]
    assert sorted(grown.keys() - set(older)) == sorted(fresh)
    assert [key for key in fresh if key != "run.json" and grown[key] != fresh[key]] == []
    assert verify(str(place)).sound

    assert run_job(*update, *world.aoi("north")) == 0
    assert load_job("clean_run").main([str(place), "--keep", "0", "--min-age-hours", "0"]) == 0
    left = objects_of(place)
    gone = {f"blocks/b00002_{col:05d}.parquet" for col in range(3)}
    assert {key for key in grown if key.startswith("blocks/")} - left.keys() == gone
    assert finished_run(place).results == first
    assert verify(str(place)).sound


def test_common_libraries_read_it(run_job: RunJob, words: list[object], bucket: str) -> None:
    """GeoPandas and DuckDB read the table, zarr the rasters, all from the places that item.json names."""
    duckdb = pytest.importorskip("duckdb")
    import obstore
    from obstore.fsspec import FsspecStore
    from zarr.storage import ObjectStore

    place = store_path(f"{bucket}/read")
    assert run_job(*words, "--out", place) == 0
    item = json.loads((place / "item.json").read_bytes())
    table = item["assets"]["instances"]["href"].removeprefix("./")
    masks = item["assets"]["masks"]["href"].removeprefix("./")
    frame = gpd.read_parquet(io.BytesIO((place / table).read_bytes()))
    store = place.store.bucket  # type: ignore[attr-defined]
    prefix = place.root.removeprefix(f"{bucket}/")
    group = zarr.open_group(ObjectStore(store, read_only=True), path=f"{prefix}/{masks}", mode="r")
    ids = np.asarray(group["instance_id"][0])  # type: ignore[index]
    assert set(np.unique(ids[ids > 0]).tolist()) == set(frame["instance_id"])
    data = obstore.get(store, f"{prefix}/{table}").bytes()
    assert len(gpd.read_parquet(io.BytesIO(bytes(data)))) == len(frame)
    with duckdb.connect() as connection:
        connection.register_filesystem(FsspecStore("s3", **_access()))
        (count,) = connection.execute(f"select count(*) from read_parquet('{place}/{table}')").fetchone()
    assert count == len(frame) > 0


def test_the_lines_of_the_help_open_what_the_last_table_names(
    run_job: RunJob,
    words: list[object],
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """xarray reads the rasters with their CRS, GeoPandas the objects."""
    known = import_module("fsspec.registry")
    assert run_job(*words, "--out", f"{bucket}/helped") == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("results ")]
    results = row.split()[1]
    assert results.startswith(f"{bucket}/helped/snapshots/")
    lines = [line.strip() for line in load_job("segment_region").EXAMPLES.splitlines()]
    shown = "\n".join(
        line for line in lines if line.startswith(("import geo", "objects", "shards", "rasters"))
    )
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setitem(known._registry, "s3", None)  # forgotten after the test
    seen: dict[str, Any] = {}
    exec(shown.replace("s3://bucket/prefix/snapshots/ID", results), seen)
    ids = seen["rasters"]["instance_id"][0].to_numpy()
    assert set(np.unique(ids[ids > 0]).tolist()) == set(seen["objects"]["instance_id"])
    assert (ids > 0).any()


@pytest.mark.long
def test_several_machines_list_nothing_to_find_their_tables(
    run_job: RunJob,
    words: list[object],
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tables lie in the bucket, super-tiles are small, and ranges and the audit have several files each. The
    results are those of one machine.
    """
    options = tmp_path / "options.toml"
    tiles = "[tiles]\npx = 64\nhalo_px = 12\nblock_tiles = 2\n"
    options.write_text(f"{tiles}[merge]\nsuper_tile_tiles = 2\n[stitch]\naudit = true\n")
    monkeypatch.setenv(EPOCH, "1700000000")
    mine = [options if word == words[words.index("--config") + 1] else word for word in words]
    assert run_job(*mine, "--out", f"{bucket}/one") == 0
    listed: list[str] = []
    entries = S3Store.entries

    def watched(self: S3Store, prefix: str) -> Iterator[ObjectEntry]:
        listed.append(prefix)
        return entries(self, prefix)

    monkeypatch.setattr(S3Store, "entries", watched)
    monkeypatch.setattr(flow, "is_one_machine", lambda _: False)
    monkeypatch.setattr(order_tasks, "RANGE_ROWS", 7)
    monkeypatch.setattr(merge_job, "LEAST_GROUPS", 1)
    assert run_job(*mine, "--out", f"{bucket}/several") == 0
    during = [prefix for prefix in listed if "snapshots" in prefix or "merge.tmp/" in prefix]
    assert len(during) == 1, "the folder of tables, to remove it"
    one, several = (objects_of(store_path(f"{bucket}/{name}")) for name in ("one", "several"))
    assert several == one


def _access() -> dict[str, object]:
    import os

    return {
        "endpoint": os.environ["AWS_ENDPOINT_URL_S3"],
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "region": "us-east-1",
        "client_options": {"allow_http": True},
    }


def test_a_bucket_that_is_not_there_is_told_before_anything_is_loaded(
    run_job: RunJob, words: list[object], bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(*words, "--out", "s3://nobody-has-this/run") == 2
    told = capsys.readouterr().err
    assert "s3://nobody-has-this/run" in told
    assert "To fix:" in told
    assert "Traceback" not in told
