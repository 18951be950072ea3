"""Starts that are added up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from event_worlds import POOLS, block, events, reading, whole_start

from pipeline.run.events.run_costs import RoleUse, duration_text, run_costs, start_cost, write_costs
from pipeline.write.run_dir import RunDir


def test_a_start_is_cut_at_its_events() -> None:
    cost = start_cost(whole_start())
    assert cost.end == "ended"
    assert cost.seconds == 100
    assert (cost.starting_s, cost.working_s, cost.publishing_s, cost.other_s) == (35, 30, 20, 15)
    assert (cost.blocks, cost.tiles, cost.failed) == (3, 12, 0)
    assert cost.used == {"calls": 12, "reply_tokens": 30}
    assert cost.traffic == {"http_requests": 6, "http_bytes": 1500}


def test_a_worker_is_busy_while_it_is_at_a_block_and_two_at_once_count_once() -> None:
    """Of the 30 s from 40 to 70, a worked from 40 to 60, b never was at a block."""
    roles = start_cost(whole_start()).roles
    assert roles["prompter"] == RoleUse(workers=2, load_s=44, busy_s=20, idle_s=40)
    assert roles["segmenter"] == RoleUse(workers=1, load_s=0, busy_s=10, idle_s=20)
    assert roles["reader"] == RoleUse(workers=1, load_s=0, busy_s=0, idle_s=30)


def test_devices_cost_from_their_reservation_until_inference_ends_busy_or_not() -> None:
    cost = start_cost(whole_start())
    assert (cost.gpus, cost.gpu_s) == (2, 2 * (71 - 10))


def test_a_start_without_an_end_was_killed_and_is_told_up_to_its_last_event() -> None:
    cost = start_cost(whole_start()[:5])
    assert cost.end == "killed or at work"
    assert (cost.seconds, cost.working_s, cost.publishing_s) == (66, 26, 0)
    assert cost.gpu_s == 2 * (66 - 10)
    assert start_cost(whole_start()[:3]).gpu_s == 0, "killed as soon as its pools were sized"
    failed = start_cost(
        events("x", (0.0, "started", {}), (3.0, "publishing", {}), (9.0, "failed", {"error": "full"}))
    )
    assert (failed.end, failed.error, failed.publishing_s, failed.roles) == ("failed", "full", 6, {})


def test_a_run_is_the_sum_of_its_starts_and_money_is_for_all_of_their_hours() -> None:
    again = events(
        "2.jsonl",
        (1000.0, "started", {}),
        (1000.0, "inference", {}),
        (1000.0, "pools", POOLS),
        (1010.0, "block", block("b1", [reading("prompt", "h:c", 1000.0, 10.0, calls=2)])),
        (1010.0, "inferred", {}),
        (1080.0, "ended", {}),
    )
    costs = run_costs([*whole_start(), *again], km2=50.0, price_per_hour=20.0)
    assert [start.name for start in costs.starts] == ["1.jsonl", "2.jsonl"]
    assert costs.seconds == 180
    assert costs.tiles == 16
    assert costs.gpu_s == 122 + 2 * 10
    assert costs.used == {"calls": 14, "reply_tokens": 30}
    assert costs.money == pytest.approx(1.0)
    assert costs.money_per_1000_km2 == pytest.approx(20.0)
    assert run_costs(whole_start(), km2=None, price_per_hour=20.0).money_per_1000_km2 is None
    assert run_costs(whole_start(), km2=50.0).money is None


def test_the_document_has_totals_and_every_start(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    write_costs(run_dir, run_costs(whole_start(), km2=50.0, price_per_hour=36.0))
    document = json.loads((tmp_path / "cost.json").read_text())
    assert document["money"] == pytest.approx(1.0)
    assert document["gpu_seconds"] == 122
    assert document["starts"][0]["roles"]["prompter"]["idle_s"] == 40


def test_durations_are_told_in_their_largest_units() -> None:
    told = [duration_text(seconds) for seconds in (0.04, 59.9, 60, 3599, 3600, 86400 + 61)]
    assert told == ["0.0 s", "59.9 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "24 h 01 min"]


def test_loading_is_told_by_model_per_worker_with_the_parts_that_are_known() -> None:
    """Two prompters, one of which was started anew; its parts are no work."""

    def loading(stage: str, worker: str, seconds: float, model: str) -> dict[str, object]:
        return reading("load", worker, 1.0, seconds) | {"stage": stage, "model": model}

    times = [
        loading("load", "h:a", 20.0, "prompter"),
        loading("weights", "h:a", 4.0, "prompter"),
        loading("load", "h:b", 10.0, "prompter"),
        loading("load", "h:s", 3.0, "segmenter"),
        loading("first_run", "h:s", 1.0, "segmenter"),
    ]
    told = events(
        "1", (0.0, "inference", {}), (30.0, "block", block("b0", times)), (60.0, "block", block("b1", []))
    )
    cost = start_cost(told)
    assert cost.loading == {"prompter": {"load": 15, "weights": 4}, "segmenter": {"load": 3, "first_run": 1}}
    assert [use.busy_s for use in cost.roles.values()] == [0]
    assert start_cost(whole_start()).loading == {}, "as earlier versions wrote it"
