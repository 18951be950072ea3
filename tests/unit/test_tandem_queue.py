"""The simulation of a run, beside queues that can be solved by hand."""

from __future__ import annotations

import pytest
from benchmarks.tandem_queue import Link, Stage, simulate


def stages(*servers_and_seconds: tuple[int, float], waiting: int | None = 2) -> list[Stage]:
    names = ("read", "prompt", "segment", "driver")
    return [
        Stage(name=name, servers=servers, seconds=[seconds], waiting=waiting)
        for name, (servers, seconds) in zip(names, servers_and_seconds, strict=False)
    ]


@pytest.mark.parametrize(
    ("slow", "blocks_s"),
    [("read", 2.0), ("prompt", 1.5), ("segment", 1.25), ("driver", 1.0), ("link", 0.5), ("", 4.0)],
)
def test_the_slowest_stage_sets_the_rate(slow: str, blocks_s: float) -> None:
    """Deterministic service: the rate is the least of servers / seconds, and of bytes_s / block_bytes."""
    served = {"read": (2, 0.5), "prompt": (3, 0.5), "segment": (5, 0.5), "driver": (1, 0.125)}
    slower = {"read": (2, 1.0), "prompt": (3, 2.0), "segment": (5, 4.0), "driver": (1, 1.0)}
    if slow in slower:
        served[slow] = slower[slow]
    link = Link(bytes_s=100.0, block_bytes=200.0 if slow == "link" else 10.0)
    outcome = simulate(stages(*served.values()), blocks=400, link=link)
    assert outcome.blocks_s == pytest.approx(blocks_s, rel=0.02)
    assert outcome.limit == (slow or "read")
    assert outcome.busy[outcome.limit] == pytest.approx(1.0, abs=0.02)


def test_three_blocks_by_hand() -> None:
    """1 s to read, 2 s to ask, 1 s to segment, one worker each: 1 + 3 x 2 + 1."""
    assert simulate(stages((1, 1.0), (1, 2.0), (1, 1.0)), blocks=3).seconds == 8.0


def test_a_full_stage_stops_the_one_before_it() -> None:
    """Nobody may wait: two readers of 1 s stand still for an asker of 10 s, and are busy 10 % of the time."""
    outcome = simulate(stages((2, 1.0), (1, 10.0), waiting=0), blocks=100)
    assert outcome.blocks_s == pytest.approx(0.1)
    assert outcome.busy == pytest.approx({"read": 0.05, "prompt": 1.0}, abs=0.005)


def test_transfers_share_the_link() -> None:
    """Two transfers of 100 bytes at 100 bytes a second take 2 s together, not 1; reading itself takes 0.5."""
    read = stages((2, 0.5))
    assert simulate(read, blocks=2, link=Link(bytes_s=100, block_bytes=100)).seconds == 2.0
    assert simulate(read, blocks=1, link=Link(bytes_s=100, block_bytes=100)).seconds == 1.0
    assert simulate(read, blocks=2, link=Link(bytes_s=1e6, block_bytes=100)).seconds == 0.5


def test_times_that_vary_cost_some_rate_where_few_may_wait() -> None:
    """The mean is that of the steady case. Many waiting blocks even it out, few do not."""
    varied = [Stage(name=name, servers=4, seconds=[0.2, 1.8], waiting=1) for name in ("read", "prompt")]
    patient = [Stage(name=name, servers=4, seconds=[0.2, 1.8], waiting=100) for name in ("read", "prompt")]
    few = simulate(varied, blocks=4000).blocks_s
    many = simulate(patient, blocks=4000).blocks_s
    assert few < 0.97 * many
    assert many == pytest.approx(4.0, rel=0.05)
    assert simulate(varied, blocks=4000, seed=0) == simulate(varied, blocks=4000, seed=0)
