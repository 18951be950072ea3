"""Named moments of commit and publication at which a process can be made to die, for tests.

`reach` stands at each of them and does nothing, unless the environment names that moment:

    TERRAQUERY_FAIL_POINT=before_run_json_swap          the process kills itself there (SIGKILL)
    TERRAQUERY_FAIL_POINT=after_object:12               ... when it is reached for the twelfth time
    TERRAQUERY_FAIL_POINT=before_run_json_swap:1:stop   it is suspended there (SIGSTOP) until SIGCONT

Nothing is unwound, closed or said: this is what a machine that loses its power leaves.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import Literal, get_args

VARIABLE = "TERRAQUERY_FAIL_POINT"

FailPoint = Literal[
    "before_object",
    "after_object",
    "before_lock",
    "after_lock",
    "before_run_json_begin",
    "after_run_json_begin",
    "before_block_record",
    "after_block_record",
    "before_coverage",
    "after_coverage",
    "before_shards",
    "after_shard",
    "before_instances",
    "after_instances",
    "before_manifest",
    "after_manifest",
    "before_run_json_swap",
    "after_run_json_swap",
    "before_links",
    "between_links",
    "after_links",
    "before_item",
    "after_item",
    "before_lock_release",
    "after_lock_release",
]
"""In the order of a run. `before_object` and `after_object`: any object that is put, created or swapped, when
its bytes are written but have no name yet, and when they have it."""

FAIL_POINTS: tuple[FailPoint, ...] = get_args(FailPoint)

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_reached: Counter[str] = Counter()
_lock = threading.Lock()


def reach(point: FailPoint) -> None:
    """Die or be suspended here, if the environment says so. Raises ValueError for a text in it that names no
    signal or no number.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted.partition(":")[0] != point:
        return
    _, nth, act = (*wanted.split(":"), "", "")[:3]
    with _lock:
        _reached[wanted] += 1
        now = _reached[wanted] == int(nth or 1)
    if now:
        os.kill(os.getpid(), _SIGNALS[_known(act or "kill")])


def _known(act: str) -> str:
    if act not in _SIGNALS:
        raise ValueError(f"{VARIABLE} must end in one of {', '.join(_SIGNALS)}, not {act!r}")
    return act
