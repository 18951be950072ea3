"""The runner of one process: what it does itself, and what it leaves to a child."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from run.infer.oracle_context import oracle_context

from pipeline.errors import ModelError
from pipeline.run.infer import local_steps
from pipeline.run.infer.apart import Job
from pipeline.run.infer.intake import Intake
from pipeline.run.infer.local_steps import Steps, run_local
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.steps import RunContext
from pipeline.run.screen import Screen
from pipeline.write.run_dir import RunDir


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """16 tiles in four blocks."""
    return oracle_context(tmp_path, px=80)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def screen(said: list[str]) -> Screen:
    return Screen(say=said.append, out=io.StringIO())


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was left to a child, which is none here."""
    left: list[str] = []

    def done(
        contexts: Sequence[RunContext], jobs: Sequence[Job], *, build: type[Steps], **_: Intake
    ) -> object:
        steps = build(contexts)
        for job in jobs:
            left.append(job.block.block_id)
            yield steps.do(job)
        steps.close()

    monkeypatch.setattr(local_steps, "run_apart", done)
    return left


def all_blocks(context: RunContext) -> list[str]:
    return [block.block_id for block in context.plan.blocks()]


def test_all_blocks_are_done_here(
    context: RunContext, screen: Screen, said: list[str], apart: list[str]
) -> None:
    work = [(context, list(context.plan.blocks()))]
    summaries = list(run_local(work, screen))
    assert [summary.block_id for summary in summaries] == all_blocks(context)
    assert sum(summary.found for summary in summaries) == 16
    assert (apart, said) == ([], [])
    assert context.journal.noted() == {}


def test_a_block_at_which_an_earlier_start_ended_is_done_last_and_in_a_child(
    context: RunContext, screen: Screen, said: list[str], apart: list[str]
) -> None:
    second = all_blocks(context)[1]
    context.journal.begin(second, "segment")  # and the process was gone
    summaries = list(run_local([(context, list(context.plan.blocks()))], screen))
    assert apart == [second]
    assert [summary.block_id for summary in summaries][-1] == second
    assert len(summaries) == 4
    assert said == [
        f"note: an earlier start ended without a word at {second}; that is done in a fresh process"
    ]
    assert context.journal.noted() == {}, "it is blamed for nothing"


@pytest.mark.parametrize("retryable", [True, False])
def test_after_an_engine_died_the_rest_is_done_in_a_child(
    context: RunContext, screen: Screen, said: list[str], apart: list[str], retryable: bool
) -> None:
    closed: list[bool] = []

    class Dying(Steps):
        def do(self, job: Job) -> BlockSummary:
            if job.block.block_id == all_blocks(context)[2]:
                raise ModelError("the engine died", retryable=retryable)
            return super().do(job)

        def close(self) -> None:
            super().close()
            closed.append(True)

    done = run_local([(context, list(context.plan.blocks()))], screen, build=Dying)
    if retryable:
        assert [summary.block_id for summary in done] == all_blocks(context)
        assert apart == all_blocks(context)[2:]
        assert said == ["note: the engine died; the rest is done in a fresh process"]
    else:
        with pytest.raises(ModelError, match="the engine died"):
            list(done)
        assert apart == []
    assert closed == [True]
    assert RunDir(context.run_dir).block(all_blocks(context)[0]).exists()


def test_runs_that_share_models_are_done_one_after_the_other(tmp_path: Path, screen: Screen) -> None:
    contexts = [oracle_context(tmp_path / name) for name in ("a", "b")]
    summaries = list(run_local([(context, list(context.plan.blocks())) for context in contexts], screen))
    assert [summary.found for summary in summaries] == [4, 4]
    for context in contexts:
        assert RunDir(context.run_dir).block("b00000_00000").exists()


@pytest.mark.parametrize("end", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_end_that_was_told_is_no_riddle_for_the_next_start(
    context: RunContext, screen: Screen, apart: list[str], end: BaseException
) -> None:
    class Ending(Steps):
        def do(self, job: Job) -> BlockSummary:
            context.journal.begin(job.block.block_id, "segment")
            raise end

    with pytest.raises(type(end)):
        list(run_local([(context, list(context.plan.blocks()))], screen, build=Ending))
    list(run_local([(context, list(context.plan.blocks()))], screen))
    assert apart == []


def test_once_the_intake_is_closed_no_block_is_begun(context: RunContext, screen: Screen) -> None:
    """The third block is at hand when the time is over."""
    intake = Intake(until=time.monotonic() + 2.0)

    class Slow(Steps):
        def do(self, job: Job) -> BlockSummary:
            if job.block.block_id == all_blocks(context)[2]:
                time.sleep(max(intake.until - time.monotonic(), 0.0))
            return super().do(job)

    work = [(context, list(context.plan.blocks()))]
    summaries = list(run_local(work, screen, intake=intake, build=Slow))
    assert [summary.block_id for summary in summaries] == all_blocks(context)[:3]
    assert list(run_local(work, screen, intake=intake, build=Slow)) == []


def test_a_suspect_waits_for_the_next_start_when_the_intake_is_closed(
    context: RunContext, screen: Screen, said: list[str]
) -> None:
    context.journal.begin(all_blocks(context)[0], "segment")  # and the process was gone
    closed = Intake(until=time.monotonic())
    assert list(run_local([(context, list(context.plan.blocks()))], screen, intake=closed)) == []
    assert said == []
