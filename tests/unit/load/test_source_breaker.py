"""A source that fails again and again is left alone for a while; others are not."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import pytest

from pipeline.errors import SourceError
from pipeline.files.remote_error import RemoteError, TimedOutError, UnopenedError, status_error
from pipeline.load.source_breaker import LONGEST_PAUSE_S, GivenUpError, SourceBreaker
from pipeline.schema.imagery import Scene

REFUSED = status_error("https://one.org/a.tif", 403, "", signed=False)
MISSING = status_error("https://one.org/a.tif", 404, "", signed=False)
BUSY = status_error("https://one.org/a.tif", 503, "", signed=False)
LATE = TimedOutError("https://one.org/a.tif", "the server did not answer in time", retryable=True)


def scene(href: str) -> Scene:
    return Scene(
        scene_id=href,
        href=href,
        crs_wkt=None,
        transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        width=1,
        height=1,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )


A = scene("https://one.org/a.tif")
B = scene("https://one.org/b.tif")
ELSEWHERE = scene("https://two.org/a.tif")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def given_up(breaker: SourceBreaker, which: Scene) -> bool:
    try:
        breaker.let_through(which)
    except GivenUpError:
        return True
    return False


@pytest.mark.parametrize("error", [REFUSED, MISSING, BUSY, LATE])
def test_a_scene_is_given_up_after_failures_in_a_row(error: RemoteError) -> None:
    breaker = SourceBreaker(3, 60.0, Clock())
    for _ in range(2):
        breaker.failed(A, error)
    breaker.succeeded(A)
    for _ in range(2):
        breaker.failed(A, error)
        assert not given_up(breaker, A), "a success in between begins the row anew"
    breaker.failed(A, error)
    assert given_up(breaker, A)
    assert not given_up(breaker, B), "one scene's failures are not the host's"
    with pytest.raises(GivenUpError, match=r"3 failures in a row .*--retry-failed") as raised:
        breaker.let_through(A)
    assert error.reason in str(raised.value)


@pytest.mark.parametrize(
    ("error", "whole_host"), [(REFUSED, True), (BUSY, True), (LATE, True), (MISSING, False)]
)
def test_a_host_is_given_up_when_several_of_its_scenes_fail(error: RemoteError, whole_host: bool) -> None:
    """A missing object says nothing of its neighbours."""
    breaker = SourceBreaker(4, 60.0, Clock())
    others = [scene(f"https://one.org/{number}.tif") for number in range(4)]
    for other in others:
        breaker.failed(other, error)
    assert given_up(breaker, A) is whole_host
    assert not given_up(breaker, ELSEWHERE)


def test_a_success_anywhere_at_a_host_speaks_for_it() -> None:
    breaker = SourceBreaker(3, 60.0, Clock())
    for number in range(8):
        breaker.failed(scene(f"https://one.org/{number}.tif"), REFUSED)
        breaker.succeeded(B)
    assert not given_up(breaker, A)


@pytest.mark.parametrize(
    "error",
    [
        SourceError("a damaged block"),
        OSError("a damaged block"),
        RemoteError("https://one.org/a.tif", "it was replaced (412)", status=412),
        RemoteError("https://one.org/a.tif", "it ends at byte 3, before byte 9"),
    ],
)
def test_damaged_pixels_are_not_the_sources_failure(error: Exception) -> None:
    breaker = SourceBreaker(1, 60.0, Clock())
    breaker.failed(A, error)
    assert not given_up(breaker, A)


def test_a_scene_that_cannot_be_opened_is_known_by_what_the_server_answered() -> None:
    """Opening wraps the answer twice: as bad input, and as a failure of the scene."""
    refused = UnopenedError("A source must be a readable GeoTIFF")
    refused.status = 403
    error = SourceError(str(refused))
    error.__cause__ = refused
    breaker = SourceBreaker(1, 60.0, Clock())
    breaker.failed(A, error)
    assert given_up(breaker, A)


def test_after_a_pause_one_read_is_let_through_and_decides() -> None:
    clock = Clock()
    breaker = SourceBreaker(2, 60.0, clock)
    for _ in range(2):
        breaker.failed(A, BUSY)
    clock.now += 59
    assert given_up(breaker, A)
    clock.now += 2
    assert breaker.let_through(A) is True, "a trial, for which nobody waits long"
    assert given_up(breaker, A), "until it has come back, nobody else is let through"
    breaker.failed(A, BUSY)
    clock.now += 119
    assert given_up(breaker, A), "the second pause is twice as long"
    clock.now += 2
    assert breaker.let_through(A) is True
    breaker.succeeded(A)
    assert breaker.let_through(A) is False, "as good as new"
    breaker.failed(A, BUSY)
    assert not given_up(breaker, A)


def test_pauses_do_not_grow_for_ever() -> None:
    clock = Clock()
    breaker = SourceBreaker(1, 60.0, clock)
    breaker.failed(A, BUSY)
    for _ in range(10):
        clock.now += LONGEST_PAUSE_S + 1
        assert breaker.let_through(A)
        breaker.failed(A, BUSY)


def test_a_read_that_hangs_counts_also_for_a_local_file() -> None:
    breaker = SourceBreaker(2, 60.0, Clock())
    local = scene("/data/scene.tif")
    for _ in range(2):
        breaker.hung(local)
    assert given_up(breaker, local)
    assert not given_up(breaker, scene("/data/other.tif"))


def test_zero_never_gives_up_and_another_process_finds_out_for_itself() -> None:
    never = SourceBreaker(0, 60.0)
    for _ in range(100):
        never.failed(A, BUSY)
    assert not given_up(never, A)
    breaker = SourceBreaker(1, 60.0)
    breaker.failed(A, BUSY)
    copy = pickle.loads(pickle.dumps(breaker))
    assert not given_up(copy, A)
    copy.failed(A, BUSY)
    assert given_up(copy, A)
