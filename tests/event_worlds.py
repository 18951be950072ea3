"""Events of starts that are small enough to add up by hand."""

from __future__ import annotations

from typing import Any

from pipeline.run.events.event_log import Event


def reading(stage: str, worker: str, began: float, seconds: float, **counts: int) -> dict[str, Any]:
    role = {"read": "reader", "prompt": "prompter", "segment": "segmenter", "load": "prompter"}[stage]
    return {
        "stage": stage,
        "role": role,
        "worker": worker,
        "began": began,
        "seconds": seconds,
        "counts": counts,
        "traffic": {"http_requests": 2, "http_bytes": 1500} if stage == "read" else {},
    }


def block(
    name: str, times: list[dict[str, Any]], *, failures: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    failed = len({told["tile"] for told in failures or ()})
    counts = {"found": 3 - failed, "empty": 1, "failed": failed}
    more = {"failures": failures} if failures else {}
    return {"block": name, **counts, **more, "times": times}


def events(start: str, *told: tuple[float, str, dict[str, Any]]) -> list[Event]:
    return [Event(start=start, time=time, event=event, values=values) for time, event, values in told]


POOLS = {"reserved_gpus": 2.0}


def whole_start() -> list[Event]:
    """100 s: planned until 5, pools at 10, first block at 40, last at 70, published from 75 to 95.

    Prompter a is busy from 40 to 60 with two blocks that overlap, b not at all after its loading; the
    segmenter from 60 to 70, and 20 s before the first block came through.
    """
    first = [
        reading("load", "h:a", 10.0, 20.0),
        reading("load", "h:b", 10.0, 24.0),
        reading("read", "h:r", 12.0, 1.0),
        reading("prompt", "h:a", 32.0, 5.0, calls=4, reply_tokens=10),
        reading("segment", "h:s", 20.0, 20.0),
    ]
    second = [
        reading("prompt", "h:a", 38.0, 12.0, calls=4, reply_tokens=20),
        reading("segment", "h:s", 60.0, 5.0),
    ]
    third = [reading("prompt", "h:a", 45.0, 15.0, calls=4), reading("segment", "h:s", 65.0, 5.0)]
    return events(
        "1.jsonl",
        (0.0, "started", {"runner": "ray"}),
        (5.0, "inference", {"blocks": 3}),
        (10.0, "pools", POOLS),
        (40.0, "block", block("b0", first)),
        (66.0, "block", block("b1", second)),
        (70.0, "block", block("b2", third)),
        (71.0, "inferred", {}),
        (75.0, "publishing", {}),
        (95.0, "published", {}),
        (99.0, "traffic", {"step": "ending", "counts": {"http_requests": 4}}),
        (100.0, "ended", {}),
    )
