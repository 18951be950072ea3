"""The journal counts attempts over process deaths."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pipeline.run.infer.attempts import AttemptJournal, Room


def test_attempts_count_until_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "attempts"
    assert AttemptJournal(directory).begin("b1", "prompt") == 1
    assert AttemptJournal(directory).begin("b1", "prompt") == 2  # a new process after a death
    assert AttemptJournal(directory).begin("b1", "segment") == 1
    assert AttemptJournal(directory).begin("b2", "prompt") == 1
    AttemptJournal(directory).end("b1", "prompt")
    assert AttemptJournal(directory).begin("b1", "prompt") == 1
    AttemptJournal(directory).reset()
    assert list(directory.iterdir()) == []


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
