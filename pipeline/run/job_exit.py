"""How a job ends: with an exit code, and with one line on stderr for whatever went wrong.

1. `run_job` is the whole of a job's process: from here on signals are heeded.
2. `exit_code` does the work of a job and prints the line.
3. `readable` finds the words: an error of ours has them, a shortage of disk or memory is told with what to do
   about it, and of anything else the traceback goes to a file that the line names.

What is printed or kept goes through `public_text`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import DiskFullError, MemoryShortError, TerraqueryError, UnexpectedError
from pipeline.files.public_text import public_line, public_text
from pipeline.files.store.store import StoreError
from pipeline.run.shortage import shortage
from pipeline.run.stop_signals import farewell, heed_signals, stopped_by, work_is_over

_NOTICED_S = 1.0
"""Seconds within which a signal is noticed."""

_MOST_CHARS = 300
"""Longest text of an unforeseen error that is shown; the traceback has all of it."""


def run_job(main: Callable[[], int]) -> int:
    """Be the process of a job: heed signals, and return the exit code of `main`."""
    heed_signals()
    try:
        return main()
    except KeyboardInterrupt:  # it came before or after the work
        return _stopped()
    finally:
        work_is_over()


def exit_code(work: Callable[[], int], *, name: str = "error") -> int:
    """Do the work of a job; returns its exit code. What it raises is printed as one line, after `name`.

    A signal that stops the work is one line too, and exit code 128 + its number: 130 after Ctrl-C, 143 after
    SIGTERM. So is what fails after it, because a signal often reaches the workers as well. What rasterio
    raises it does not log to the screen as well.
    """
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    try:
        code = work()
    except Exception as error:
        told = readable(error)
        sys.stderr.write(f"{name}: {public_text(str(told))}\n")
        code = told.exit_code if stopped_by() is None else _stopped()
    except KeyboardInterrupt:
        code = _stopped()
    except SystemExit:  # a library's own handler may be quicker than ours
        if stopped_by(within_s=_NOTICED_S) is None:
            raise
        code = _stopped()
    _let_go_of_stdout()
    return code


def _stopped() -> int:
    """Say goodbye, and return the exit code of a job that was stopped."""
    number = stopped_by() or signal.SIGINT
    sys.stderr.write(f"\n{farewell(number)}\n")
    return 128 + number


def readable(
    error: Exception, *, log: Path | None = None, place: str = "a file of this job"
) -> TerraqueryError:
    """The error in words for a person.

    A full disk becomes a DiskFullError and a lack of memory a MemoryShortError, also when they stand behind
    another error; `place` is named when the error does not name a file. A traceback is written to the end of
    `log`. None, or a log that cannot be written: to a file in the system's folder for temporary files.
    """
    if isinstance(error, DiskFullError | MemoryShortError):
        return error
    short = shortage(error, place=place)
    if short is not None:
        return short
    if isinstance(error, TerraqueryError):
        return error
    if isinstance(error, StoreError):
        return UnexpectedError(
            f"the store of the run failed at {error.filename}: {error.strerror}. To fix: see that it "
            "answers, then start the same command again; what is committed is not done again."
        )
    said = public_line(str(error), most_chars=_MOST_CHARS)
    written = write_traceback(error, log)
    where = "is printed above" if written is None else f"is in {written}"
    return UnexpectedError(
        f"unexpected {type(error).__name__}: {said or 'no message'}. The traceback {where}."
    )


def write_traceback(error: BaseException, log: Path | None) -> Path | None:
    """Append the traceback to `log`, or write it to a new temporary file; returns the file. None: neither can
    be written, and it was printed to stderr."""
    text = public_text("".join(traceback.format_exception(error)))
    for known in (log, None):
        try:
            path = known or Path(tempfile.mkdtemp(prefix="terraquery-")) / "run.log"
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError:  # this place is full, or not to be written; the next one
            continue
        return path
    sys.stderr.write(text)
    return None


def _let_go_of_stdout() -> None:
    """Flush stdout. The rest is thrown away when its reader has gone or its disk is full: Python would end
    with an exit code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)
