"""A run in which tile after tile fails for one reason is stopped; one in which some fail is not."""

from __future__ import annotations

import json

from pipeline.errors import StoppedRunError
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.run_breaker import RunBreaker
from pipeline.run.limit_options import LimitOptions
from pipeline.schema.tile_answers import Reason

LIMITS = LimitOptions(first_failures=8, failures_in_row=20)


def block(
    reason: Reason = Reason.NONE, failed: int = 0, *, found: int = 0, nodata: int = 0, scene: str = ""
) -> BlockSummary:
    return BlockSummary(
        block_id="b",
        found=found,
        empty=nodata,
        nodata=nodata,
        failed=failed,
        n_embeddings=0,
        n_calls=0,
        elapsed_s=0.0,
        failures=json.dumps([[reason.value, scene, failed, f"what {reason.value} says"]] if failed else []),
    )


GOOD = block(found=4)


def run(*blocks: BlockSummary, limits: LimitOptions = LIMITS, n_scenes: int = 1) -> str:
    """What a run of these blocks is stopped with, and after how many; empty when it is not."""
    breaker = RunBreaker(limits, n_scenes)
    for number, each in enumerate(blocks, start=1):
        try:
            breaker.add(each)
        except StoppedRunError as error:
            return f"{number}: {error}"
    return ""


def test_the_first_tiles_that_fail_for_one_reason_stop_the_run() -> None:
    told = run(*[block(Reason.MALFORMED, 4)] * 3)
    assert told.startswith("2: the first 8 tiles failed for one reason, malformed: what malformed says.")
    assert "--retry-failed" in told
    assert StoppedRunError.exit_code == 4


def test_once_a_tile_was_judged_it_takes_more_failures_in_a_row() -> None:
    bad = block(Reason.MODEL_ERROR, 4)
    assert run(GOOD, *[bad] * 4) == ""
    assert run(GOOD, *[bad] * 5).startswith("6: 20 tiles in a row failed for one reason, model_error")
    assert run(*[GOOD, *[bad] * 4] * 5) == "", "a tile that is judged ends the row"


def test_several_reasons_are_none() -> None:
    assert run(*[block(Reason.MALFORMED, 4), block(Reason.TIMEOUT, 4)] * 20) == ""


def test_tiles_without_imagery_neither_end_a_row_nor_count() -> None:
    bad = block(Reason.CRASHED, 4, nodata=2)
    told = run(block(nodata=9), bad, block(nodata=9), bad)
    assert told.startswith("4: the first 8 tiles")


def test_a_block_with_a_judged_tile_is_no_failure() -> None:
    assert run(*[block(Reason.CRASHED, 15, found=1)] * 50) == ""


def test_one_dead_source_of_several_does_not_stop_the_run() -> None:
    dead = block(Reason.UNREADABLE, 4, scene="https://one.org/a.tif")
    assert run(*[dead] * 50, n_scenes=4) == ""
    scenes = [block(Reason.UNREADABLE, 4, scene=f"https://one.org/{number}.tif") for number in range(3)]
    assert run(*scenes, n_scenes=4).startswith("3: the first 12 tiles failed for one reason, unreadable")
    assert run(*scenes[:2], n_scenes=2).startswith("2: ")
    assert run(dead, dead, n_scenes=1).startswith("2: ")


def test_zero_means_never() -> None:
    bad = [block(Reason.CRASHED, 16)] * 50
    assert run(*bad, limits=LimitOptions(first_failures=0, failures_in_row=0)) == ""
    assert run(*bad, limits=LimitOptions(first_failures=0, failures_in_row=160)).startswith("10: ")
    assert run(*bad, limits=LimitOptions(first_failures=32, failures_in_row=0)).startswith("2: ")
