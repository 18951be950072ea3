"""A submitted job that writes to a bucket is killed half-way and in publication, and submitted again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import psutil
import pytest
import zarr
from killed_jobs import EPOCH
from label_worlds import blobs, write_label_world
from ray_heads import RAY, Head, ray_environment, ray_head
from s3_server import BUCKET, serving_s3

from pipeline.files.fail_point import VARIABLE
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.files.store.stored_files import zarr_store
from pipeline.run.verify.verify_run import verify
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import read_run_json

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


def submitted(head: Head, command: list[str], *, point: str = "") -> subprocess.Popen[str]:
    """`ray job submit` of a run; `point`: where its driver kills itself."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | EPOCH
    if point:
        settings[VARIABLE] = point
    submit = [str(RAY), "job", "submit", "--address", head.jobs, "--working-dir", "."]
    submit += ["--runtime-env-json", json.dumps({"env_vars": settings}), "--", "python"]
    return subprocess.Popen(
        [*submit, "jobs/segment_region.py", *command],
        cwd=ROOT,
        env=ray_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end_of(job: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = job.communicate(timeout=560)
    return job.returncode, said


def driver_of(place: str) -> int:
    """The process of the job that writes to a place."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:2] == ["jobs/segment_region.py"] and place in words:
            return int(process.pid)
    raise LookupError(f"no driver writes to {place}")


def contents(place: StorePath) -> dict[str, bytes]:
    """Everything in the place."""
    return {path.below(place): path.read_bytes() for path in place.entries()}


@pytest.mark.timeout(1800)
def test_killed_half_way_and_in_publication_it_leaves_the_objects_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    world = write_label_world(tmp_path / "world", blobs(np.random.default_rng(12), 420, 430, grain=23))
    place = f"s3://{BUCKET}/killed"
    command = ["--source", str(world.scene), "--whole-scene", "--query", "anything", "--out", place]
    command += ["--models", f"oracle:{world.labels}", "--tile", "64", "--halo", "8", "--block", "1"]
    with serving_s3(), ray_head(tmp_path) as head:
        code, said = end_of(submitted(head, command))
        assert code == 0, said
        undisturbed = contents(store_path(place))
        n_blocks = sum(name.startswith("blocks/") for name in undisturbed)
        store_path(place).delete_tree()

        job = submitted(head, command)
        blocks = store_path(place) / "blocks"
        while len(blocks.children()) < n_blocks // 3:
            assert job.poll() is None, end_of(job)
            time.sleep(0.02)
        os.kill(driver_of(place), signal.SIGKILL)
        assert end_of(job)[0] != 0
        done = {path.name: path.head() for path in blocks.entries()}
        assert 0 < len(done) < n_blocks
        assert read_run_json(store_path(place) / "run.json").status == "running"

        code, said = end_of(submitted(head, command, point="after_shard:3"))
        assert code != 0, said
        assert any(name.startswith("snapshots/") for name in contents(store_path(place)))
        assert read_run_json(store_path(place) / "run.json").snapshot == ""

        code, said = end_of(submitted(head, command))
        assert code == 0, said
        assert {name: (blocks / name).head() for name in done} == done, "committed blocks are left alone"
        found = contents(store_path(place))
        assert sorted(found) == sorted(undisturbed)
        assert [name for name, data in found.items() if data != undisturbed[name]] == []
        assert verify(place).sound
        masks = zarr_store(finished_run(place).masks, read_only=True)
        ids = np.asarray(zarr.open_group(masks, mode="r")["instance_id"][0])  # type: ignore[index]
        np.testing.assert_array_equal(ids, world.ids.astype(np.uint64))
        part = (finished_run(place).instances / "part-00000.parquet").read_bytes()
        (tmp_path / "part.parquet").write_bytes(part)
        assert len(gpd.read_parquet(tmp_path / "part.parquet")) == len(np.unique(world.ids)) - 1
