"""Work that does not come back: who waits goes on, and hears who is to blame."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from pipeline.run.infer.attempts import WORKING_ON
from pipeline.run.infer.deadlines import Hand, LoopThread, OverdueError

LONG_S = 60.0


def test_a_hand_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    hand = Hand("test")
    threads = {hand.call(threading.get_ident, LONG_S) for _ in range(3)}
    assert len(threads) == 1, "one thread, so that what belongs to a thread is kept"
    assert threading.get_ident() not in threads
    with pytest.raises(KeyError, match="boxes"):
        hand.call(lambda: {}["boxes"], LONG_S)

    def late() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        hand.call(late, LONG_S)
    assert hand.left_behind == 0
    hand.close()


def test_what_does_not_come_back_is_left_behind_and_the_next_call_is_made() -> None:
    hand = Hand("test")
    end = threading.Event()
    with pytest.raises(OverdueError, match=r"not back within 0\.05 s"):
        hand.call(end.wait, 0.05)
    assert hand.left_behind == 1
    assert hand.call(lambda: 3, LONG_S) == 3
    end.set()
    hand.close()


def test_a_call_left_behind_does_not_keep_the_process() -> None:
    code = (
        "import threading; from pipeline.run.infer.deadlines import Hand, OverdueError\n"
        "try: Hand('test').call(threading.Event().wait, 0.05)\n"
        "except OverdueError: print('left')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "left\n")


async def doubled(number: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * number


async def late() -> None:
    raise TimeoutError("of its own")


def test_a_loop_in_a_thread_answers_callers_with_and_without_a_loop() -> None:
    loop = LoopThread("test", LONG_S)
    assert loop.run(doubled(3)) == 6

    async def elsewhere() -> int:
        return await loop.awaited(doubled(4))

    assert asyncio.run(elsewhere()) == 8
    with pytest.raises(TimeoutError, match="of its own"):
        loop.run(late())
    loop.close()
    loop.close()


@pytest.mark.parametrize("has_loop", [False, True])
def test_a_loop_that_is_held_up_says_by_whose_work(has_loop: bool) -> None:
    loop = LoopThread("test", 0.3)
    end = threading.Event()

    async def work(tile: str) -> None:
        WORKING_ON.set(("block", tile))
        await asyncio.sleep(0)
        if tile == "bad":
            await asyncio.gather(block(), asyncio.sleep(0))

    async def block() -> None:
        end.wait()

    async def several() -> None:
        await asyncio.gather(work("good"), work("bad"))

    async def elsewhere() -> None:
        await loop.awaited(several())

    with pytest.raises(OverdueError) as raised:
        asyncio.run(elsewhere()) if has_loop else loop.run(several())
    assert raised.value.working_on == ("block", "bad"), "tasks of the task's own count as its work"
    end.set()
    loop.close()


def test_work_that_takes_long_and_lets_others_turn_is_no_stall() -> None:
    loop = LoopThread("test", 0.3)

    async def patient() -> str:
        await asyncio.sleep(0.8)
        return "done"

    assert loop.run(patient()) == "done"
    loop.close()


def test_closing_ends_what_still_runs() -> None:
    loop = LoopThread("test", LONG_S)
    ended = threading.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def start() -> asyncio.Task[None]:
        task = asyncio.ensure_future(for_ever())
        await asyncio.sleep(0)
        return task

    task = loop.run(start())
    loop.close()
    assert ended.is_set()
    assert task.cancelled()


def test_a_call_that_keeps_pythons_lock_ends_the_process() -> None:
    """`PyDLL` calls C without giving the lock back: no thread of Python can end such a call."""
    code = (
        "import ctypes; from pipeline.run.infer import deadlines\n"
        "deadlines.GRACE_S = 0.0; deadlines.REARM_S = 0.1\n"
        "deadlines.end_process_when_stuck(1.0)\n"
        "import time; time.sleep(2); print('alive', flush=True)\n"
        "ctypes.PyDLL(None).sleep(600)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "alive\n")
    assert "Timeout" in done.stderr
    assert time.monotonic() - started < 110
