"""Which of several scenes of one place is looked at: the order in which their pixels are taken.

The first scene with a valid pixel wins, and the next ones fill what it leaves. `mosaic_order` reads what
--mosaic says, and `ordered` sorts by it. Scenes that are equal keep the order in which they were named or
found, and scenes of which the date or the clouds are unknown come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.errors import InputError
from pipeline.grid.scene_list import SceneList
from pipeline.grid.scene_times import rfc3339
from pipeline.schema.imagery import Scene

OrderKind = Literal["first", "newest", "oldest", "least-cloudy", "closest-to"]
_KINDS: tuple[OrderKind, ...] = ("first", "newest", "oldest", "least-cloudy")


@dataclass(frozen=True, kw_only=True)
class MosaicOrder:
    """What comes first."""

    kind: OrderKind = "first"
    moment: str | None = None
    """RFC 3339 in UTC; of `closest-to` alone."""

    def __str__(self) -> str:
        return self.kind if self.moment is None else f"{self.kind}:{self.moment}"


def mosaic_order(text: str) -> MosaicOrder:
    """Read `first`, `newest`, `oldest`, `least-cloudy` or `closest-to:DATE`. Raises InputError."""
    for kind in _KINDS:
        if text == kind:
            return MosaicOrder(kind=kind)
    name, _, date = text.partition(":")
    moment = rfc3339(date)
    if name == "closest-to" and moment is not None:
        return MosaicOrder(kind="closest-to", moment=moment)
    raise InputError(
        f"--mosaic must be {', '.join(_KINDS)} or closest-to:DATE",
        came=repr(text),
        remedy="for example --mosaic closest-to:2024-06-01",
    )


def ordered(scenes: Sequence[Scene], order: MosaicOrder) -> SceneList:
    """Sort scenes so that the one that wins comes first. `first`: as they came."""
    listed = SceneList.of(scenes)
    if order.kind == "first":
        return listed
    keys = _keys(listed, order)
    known = [number for number, key in enumerate(keys) if key is not None]
    known.sort(key=lambda number: keys[number] or 0.0)
    unknown = [number for number, key in enumerate(keys) if key is None]
    return listed.take([*known, *unknown])


def _keys(scenes: SceneList, order: MosaicOrder) -> list[float | None]:
    """What to sort by, smallest first. None: it is unknown."""
    if order.kind == "least-cloudy":
        return scenes.cloud_covers()
    return [None if moment is None else _time_key(moment, order) for moment in scenes.datetimes()]


def _time_key(moment: str, order: MosaicOrder) -> float:
    taken = _seconds(moment)
    if order.moment is not None:
        return abs(taken - _seconds(order.moment))
    return -taken if order.kind == "newest" else taken


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
