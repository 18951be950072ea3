"""Which runner does a run: `ray`, `local`, or for `auto` the one that suits its size.

Ray pays off on many tiles or many machines. For a few tiles its start and its actors cost more than they
save.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.run.config import Runner, RunnerChoice

LOCAL_TILES = 64
"""Most tiles that `auto` leaves to this process: four blocks of 4 x 4. Starting Ray and a process per actor
took three minutes of a run of 9 tiles; with a few blocks there is hardly anything for the stages to overlap.
"""


@dataclass(frozen=True, kw_only=True)
class ChosenRunner:
    """The runner of a run, and why it is that one."""

    name: Runner
    why: str
    """A few words for the plan."""

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def choose_runner(asked: RunnerChoice, n_tiles: int, environ: Mapping[str, str] = os.environ) -> ChosenRunner:
    """Settle who runs a plan of `n_tiles` tiles."""
    if asked != "auto":
        return ChosenRunner(name=asked, why="as asked")
    if cluster_named(environ):
        return ChosenRunner(name="ray", why="RAY_ADDRESS names a cluster")
    if n_tiles > LOCAL_TILES:
        return ChosenRunner(name="ray", why=f"more than {LOCAL_TILES} tiles")
    return ChosenRunner(name="local", why=f"no cluster is named, and at most {LOCAL_TILES} tiles")


def cluster_named(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether RAY_ADDRESS names a cluster, as it does under `ray job submit`."""
    return bool(environ.get("RAY_ADDRESS"))
