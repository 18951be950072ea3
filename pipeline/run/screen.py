"""What a person sees of a run, and where everything else goes.

1. `quiet_screen` sends file descriptors 1 and 2 to the run's log, for libraries and native code too. The log
   holds no secrets and nothing that a screen obeys (`public_text`).
2. `Screen.say`, `Screen.out` and the warnings of this package still reach the driver's own stdout and stderr.
3. `Screen.loading` says what is being loaded, and how long it took.

Both streams are given back at the end.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.files.public_text import public_text
from pipeline.run.job_exit import readable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Say = Callable[[str], None]

QUICK_S = 1.0
"""What is loaded within this time is not worth a line."""

STILL_S = 10.0
"""Seconds between two lines of what takes long."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """The lines that a person sees of a run."""

    say: Say
    """Prints one line."""
    out: TextIO
    """The stdout that the driver was started with, for progress. Ray collects it from a submitted job."""
    quick_s: float = QUICK_S
    still_s: float = STILL_S
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def loading(self, what: str) -> AbstractContextManager[Callable[[], None]]:
        """Say that something is loaded, as `waiting` does."""
        return self.waiting(f"loading {what}", f"loaded {what} in")

    @contextmanager
    def waiting(self, doing: str, done: str) -> Iterator[Callable[[], None]]:
        """Say what is being done, unless it is quick: `doing` at first and again every `still_s` seconds,
        `done` with the seconds at the end. Yields a call that ends it before the body does. An error in the
        body ends it without `done`.
        """
        over = threading.Event()
        start = time.monotonic()
        told = [False]

        def tell() -> None:
            pause = self.quick_s
            while not over.wait(pause):
                with self._turn:
                    if over.is_set():
                        return
                    spent = f" {time.monotonic() - start:.0f} s" if told[0] else ""
                    self.say(f"{doing} ...{spent}")
                    told[0] = True
                pause = self.still_s

        def ready() -> None:
            with self._turn:
                if not over.is_set() and told[0]:
                    self.say(f"{done} {time.monotonic() - start:.0f} s")
                over.set()

        thread = threading.Thread(target=tell, name="loading", daemon=True)
        thread.start()
        try:
            yield ready
            ready()
        finally:
            over.set()
            thread.join()


def patient(say: Say) -> Say:
    """Make `say` go on when nobody listens any more: the work is worth more than its words. What it says goes
    through `public_text`.
    """

    def shown(text: str) -> None:
        with suppress(OSError):
            say(public_text(text))

    return shown


@contextmanager
def quiet_screen(log: Path, say: Say = print, *, place: str = "") -> Iterator[Screen]:
    """Send what anything but `say` prints to `log`, which is appended to, and removed when it stays empty.

    An error that nobody foresaw leaves its traceback in `log` and comes out as UnexpectedError, a full disk
    as DiskFullError, which names `place` (by default the log's folder) where the error names no file. After
    any other error the screen says where the log is. A full disk costs lines of the log, and a reader who has
    gone those of `say`; neither ends the run.
    """
    with ExitStack() as stack:
        out = stack.enter_context(_kept(sys.stdout, 1))
        err = stack.enter_context(_kept(sys.stderr, 2))
        _clean(log)
        stack.callback(_clean, log)
        file = stack.enter_context(_patient_log(log))
        before = log.stat().st_size

        turn = threading.Lock()

        def shown(text: str) -> None:
            with turn, redirect_stdout(out):
                say(text)
                out.flush()

        stack.enter_context(_own_warnings(err))
        stack.enter_context(redirect_stdout(file))
        stack.enter_context(redirect_stderr(file))
        for number in (1, 2):
            stack.enter_context(_pointed_at(number, file.fileno()))
        try:
            yield Screen(say=patient(shown), out=out)
        except Exception as error:
            file.flush()
            told = readable(error, log=log, place=place or str(log.parent))
            if told is not error:
                raise told from error
            if log.stat().st_size > before:
                err.write(f"the run stopped; what its libraries printed is in {log}\n")
                err.flush()
            raise


class _PublicLog(io.TextIOWrapper):
    """A log of texts as `public_text` has them. What native code prints does not come this way (`_clean`)."""

    def write(self, text: str, /) -> int:
        super().write(public_text(text))
        return len(text)


class _PatientFile(io.FileIO):
    """A file that takes what there is room for."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _patient_log(path: Path) -> TextIO:
    """Open a log to append to, line by line."""
    raw = io.BufferedWriter(_PatientFile(path, "a"))
    return _PublicLog(raw, encoding="utf-8", errors="replace", line_buffering=True)


@contextmanager
def _kept(stream: TextIO, number: int) -> Iterator[TextIO]:
    """`stream`, where it writes to file descriptor `number` on a descriptor of its own, which stays as it is
    when `number` is pointed elsewhere. Streams of pytest and notebooks have none.
    """
    stream.flush()
    try:
        own = stream.fileno() != number
    except (OSError, ValueError, AttributeError):
        own = True
    if own:
        yield stream
        return
    with os.fdopen(os.dup(number), "w", buffering=1, encoding=stream.encoding, errors=stream.errors) as copy:
        yield copy


@contextmanager
def _pointed_at(number: int, target: int) -> Iterator[None]:
    """File descriptor `number` writes to what `target` writes to."""
    try:
        before = os.dup(number)
    except OSError:  # a process started with its stdout or stderr closed
        yield
        return
    os.dup2(target, number)
    try:
        yield
    finally:
        os.dup2(before, number)
        os.close(before)


def print_publicly() -> None:
    """Let what Python code prints in this process go through `public_text`. Native code's does not."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _PublicStream):
            setattr(sys, name, _PublicStream(stream))


class _PublicStream:
    """A stream of a process that is not ours to close: Ray's worker."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(public_text(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class _PublicFormatter(logging.Formatter):
    """Log records by the rule of `public_text`."""

    def format(self, record: logging.LogRecord) -> str:
        return public_text(super().format(record))


@contextmanager
def _own_warnings(err: TextIO) -> Iterator[None]:
    """Warnings of this package's own modules go to `err`."""
    handler = logging.StreamHandler(err)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_PublicFormatter("note: %(message)s"))
    logger = logging.getLogger("pipeline")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _clean(log: Path) -> None:
    """Bring a log under `public_text`, what native code printed too; remove it when it is empty.

    It is called after a run, and before the next one for what a killed run left. The file stays the same
    one: processes may still print to it.
    """
    if not log.is_file():  # a device may have no end
        return
    with suppress(OSError):
        text = log.read_text(encoding="utf-8", errors="replace")
        if not text:
            log.unlink()
        elif (cleaned := public_text(text)) != text:
            with log.open("r+", encoding="utf-8", errors="replace", newline="") as file:
                file.write(cleaned)
                file.truncate()
