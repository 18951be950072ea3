"""Work that does not come back is left behind, in the thread that it holds.

A call into C cannot be interrupted. So `Hand` makes blocking calls in a thread of its own, and whoever waits
gives up after a time; `LoopThread` keeps an event loop in a thread of its own, and notices when a task holds
it up. Threads left behind do not keep a process from ending. A call that also keeps Python's lock holds up
everything, the waiting as well: `end_process_when_stuck` lets C end the process then.
"""

from __future__ import annotations

import asyncio
import faulthandler
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from pipeline.run.infer.attempts import WORKING_ON

BEAT_S = 0.1
"""Seconds between two signs of life of an event loop."""

REARM_S = 5.0
"""Seconds between two settings of the alarm in C."""

CLOSING_S = 5.0
"""Seconds that a loop has to end what runs in it."""

GRACE_S = 60.0
"""Seconds that the alarm in C leaves to the limits, which know more of the culprit."""


class OverdueError(Exception):
    """Work did not come back in time. It goes on in a thread that was left behind."""

    def __init__(self, limit_s: float, working_on: tuple[str, str] | None = None) -> None:
        super().__init__(f"not back within {limit_s:g} s")
        self.limit_s = limit_s
        self.working_on = working_on
        """Block and tile, where the work knows it."""


class Hand:
    """Makes one call at a time, in a thread that can be left behind."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] | None = None
        self.left_behind = 0
        """Threads that did not come back."""

    def call[T](self, work: Callable[[], T], limit_s: float) -> T:
        """Return what `work` returns. Raises what it raises, and OverdueError after `limit_s` seconds."""
        if self._calls is None:
            self._calls = SimpleQueue()
            thread = threading.Thread(target=_work_through, args=(self._calls,), name=self._name, daemon=True)
            thread.start()
        answer: Future[T] = Future()
        self._calls.put((work, answer))
        try:
            return answer.result(limit_s)
        except TimeoutError:
            if answer.done():
                raise  # it is what `work` raised
        self.left_behind += 1
        self.close()
        raise OverdueError(limit_s)

    def close(self) -> None:
        """Let the thread end, as soon as it can."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


type _Call = tuple[Callable[[], Any], Future[Any]]


def _work_through(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        work, answer = call
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)
        del call, work, answer  # a thread that waits holds no pixels


class LoopThread:
    """An event loop in a thread of its own, which notices when it is held up."""

    def __init__(self, name: str, stall_s: float) -> None:
        """`stall_s`: longest time in seconds between two turns of the loop."""
        self._stall_s = stall_s
        self._loop = asyncio.new_event_loop()
        self._turned = time.monotonic()
        self._loop.call_soon(self._beat)
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` from a thread without a loop. Raises what it raises, and OverdueError."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while True:
                with suppress(TimeoutError):
                    return future.result(BEAT_S)
                if future.done():
                    return future.result()
                self._require_turning()
        finally:
            future.cancel()

    async def awaited[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` from another loop. Raises what it raises, and OverdueError."""
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        try:
            while not future.done():
                await asyncio.wait([future], timeout=BEAT_S)
                if not future.done():
                    self._require_turning()
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """End the loop and what still runs in it. One that is held up stays behind."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
        self._thread.join(timeout=CLOSING_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _wind_up(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        self._loop.stop()

    def _beat(self) -> None:
        self._turned = time.monotonic()
        self._loop.call_later(BEAT_S, self._beat)

    def _require_turning(self) -> None:
        """Raise OverdueError when the loop has not turned for too long; it names what the task at work is
        about.
        """
        if time.monotonic() - self._turned < self._stall_s:
            return
        task = asyncio.current_task(self._loop)
        culprit = None if task is None else task.get_context().get(WORKING_ON)
        raise OverdueError(self._stall_s, culprit)


def end_process_when_stuck(limit_s: float) -> None:
    """From now on, end the process when no thread gets Python's lock for more than `limit_s` seconds.

    It ends like one that crashed, so the journal finds the culprit as it does then.
    """
    if not _alarmed.is_set():
        _alarmed.set()
        threading.Thread(target=_put_off, args=(limit_s + GRACE_S,), name="alarm", daemon=True).start()


_alarmed = threading.Event()


def _put_off(limit_s: float) -> None:
    """Put the alarm off again and again; it goes off when this thread cannot."""
    while True:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=2)
        time.sleep(REARM_S)
