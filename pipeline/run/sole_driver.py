"""The driver of a run directory, from its first check to its end, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.files.store.store_path import Place
from pipeline.run.stop_signals import last_act
from pipeline.write.run_lock import alone_in, give_back


@contextmanager
def sole_driver(folder: Place, *, say: Callable[[str], None] | None = None) -> Iterator[Callable[[], None]]:
    """Put this around the work of a driver, as `alone_in`, whose check it yields. The lock is also given back
    when a signal ends the process without unwinding. Raises RunBusyError when another driver is at work.
    """
    with alone_in(folder, say=say) as require_still_alone, last_act(lambda: give_back(folder)):
        yield require_still_alone
