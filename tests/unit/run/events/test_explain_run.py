from __future__ import annotations

from pathlib import Path

import pytest
from event_worlds import block, events, reading, whole_start

from pipeline.errors import InputError
from pipeline.run.events.explain_run import cost_text, explain_events, explain_run, loading_text
from pipeline.run.events.run_costs import run_costs


def test_starts_pools_and_costs_are_told() -> None:
    text = explain_events(whole_start(), run_costs(whole_start(), km2=50.0, price_per_hour=36.0))
    assert "start 1: ended after 1 min 40 s\n  3 blocks, 12 tiles, 0 failed\n" in text
    assert "starting (Ray, processes, models) 35.0 s, working 30.0 s, publishing 20.0 s, other 15.0 s" in text
    assert "prompters   2 workers, busy 33 % of the working time, after 22.0 s of loading each" in text
    assert "readers     1 worker, busy 0 % of the working time" in text
    assert "the run waited for" not in text
    assert "no tile failed" in text
    assert "money    1.00 at 36 per hour; 20.00 per 1,000 km2" in text
    assert "GPUs     122 seconds of one GPU, reserved" in text
    assert "models   12 calls, 30 reply tokens" in text
    assert "imagery  6 requests over http, 1.5 kB" in text


def test_the_pool_that_was_always_busy_is_the_one_to_enlarge() -> None:
    busy = [reading("read", "h:r", 0.0, 0.5), reading("prompt", "h:a", 0.0, 99.0)]
    told = events(
        "1.jsonl",
        (0.0, "inference", {}),
        (10.0, "block", block("b0", [])),
        (100.0, "block", block("b1", busy)),
    )
    assert "the run waited for its prompters" in explain_events(told, run_costs(told, km2=None))


def test_blocks_that_took_far_longer_than_others_are_named() -> None:
    usual = [(float(i), "block", block(f"b{i}", [reading("read", "h:r", i, 1.0)])) for i in range(1, 6)]
    slow = (60.0, "block", block("b9", [reading("read", "h:q", 7.0, 50.0)]))
    told = events("1.jsonl", (0.0, "inference", {}), *usual, slow)
    text = explain_events(told, run_costs(told, km2=None))
    assert "slow blocks\n  reading of b9 took 50.0 s on h:q (usually 1.0 s)" in text
    assert "b3" not in text


def test_failures_are_counted_by_reason_as_they_stand_after_the_last_start() -> None:
    def failure(tile: str, reason: str, error: str) -> dict[str, object]:
        return {"tile": tile, "query": 0, "reason": reason, "error": error}

    late = [failure("t1", "timeout", "late"), failure("t2", "timeout", "late")]
    told = [
        *events("1", (1.0, "block", block("b0", [], failures=late))),
        *events("1", (2.0, "block", block("b1", [], failures=[failure("t9", "unreadable", "a.tif: gone")]))),
        *events("2", (3.0, "block", block("b1", []))),
    ]
    text = explain_events(told, run_costs(told, km2=None))
    assert (
        "2 failed answers, by reason\n  2 x timeout: late (first: tile t1)\n      to do: see what holds up"
        in text
    )
    assert "a.tif" not in text


def test_a_small_run_says_that_its_price_is_that_of_starting() -> None:
    told = whole_start()[:4]
    assert "88 % of it for starting, at any size" in cost_text(run_costs(told, km2=1.0, price_per_hour=9.0))


def test_what_is_no_run_or_has_no_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a run directory"):
        explain_run(str(tmp_path))


def test_what_a_model_tells_of_its_loading_is_told() -> None:
    parts = {"load": 60.0, "weights": 12.0, "warm_up": 30.0, "compile": 20.5}
    said = "prompter 1 min 00 s (weights 12.0 s, warming up 30.0 s, compiling, in it, 20.5 s)"
    assert loading_text("prompter", parts) == said
    assert loading_text("prompter", {"load": 9.0}) == "prompter 9.0 s"
    first = {"load": 3.0, "weights": 2.0, "first_run": 1.0}
    assert loading_text("segmenter", first) == "segmenter 3.0 s (weights 2.0 s), first run 1.0 s"
