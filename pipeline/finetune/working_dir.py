"""The working directory of a training, which any later command may continue.

1. `start_name` names the weights that a training begins with.
2. `require_same_training` refuses a directory that holds a training of another start or seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

REMEDY = "repeat the command that began there, or name another working directory (--work)"
"""What to do about a directory that holds another training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """What a training began with."""

    start: str
    """The weights, as `start_name` names them. Empty: nothing."""
    seed: int | None
    """None: an earlier version, which recorded no seed, began the training."""


def start_name(start: Path | None) -> str:
    """Name the weights by their absolute path: a training may overwrite the file itself. "" means nothing."""
    return "" if start is None else str(start.resolve())


def require_same_training(work: Path, *, began: Beginning, now: Beginning) -> None:
    """Raise InputError when the training in `work` began with another start or seed than today's."""
    if began.start != now.start:
        came = f"{work}, which holds a training from {began.start or 'nothing'}"
        raise InputError("a training goes on from what it began with", came=came, remedy=REMEDY)
    if began.seed not in (None, now.seed):
        came = f"{work}, which holds a training of seed {began.seed}, and --seed {now.seed}"
        raise InputError("a training keeps its seed", came=came, remedy=REMEDY)
