"""The driver of a run directory, from its first check to its end, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.run.stop_signals import last_act
from pipeline.write.run_lock import LOCK_NAME, alone_in, require_free


@contextmanager
def sole_driver(folder: Path) -> Iterator[Callable[[], None]]:
    """Put this around the work of a driver, as `alone_in`, whose check it yields. The lock is also given back
    when a signal ends the process without unwinding. Raises InputError when another driver is at work.
    """
    with alone_in(folder) as require_still_alone, last_act(lambda: _give_back(folder)):
        yield require_still_alone


def _give_back(folder: Path) -> None:
    """Remove the lock, unless another driver holds it by now (InputError)."""
    require_free(folder)
    (folder / LOCK_NAME).unlink(missing_ok=True)
