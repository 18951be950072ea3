from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, serving_s3

from pipeline.errors import BudgetSpentError
from pipeline.files.run_times import EPOCH
from pipeline.files.traffic import traffic
from pipeline.run.events.event_log import UPLOAD_S, EventLog, read_events, told_to_its_end
from pipeline.write.run_dir import RunDir

NOON = 1_772_366_400.0
"""2026-03-01T12:00:00Z"""


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _nothing_was_asked_before() -> None:
    """What other tests asked of servers is told by nobody."""
    traffic.take()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}/event-logs"


def test_an_event_is_a_line_at_once_with_its_time(tmp_path: Path) -> None:
    clock = Clock()
    log = EventLog(RunDir(tmp_path), clock)
    log.tell("started", runner="local")
    clock.now += 1.25
    log.tell("block", block="b0", times=[{"stage": "read"}])
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name.startswith("20260301T120000.000Z-")
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"time": "2026-03-01T12:00:00.000Z", "event": "started", "runner": "local"}
    assert second["time"] == "2026-03-01T12:00:01.250Z"
    read = read_events(RunDir(tmp_path))
    assert [(event.time, event.event) for event in read] == [(NOON, "started"), (NOON + 1.25, "block")]
    assert read[1].values == {"block": "b0", "times": [{"stage": "read"}]}


def test_texts_hold_no_secret_and_nothing_that_a_screen_obeys(tmp_path: Path) -> None:
    EventLog(RunDir(tmp_path)).tell(
        "block", failures=[{"error": "\x1b[2Jhttps://h/a.tif?sig=s3cr3tvalue", "tile": "t"}]
    )
    (event,) = read_events(RunDir(tmp_path))
    assert event.values["failures"] == [{"error": "https://h/a.tif", "tile": "t"}]


def test_a_line_that_was_cut_and_what_is_no_event_are_left_out(tmp_path: Path) -> None:
    log = EventLog(RunDir(tmp_path))
    log.tell("started")
    with (tmp_path / "logs" / log.name).open("a") as file:
        file.write('[1]\n{"event": "no time"}\n{"time": "2026-03-01T12:00:00Z", "event": "blo')
    assert [event.event for event in read_events(RunDir(tmp_path))] == ["started"]


def test_starts_come_in_their_order_and_tell_how_they_ended(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    with pytest.raises(KeyError), told_to_its_end(run_dir, runner="ray"):
        raise KeyError("tiles")
    time.sleep(0.002)
    with told_to_its_end(run_dir, runner="ray") as log:
        log.tell("inferred")
    events = read_events(run_dir)
    assert [event.event for event in events] == ["started", "failed", "started", "inferred", "ended"]
    assert (events[1].values, events[0].values) == (
        {"error": "'tiles'", "kind": "KeyError"},
        {"runner": "ray"},
    )
    assert events[0].start < events[2].start


def test_a_place_that_takes_no_log_costs_the_log_alone(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    EventLog(RunDir(tmp_path)).tell("started")
    assert (tmp_path / "logs").read_text() == "a file in its place"


def test_where_times_are_fixed_the_log_lies_outside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EPOCH, "86400")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    run_dir = RunDir(tmp_path / "run")
    with told_to_its_end(run_dir):
        pass
    assert not (tmp_path / "run").exists()
    assert [event.event for event in read_events(run_dir)] == ["started", "ended"]


def test_a_bucket_gets_the_log_now_and_then_and_at_the_end(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_dir = RunDir(f"{bucket}/now-and-then")
    clock = Clock()
    log = EventLog(run_dir, clock)
    log.tell("started")
    assert list(run_dir.events.entries()) == []
    clock.now += UPLOAD_S
    log.tell("block")
    (kept,) = run_dir.events.entries()
    assert len(kept.read_bytes().splitlines()) == 2
    log.tell("ended")
    log.keep()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another machine"))
    assert [event.event for event in read_events(run_dir)] == ["started", "block", "ended"]


def test_who_hears_events_hears_those_before_too_but_for_blocks(tmp_path: Path) -> None:
    log = EventLog(RunDir(tmp_path))
    log.tell("inference", blocks=2)
    log.tell("block", block="b0")
    heard = list[tuple[str, object]]()
    log.let_hear(lambda event, values: heard.append((event, dict(values))))
    log.tell("block", block="b1")
    assert heard == [("inference", {"blocks": 2}), ("block", {"block": "b1"})]


def test_a_start_that_spent_its_budget_did_not_fail(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpentError), told_to_its_end(RunDir(tmp_path)):
        raise BudgetSpentError("--max-cost 1 is reached")
    _, end = read_events(RunDir(tmp_path))
    assert (end.event, end.values["error"]) == ("stopped", "--max-cost 1 is reached")
