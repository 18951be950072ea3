from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from event_worlds import block, reading

from pipeline.run.events.run_metrics import METRICS, RunMetrics

Key = tuple[str, tuple[tuple[str, str], ...]]


class Sums:
    """Meters that can be read."""

    def __init__(self) -> None:
        self.values: dict[Key, float] = defaultdict(float)

    def add(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        assert value > 0, "what Prometheus' counters take"
        assert METRICS[name][0] == "counter"
        self.values[self.key(name, labels)] += value

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        assert METRICS[name][0] == "gauge"
        self.values[self.key(name, labels)] = value

    def key(self, name: str, labels: Mapping[str, str]) -> Key:
        assert set(labels) == {"run", *METRICS[name][2]}
        return name, tuple(sorted(labels.items()))

    def of(self, name: str, **labels: str) -> float | None:
        return self.values.get(self.key(f"terraquery_{name}", {"run": "0123456789abcdef", **labels}))


def test_every_metric_follows_from_the_events() -> None:
    sums = Sums()
    metrics = RunMetrics(sums, "0123456789abcdef0123", clock=lambda: 77.0)
    metrics.heard("started", {"runner": "ray"})
    metrics.heard("inference", {"blocks": 3, "tiles": 12, "done": 0})
    assert (sums.of("blocks_left"), sums.of("tiles_planned"), sums.of("last_block_time")) == (3, 12, 77)
    assert sums.of("tiles_left") == 12
    metrics.heard("pools", {"actors": {"reader": 2, "prompter": 1}, "reserved_gpus": 1.5})
    late = [{"tile": "t1", "query": 0, "reason": "timeout", "error": "late"}]
    times = [reading("prompt", "h:a", 1.0, 2.5, calls=4, prompt_tokens=0), reading("read", "h:r", 0.0, 1.0)]
    times.append(reading("load", "h:a", 0.0, 9.0) | {"stage": "weights"})  # a part of another
    for told in (block("b0", times, failures=late), block("b1", times)):
        metrics.heard("block", {**told, "nodata": 1})
    assert (sums.of("blocks_left"), sums.of("blocks"), sums.of("tiles_left")) == (1, 2, 4)
    assert (sums.of("actors", role="reader"), sums.of("reserved_gpus")) == (2, 1.5)
    assert (sums.of("tiles", state="found"), sums.of("tiles", state="failed")) == (5, 1)
    assert (sums.of("tiles", state="empty"), sums.of("tiles", state="unseen")) == (None, 2)
    assert sums.of("failures", reason="timeout") == 1
    assert (sums.of("stage_seconds", stage="prompt"), sums.of("stage_seconds", stage="read")) == (5, 2)
    assert (sums.of("used", kind="calls"), sums.of("used", kind="prompt_tokens")) == (8, None)
    traffic = {"http_retries": 1, "files_hits": 3, "store_puts": 2, "store_written_bytes": 9}
    metrics.heard("traffic", {"step": "planning", "counts": {"http_requests": 5, **traffic}})
    assert (sums.of("requests", source="http"), sums.of("read_bytes", source="http")) == (9, 3000)
    assert (sums.of("retries", source="http"), sums.of("cache_lookups", cache="files", result="hit")) == (
        1,
        3,
    )
    assert (sums.of("store_requests", kind="puts"), sums.of("store_bytes", direction="written")) == (2, 9)
    assert {name for name, _ in sums.values} == set(METRICS), "no metric is a mere promise"


def test_gauges_beat_also_when_nothing_happens() -> None:
    sums = Sums()
    metrics = RunMetrics(sums, "0123456789abcdef0123", clock=lambda: 77.0)
    metrics.heard("inference", {"blocks": 3, "tiles": 12, "done": 0})
    sums.values.clear()
    with metrics.beating(every_s=0.01):
        until = time.monotonic() + 20
        while sums.of("last_block_time") is None and time.monotonic() < until:
            time.sleep(0.01)
    assert (sums.of("last_block_time"), sums.of("blocks_left")) == (77, 3)
