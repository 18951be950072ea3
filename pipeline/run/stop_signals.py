"""What SIGTERM, SIGHUP and Ctrl-C do to a job.

1. `heed_signals` begins to listen, for the rest of the process. The first signal raises KeyboardInterrupt in
   the main thread: the stack unwinds, engines are closed and the run's lock is given back.
2. The body of `unbroken` is finished first: the block that is being worked on, a task of the merge. It has
   `Grace.finish_s`, then it is broken off as well.
3. A second signal, or a main thread that does not come to its end, ends the process at once. Only the
   `last_act`s are done before.

A thread of its own reads the signals from a pipe. Python's handlers wait for the main thread, which may be
inside a library for minutes.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What is heeded, unless the process was started with it ignored (`nohup`, a script's `&`)."""

REPEAT_S = 0.5
"""Signals within this time are one: `timeout` and some schedulers send to a process and to its group."""

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that Ray sets for the driver of a submitted job."""

RAY_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Variable of a Ray head: whole seconds from the SIGTERM of `ray job stop` to its SIGKILL, 3 by default."""

Act = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Grace:
    """How long a stop may take, in seconds."""

    finish_s: float = 20.0
    """For the work at hand."""
    close_s: float = 6.0
    """After that, for closing engines and giving back the lock. With `last_s` it ends within the 30 seconds
    that Kubernetes and most schedulers wait."""
    last_s: float = 2.0
    """For the last acts of a process that is ended at once."""


def grace_of(environ: Mapping[str, str] = os.environ) -> Grace:
    """The time there is: a submitted job has only what `ray job stop` leaves."""
    if SUBMITTED not in environ:
        return Grace()
    told = environ.get(RAY_WAIT, "")
    wait_s = float(told) if told.isdecimal() and int(told) else 3.0
    return Grace(finish_s=0.5 * wait_s, close_s=0.25 * wait_s, last_s=0.15 * wait_s)


def heed_signals(grace: Grace | None = None) -> None:
    """Begin to listen. Called once, by the main thread of a job's own process."""
    global _listener
    _listener = _Listener(grace or grace_of())
    _listener.listen()


def heed_again() -> None:
    """Take the signals back from a library that has set handlers of its own."""
    if _listener is not None:
        _listener.take_signals()


def set_grace(finish_s: float) -> None:
    """Give the work at hand this many seconds after a signal, instead of the usual time."""
    if _listener is not None:
        known = _listener.grace
        _listener.grace = Grace(finish_s=finish_s, close_s=known.close_s, last_s=known.last_s)


def work_is_over() -> None:
    """Say that nothing is left to be finished: from now on the first signal ends the process."""
    if _listener is not None:
        _listener.over = True


def stopped_by(*, within_s: float = 0.0) -> int | None:
    """The signal that has asked this process to stop, or does so within this time. None: none has."""
    if _listener is None:
        return None
    if _listener.number is None:
        _listener.asked.wait(within_s)
    return _listener.number


@contextmanager
def unbroken(on_stop: Act | None = None) -> Iterator[None]:
    """Put this around work that a stop should wait for. Raises KeyboardInterrupt at its end, or before it
    begins, when a signal has come.

    `on_stop` is called at once when a signal comes, by another thread: it may stop the intake of the work.
    """
    if _listener is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _listener.waiting(on_stop):
        yield


def unbroken_each[T](items: Iterable[T]) -> Iterator[T]:
    """Items of a loop whose body a stop waits for, as `unbroken`: the next one is not begun."""
    for item in items:
        with unbroken():
            yield item


@contextmanager
def last_act(act: Act) -> Iterator[None]:
    """Have `act` done, by another thread, when the process is ended during the body without unwinding."""
    acts = [] if _listener is None else _listener.acts
    acts.append(act)
    try:
        yield
    finally:
        acts.remove(act)


def farewell(number: int) -> str:
    """How a job that a signal has stopped says goodbye."""
    how = "interrupted" if number == signal.SIGINT else f"terminated by {signal.Signals(number).name}"
    return f"{how}; start the same command again to go on"


class _Listener:
    """The signals of this process, and what is done about them."""

    def __init__(self, grace: Grace) -> None:
        self.grace = grace
        self.number: int | None = None
        self.asked = threading.Event()
        self.over = False
        self.acts: list[Act] = []
        self._hooks: list[Act] = []
        self._depth = 0
        self._late = False
        self._raised = False
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._screen = os.dup(2)  # a run points 2 to its log

    def listen(self) -> None:
        self.take_signals()
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self._forget)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def take_signals(self) -> None:
        for number in SIGNALS:
            if self._before[number] is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def waiting(self, on_stop: Act | None) -> Iterator[None]:
        hooks = [] if on_stop is None else [on_stop]
        self._hooks += hooks
        self._depth += 1
        try:
            self._check()
            yield
        finally:
            self._depth -= 1
            for hook in hooks:
                self._hooks.remove(hook)
        self._check()

    def _check(self) -> None:
        if self.number is not None:
            self._raised = True
            raise KeyboardInterrupt

    def _handle(self, number: int, _: FrameType | None) -> None:
        """What the main thread does. It raises once: a second error would break the unwinding."""
        self.number = self.number or number
        if self.over or self._raised or (self._depth and not self._late):
            return
        self._raised = True
        raise KeyboardInterrupt

    def _watch(self) -> None:
        self.number = first = self._next(None) or signal.SIGTERM
        self.asked.set()
        if not self.over:
            if self._depth:
                wait = f"for at most {self.grace.finish_s:g} s"
                self._say(f"stopping: the work at hand is finished, {wait}; a second signal ends it at once")
            for hook in tuple(self._hooks):
                with suppress(Exception):
                    hook()
            time.sleep(REPEAT_S)
            self._skip()
            if self._next(max(self.grace.finish_s - REPEAT_S, 0.0)) is None:
                self._late = True
                signal.pthread_kill(threading.main_thread().ident or 0, first)
                self._next(1.0)  # this very signal
                self._next(self.grace.close_s)
        self._end(first)

    def _next(self, seconds: float | None) -> int | None:
        """Wait for a signal. None: none came in this time."""
        until = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0) * 1000
            if not poll.poll(left):
                return None
            number = os.read(self._read, 1)[0]
            if number in SIGNALS:
                return number

    def _skip(self) -> None:
        while self._next(0.0) is not None:
            pass

    def _end(self, number: int) -> None:
        acts = [threading.Thread(target=act, daemon=True) for act in self.acts]
        for thread in acts:
            thread.start()
        until = time.monotonic() + self.grace.last_s
        for thread in acts:
            thread.join(max(until - time.monotonic(), 0.0))
        self._say(farewell(number))
        os._exit(128 + number)

    def _say(self, text: str) -> None:
        with suppress(OSError):
            os.write(self._screen, f"\n{text}\n".encode())

    def _forget(self) -> None:
        """A forked child is another process: what it is sent does not concern this one."""
        global _listener
        if _listener is self:
            _listener = None
            with suppress(ValueError):
                signal.set_wakeup_fd(-1)
                for number, handler in self._before.items():
                    if signal.getsignal(number) == self._handle:
                        signal.signal(number, handler)


_listener: _Listener | None = None
