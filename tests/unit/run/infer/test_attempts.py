"""The journal finds out over process deaths which tile is to blame, and blames no other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.run.infer.attempts import (
    MAX_CRASHES,
    MAX_LONE_CRASHES,
    Attempt,
    AttemptJournal,
    Room,
    SetAside,
)
from pipeline.schema.tile_answers import Reason


def die(journal: AttemptJournal, tile_id: str = "") -> Attempt:
    """One attempt at block b that ends with its process, at a tile if one is named."""
    attempt = journal.begin("b", "prompt")
    if tile_id:
        try:
            with attempt.working_on(tile_id):
                raise Death
        except Death:
            pass
    return attempt


class Death(BaseException):
    """Stands for the end of a process: nothing behind it is done."""


def test_attempts_count_until_the_end(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path / "attempts")
    assert not journal.died_before("b", "prompt")
    assert [die(journal).deaths for _ in range(2)] == [0, 1]
    assert journal.begin("b", "segment").deaths == 0
    assert journal.begin("c", "prompt").deaths == 0
    assert journal.in_progress() == {"b", "c"}
    third = journal.begin("b", "prompt")
    assert third.deaths == 2
    third.end()
    assert not journal.died_before("b", "prompt")
    assert journal.begin("b", "prompt").deaths == 0
    journal.reset()
    assert journal.in_progress() == frozenset()
    assert journal.noted() == {}


def test_after_two_deaths_the_tile_at_which_it_dies_again_is_set_aside(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    for _ in range(2):
        attempt = die(journal, "bad")
        assert not attempt.one_by_one, "many tiles are at work, and none is blamed"
        assert attempt.verdict("bad") is None
    third = journal.begin("b", "prompt")
    assert third.one_by_one
    with third.working_on("good"):
        pass
    with pytest.raises(Death), third.working_on("bad"):
        raise Death
    fourth = journal.begin("b", "prompt")
    why = fourth.verdict("bad")
    assert why is not None
    assert why.reason is Reason.CRASHED
    assert "this tile alone (prompt), and 2 times before" in why.error
    assert fourth.verdict("good") is None
    fourth.end()
    assert journal.begin("b", "prompt").verdict("bad") == why, "should it come again, it is still set aside"


def test_a_death_between_tiles_blames_none(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    for _ in range(2):
        die(journal)
    third = journal.begin("b", "prompt")
    with third.working_on("good"):
        pass
    fourth = journal.begin("b", "prompt")  # it died after that tile
    assert fourth.deaths == 3
    assert fourth.verdict("good") is None


def test_where_every_tile_kills_it_is_not_the_tiles(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    for _ in range(2):
        die(journal)
    for number in range(MAX_LONE_CRASHES):
        assert die(journal, f"t{number}").verdict("another") is None
    last = journal.begin("b", "prompt")
    why = last.verdict("another")
    assert why is not None
    assert why.reason is Reason.CRASHED
    assert "whichever tile it worked on" in why.error


def test_many_tiles_may_kill_where_one_gets_through(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    for _ in range(2):
        die(journal)
    first = journal.begin("b", "prompt")
    with first.working_on("good"):
        pass
    with pytest.raises(Death), first.working_on("t0"):
        raise Death
    for number in range(1, 2 * MAX_LONE_CRASHES):
        assert die(journal, f"t{number}").verdict("another") is None


def test_deaths_that_no_tile_explains_end_in_giving_up_and_at_last_in_an_error(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    verdicts = [die(journal).verdict("t") for _ in range(MAX_CRASHES + 1)]
    assert verdicts[:-1] == [None] * MAX_CRASHES
    assert verdicts[-1] is not None
    for _ in range(2):
        die(journal)
    with pytest.raises(ModelError, match="also when no model was asked"):
        die(journal)


def test_a_tile_that_is_known_to_hang_explains_the_death(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    late = SetAside(reason=Reason.TIMEOUT, error="too late")
    die(journal).set_aside("slow", late)
    second = journal.begin("b", "prompt")
    assert (second.deaths, second.verdict("slow"), second.verdict("other")) == (0, late, None)
    assert second.careful
    journal.set_aside("b", "prompt", "slower", late)  # by whoever watches the loop
    third = journal.begin("b", "prompt")
    assert (third.deaths, third.verdict("slower"), third.verdict("slow")) == (0, late, late)


def test_an_entry_that_cannot_be_read_was_begun_once(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    (tmp_path / "b.prompt.json").write_text("{")
    assert journal.begin("b", "prompt").deaths == 1


def test_who_wants_to_be_alone_waits_and_is_alone() -> None:
    log: list[str] = []

    async def work(room: Room, name: str, *, alone: bool) -> None:
        async with room.enter(alone=alone):
            log.append(f"{name} in")
            await asyncio.sleep(0.01)
            log.append(f"{name} out")

    async def all_of_them() -> None:
        room = Room()
        await asyncio.gather(
            work(room, "a", alone=False),
            work(room, "b", alone=False),
            work(room, "c", alone=True),
            work(room, "d", alone=False),
        )

    asyncio.run(all_of_them())
    assert log.index("b in") < log.index("a out"), "a and b work side by side"
    at = log.index("c in")
    assert log[at + 1] == "c out", "nobody comes or goes while c is inside"
    assert len(log) == 8
