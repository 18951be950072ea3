"""Signals at every moment of a run: one or two lines, an exit code, and the same command goes on."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from label_worlds import LabelWorld, blobs, write_label_world

from pipeline.write.run_json import read_run_json

ROOT = Path(__file__).parents[2]

HARNESS = """
import importlib, os, sys, time
sys.path[:0] = ["jobs", "."]
number, times, where, job, *words = sys.argv[1:]
import pipeline.run.flow
module, _, name = where.partition(":")
module = importlib.import_module(module)
before = getattr(module, name)
def stopped(*given, **named):
    global times
    times = int(times) - 1
    if not times:
        os.kill(os.getpid(), int(number))
        time.sleep(0.2)
    return before(*given, **named)
setattr(module, name, stopped)
from pipeline.run.job_exit import run_job
main = importlib.import_module(job).main
sys.exit(run_job(lambda: main(words)))
"""
"""A job whose process is sent a signal when a function is called for the n-th time."""

MOMENTS = {
    "planning": (1, "pipeline.run.flow:plan_run"),
    "models are loading": (1, "pipeline.run.infer.local_steps:SegmentStep"),
    "first block": (1, "pipeline.run.infer.steps:flatten_tile"),
    "block record": (3, "pipeline.run.infer.steps:write_block_record"),
    "seams": (1, "pipeline.run.merge.resolve_tasks:resolve_super"),
    "painting": (2, "pipeline.run.merge.paint_tasks:paint_blocks"),
    "report": (1, "pipeline.run.flow:close_run"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    labels = blobs(np.random.default_rng(5), 260, 240, grain=9)
    return write_label_world(tmp_path_factory.mktemp("world"), labels)


def words(world: LabelWorld, out: Path) -> list[str]:
    cut = ["--tile", "64", "--halo", "8", "--block", "2", "--runner", "local"]
    models = ["--models", f"oracle:{world.labels}", "--query", "anything"]
    return ["--source", str(world.scene), "--whole-scene", *models, *cut, "--out", str(out)]


@pytest.fixture(scope="module")
def undisturbed(
    run_job: Callable[..., int], world: LabelWorld, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run_job(*words(world, out)) == 0
    return digests(out)


def digests(out: Path) -> dict[str, str]:
    """Hashes of what depends on neither time nor place."""
    kept = ("masks.zarr", "instances", "coverage.parquet", "plan.parquet", "scenes.parquet")
    files = [path for name in kept for path in [out / name, *(out / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def stop(number: int, moment: tuple[int, str], job: str, *given: str) -> subprocess.CompletedProcess[str]:
    """A job that is stopped at a moment."""
    times, where = moment
    command = [sys.executable, "-c", HARNESS, str(int(number)), str(times), where, job, *given]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


QUICK = ("first block", "painting")


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in MOMENTS]
)
def test_sigterm_at_any_moment_gives_the_directory_back(
    moment: str,
    world: LabelWorld,
    undisturbed: dict[str, str],
    run_job: Callable[..., int],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    done = stop(signal.SIGTERM, MOMENTS[moment], "segment_region", *words(world, out))
    assert done.returncode == 143, done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert lines[-1] == "terminated by SIGTERM; start the same command again to go on"
    assert len(lines) <= 2, done.stderr
    assert not (out / "run.lock").exists()
    assert not list(out.rglob("*.tmp"))
    if moment == "first block":
        assert len(list(out.glob("blocks/*.parquet"))) == 1, (
            "the block at work is finished, no other is begun"
        )
    committed = {path.name: path.stat().st_mtime_ns for path in out.glob("blocks/*.parquet")}
    assert run_job(*words(world, out)) == 0
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("blocks/*.parquet")}
    assert {name: after[name] for name in committed} == committed, "committed blocks are not done again"
    assert digests(out) == undisturbed
    assert read_run_json(out / "run.json").status == "complete"


def test_ctrl_c_is_130_and_what_was_published_before_is_whole(
    world: LabelWorld, undisturbed: dict[str, str], run_job: Callable[..., int], tmp_path: Path
) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    assert run_job(*words(world, out)) == 0
    merge = ["--run", str(out), "--out", str(again), "--runner", "local"]
    done = stop(signal.SIGINT, MOMENTS["painting"], "restitch_region", *merge)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        130,
        "interrupted; start the same command again to go on",
    )
    assert not (again / "run.lock").exists()
    assert digests(out) == undisturbed


JOBS = {
    "export_results": ((1, "pipeline.write.export.export_run:export_run"), ["--cog", "--gpkg"]),
    "verify_run": ((1, "pipeline.run.verify.verify_run:verify"), []),
}


@pytest.mark.parametrize("job", list(JOBS))
def test_other_jobs_end_in_one_line_and_leave_the_run_alone(
    job: str, world: LabelWorld, undisturbed: dict[str, str], run_job: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_job(*words(world, out)) == 0
    moment, more = JOBS[job]
    done = stop(signal.SIGTERM, moment, job, str(out), *more)
    assert (done.returncode, done.stderr) == (
        143,
        "\nterminated by SIGTERM; start the same command again to go on\n",
    )
    assert digests(out) == undisturbed
    assert not (out / "export").exists()
