"""Pools fill a cluster of nodes with logical GPUs; a node that came later is used by the next start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from label_worlds import LabelWorld, blobs, write_label_world
from ray_heads import Head, ray_environment, ray_head, ray_node

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

POOLS = """
[tiles]
px = 64
halo_px = 8
block_tiles = 1
[resources.reader]
actors = "auto"
cpus = 1
[resources.prompter]
actors = "auto"
cpus = 1
gpus = 0.7
[resources.segmenter]
actors = "auto"
cpus = 1
gpus = 0.3
"""


def start(world: LabelWorld, folder: Path, head: Head) -> subprocess.Popen[str]:
    options = folder / "pools.toml"
    options.write_text(POOLS)
    words = ["--source", str(world.scene), "--whole-scene", "--query", "anything", "--runner", "ray"]
    words += ["--models", f"oracle:{world.labels}", "--config", str(options), "--out", str(folder / "out")]
    return subprocess.Popen(
        [sys.executable, "jobs/segment_region.py", *words],
        cwd=ROOT,
        env=ray_environment() | {"RAY_ADDRESS": head.gcs},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def pools_said(said: str) -> str:
    (line,) = re.findall(r"^on \d+ nodes?.*$", said, flags=re.MULTILINE)
    return line


def pairs(n: int) -> str:
    return f"{n} prompters, {n} segmenters: {n} pairs that share a GPU each"


def test_gpus_are_filled_by_pairs_and_a_node_that_came_later_by_the_next_start(tmp_path: Path) -> None:
    """A GPU is a number here; where Ray lets an actor start, it has reserved its share of one."""
    world = write_label_world(tmp_path / "world", blobs(np.random.default_rng(12), 420, 430, grain=23))
    with ray_head(tmp_path, "--num-cpus", "0") as head, ray_node(head, tmp_path, *offer(cpus=6, gpus=2)):
        job = start(world, tmp_path, head)
        blocks = tmp_path / "out" / "blocks"
        until = time.monotonic() + 400
        while len(list(blocks.glob("*.parquet"))) < 5:
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(job.pid, signal.SIGKILL)
        said, _ = job.communicate(timeout=60)
        assert pools_said(said) == f"on 1 node with 6 CPUs and 2 GPUs: 1 reader, {pairs(2)}"
        done = {path.name: path.stat().st_mtime_ns for path in blocks.glob("*.parquet")}

        with ray_node(head, tmp_path, *offer(cpus=3, gpus=1)):
            job = start(world, tmp_path, head)
            said, _ = job.communicate(timeout=400)
        assert job.returncode == 0, said
        assert pools_said(said) == f"on 2 nodes with 9 CPUs and 3 GPUs: 2 readers, {pairs(3)}"
    assert 0 < len(done) < len(list(blocks.glob("*.parquet")))
    kept = {name: (blocks / name).stat().st_mtime_ns for name in done}
    assert kept == done, "committed blocks are left alone"
    ids = np.asarray(zarr.open_group(tmp_path / "out" / "masks.zarr", mode="r")["instance_id"][0])  # type: ignore[index]
    np.testing.assert_array_equal(ids, world.ids.astype(np.uint64))


def offer(*, cpus: int, gpus: int) -> list[str]:
    return ["--num-cpus", str(cpus), "--num-gpus", str(gpus)]
