"""--max-cost and --max-hours with real runs: they stop at the limit, and go on to the same result."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import ray
from label_worlds import LabelWorld, blobs, write_label_world
from zone_worlds import CUT, seam_world

from pipeline.errors import BudgetSpentError
from pipeline.run import ray_engine
from pipeline.run.events.event_log import read_events
from pipeline.run.infer import steps
from pipeline.run.infer.intake import Intake
from pipeline.run.infer.progress import BlockSummary, Progress
from pipeline.run.verify.verify_run import verify
from pipeline.write.run_dir import RunDir

BLOCKS = 49
LIMIT_H = 3.0 / 3600
"""Three seconds."""

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """169 tiles in 49 blocks of the cut below."""
    return write_label_world(
        tmp_path_factory.mktemp("world"), blobs(np.random.default_rng(5), 620, 620, grain=30)
    )


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """441 tiles in 121 blocks: Ray lets some tens in before the first has come through."""
    return write_label_world(
        tmp_path_factory.mktemp("large"), blobs(np.random.default_rng(5), 1000, 1000, grain=30)
    )


def words(world: LabelWorld, out: Path, runner: str) -> list[str]:
    cut = ["--tile", "64", "--halo", "8", "--block", "2", "--runner", runner]
    models = ["--models", f"oracle:{world.labels}", "--query", "anything"]
    return ["--source", str(world.scene), "--whole-scene", *models, *cut, "--out", str(out)]


@pytest.fixture(scope="module")
def undisturbed(
    run_job: RunJob, world: LabelWorld, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    return undisturbed_digests(run_job, world, tmp_path_factory)


@pytest.fixture(scope="module")
def large_undisturbed(
    run_job: RunJob, large_world: LabelWorld, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    return undisturbed_digests(run_job, large_world, tmp_path_factory)


def undisturbed_digests(
    run_job: RunJob, world: LabelWorld, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What a run without a limit leaves."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run_job(*words(world, out, "local")) == 0
    return digests(out)


def digests(out: Path) -> dict[str, str]:
    """Hashes of what depends on neither time nor place."""
    kept = ("masks.zarr", "instances", "coverage.parquet", "plan.parquet", "scenes.parquet")
    files = [path for name in kept for path in [out / name, *(out / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def records(out: Path) -> dict[str, int]:
    paths = out.rglob("blocks/*.parquet")
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in paths}


def require_stopped(out: Path, blocks: int, told: str) -> dict[str, int]:
    """A run was stopped in order. Returns its records, of which there are neither none nor all."""
    done = records(out)
    assert 0 < len(done) < blocks
    assert f"{len(done)} of {blocks} blocks are committed, {blocks - len(done)} are left" in told
    assert not list(out.rglob("run.lock"))
    assert not list(out.rglob("snapshots/*"))
    last = read_events(RunDir(out))[-1]
    assert (last.event, last.values["kind"]) == ("stopped", BudgetSpentError.__name__)
    cost = json.loads((out / "cost.json").read_text())
    assert cost["starts"][-1]["end"] == "stopped"
    assert cost["starts"][-1]["blocks"] == len(done)
    return done


@contextmanager
def slow_record(monkeypatch: pytest.MonkeyPatch, nth: int) -> Iterator[None]:
    """The n-th record that is written takes longer than LIMIT_H."""
    write = steps.write_block_record
    count = 0

    def written(*given: object, **named: object) -> object:
        nonlocal count
        count += 1
        if count == nth:
            time.sleep(LIMIT_H * 3600)
        return write(*given, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(steps, "write_block_record", written)
        yield


def test_one_process_stops_at_its_limit_and_goes_on_to_the_same_result(
    run_job: RunJob,
    world: LabelWorld,
    undisturbed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    priced = (*words(world, out, "local"), "--price-per-hour", "36")
    limit = ("--max-cost", str(36 * LIMIT_H))
    with slow_record(monkeypatch, 5):
        assert run_job(*priced, *limit) == 6
    said = capsys.readouterr()
    assert "error: --max-cost 0.03 is reached: the run spent 0.0" in said.err
    assert "money" in said.out
    done = require_stopped(out, BLOCKS, said.err)
    assert len(done) <= 5
    assert run_job(*priced, *limit) == 6, "nothing is left of it"
    said = capsys.readouterr()
    assert "lasts for 0.0 s from now; 1 start before this one spent 0.0" in said.out
    assert records(out) == done
    assert run_job(*priced, "--max-cost", "1000") == 0
    after = records(out)
    assert {name: after[name] for name in done} == done, "committed blocks are not done again"
    assert digests(out) == undisturbed
    assert len(json.loads((out / "cost.json").read_text())["starts"]) == 3
    assert run_job(*priced, *limit) == 0, "nothing is left to be done"


def test_a_limit_of_money_without_a_price_is_bad_input(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(*words(world, tmp_path / "out", "local"), "--max-cost", "3") == 2
    assert "Got: no --price-per-hour. To fix: add --price-per-hour P" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_zones_have_one_budget(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = seam_world(tmp_path)
    clean, out = tmp_path / "clean", tmp_path / "out"
    assert run_job(*world.words(clean, *CUT)) == 0
    blocks = len(records(clean))
    with slow_record(monkeypatch, 2):
        assert run_job(*world.words(out, *CUT), "--max-hours", str(LIMIT_H)) == 6
    require_stopped(out, blocks, capsys.readouterr().err)
    assert run_job(*world.words(out, *CUT), "--max-hours", "100") == 0
    for path in clean.rglob("*.parquet"):
        if "snapshots" not in path.parts and not path.is_relative_to(clean / "current"):
            assert (out / path.relative_to(clean)).read_bytes() == path.read_bytes(), path
    assert verify(out).sound


@pytest.mark.slow
@pytest.mark.usefixtures("shared_ray")
def test_on_ray_blocks_at_hand_come_through_and_no_other_is_begun(
    run_job: RunJob,
    large_world: LabelWorld,
    large_undisturbed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The limit is reached with the first block. When that is cannot be said in advance, so the test says
    it to the run.
    """
    out = tmp_path / "out"
    acts: list[Callable[[], object]] = []

    @contextmanager
    def closing(intake: Intake, act: Callable[[], object]) -> Iterator[None]:
        assert intake.is_open
        acts.append(act)
        yield

    add = Progress.add

    def added(self: Progress, block: BlockSummary) -> None:
        add(self, block)
        if acts:
            ray.get(acts.pop()())  # it is closed before more is looked at

    with monkeypatch.context() as patch:
        patch.setattr(ray_engine, "closing", closing)
        patch.setattr(Progress, "add", added)
        assert run_job(*words(large_world, out, "ray"), "--max-hours", "100") == 6
    done = require_stopped(out, 121, capsys.readouterr().err)
    assert not list(out.glob("attempts/*")), "no block was broken off"
    assert run_job(*words(large_world, out, "ray"), "--max-hours", "100") == 0
    after = records(out)
    assert {name: after[name] for name in done} == done, "committed blocks are not done again"
    assert digests(out) == large_undisturbed


@pytest.mark.slow
@pytest.mark.usefixtures("shared_ray")
def test_on_ray_time_closes_the_intake(
    run_job: RunJob,
    world: LabelWorld,
    undisturbed: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second is over before the actors have loaded."""
    out = tmp_path / "out"
    assert run_job(*words(world, out, "ray"), "--max-hours", str(1 / 3600)) == 6
    assert "--max-hours 0.000277778 is reached" in capsys.readouterr().err
    assert len(records(out)) < BLOCKS
    assert run_job(*words(world, out, "ray")) == 0
    assert digests(out) == undisturbed
