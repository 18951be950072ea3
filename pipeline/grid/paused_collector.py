"""Let Python's collector of cycles rest while very many objects are made that stay.

It looks through what is new again and again, and there is nothing to find: of a plan of 20,000 items it took
about 30 % of the time. Reference counts free what is no longer used, as ever.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect no cycles within; afterwards as before."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
