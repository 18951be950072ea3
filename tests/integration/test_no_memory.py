"""Memory that runs out in a stage of a run: one line that names the stage, and the same command goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from label_worlds import blobs, write_label_world

from pipeline.write.run_json import read_run_json

ROOT = Path(__file__).parents[2]

HARNESS = """
import importlib, resource, sys
import numpy as np
sys.path[:0] = ["jobs", "."]
where, *words = sys.argv[1:]
import pipeline.run.flow
module, _, name = where.partition(":")
module = importlib.import_module(module)
owner, _, name = name.rpartition(".")
owner = getattr(module, owner) if owner else module
before = getattr(owner, name)
def poor(*given, **named):
    '''From here on there is memory for 1 GB more, and a library takes all of it.'''
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, -1))
    module.np.empty = module.np.zeros = lambda *_, **__: np.ones(2**32, dtype=np.uint8)
    return before(*given, **named)
setattr(owner, name, poor)
class Other:
    def __getattr__(self, name): return getattr(np, name)
module.np = Other()
from pipeline.run.job_exit import run_job
main = importlib.import_module("segment_region").main
sys.exit(run_job(lambda: main(words)))
"""
"""A run whose process has little memory left from the first call of a function on."""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(5), 260, 240, grain=9))
    cut = ["--tile", "64", "--halo", "8", "--block", "2", "--runner", "local"]
    models = ["--models", f"oracle:{world.labels}", "--query", "anything"]
    return ["--source", str(world.scene), "--whole-scene", *models, *cut, "--out", str(tmp_path / "out")]


def run_poor(where: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    """The run, which has no memory from the first call of this function on."""
    return subprocess.run(
        [sys.executable, "-c", HARNESS, where, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.long
def test_memory_that_runs_out_while_merging_is_one_line(
    words: list[str], run_job: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_poor("pipeline.run.merge.paint_tasks:paint_blocks", words)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: Out of memory while merging (Unable to allocate 4.00 GiB"), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(list(out.glob("blocks/*.parquet"))) == 9
    assert not (out / "run.lock").exists()
    assert run_job(*words) == 0
    assert read_run_json(out / "run.json").status == "complete"


@pytest.mark.long
def test_tiles_that_memory_does_not_suffice_for_fail_with_that_reason(
    words: list[str], run_job: Callable[..., int], tmp_path: Path
) -> None:
    done = run_poor("pipeline.load.reader:CogReader.read", words)
    assert done.returncode == 3, done.stderr
    assert "Unable to allocate 4.00 GiB" in done.stderr
    assert "30 failed" in done.stdout
    assert run_job(*words, "--retry-failed") == 0
    assert read_run_json(tmp_path / "out" / "run.json").status == "complete"
