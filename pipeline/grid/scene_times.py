"""When scenes were taken, and which of several dates wins in one place.

1. A time in the file's own tags counts.
2. `with_times` fills in the others by the rules of `--datetime-of`, in their order; the first that fits wins.
   A scene that no rule fits stays without a time: none is made up.
3. `overlap_note` says when scenes of different dates, or of unknown ones, show the same ground. There the
   first scene with a valid pixel wins, and order is the user's to choose.
"""

from __future__ import annotations

import fnmatch
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.raster_access import href_kind
from pipeline.schema.imagery import Scene

FROM_NAME = "name"
"""The rule that takes the date from a file's name."""

SHARED_ENOUGH = 0.5
"""Scenes without known dates are mentioned when one shows at least this share of the other. Neighbours in a
series of map sheets overlap by far less."""

_DATE_IN_NAME = re.compile(
    r"(?<!\d)(\d{4})([-_]?)(\d{2})\2(\d{2})(?:[T_-]?(\d{2})[-:]?(\d{2})[-:]?(\d{2})Z?)?(?!\d)"
)
"""20200831, 2020-08-31 or 2020_08_31, with or without a time of day behind it."""


@dataclass(frozen=True, kw_only=True)
class TimeRule:
    """One `--datetime-of`: the scenes it is for, and their time."""

    pattern: str
    """Glob that a scene's file name must match; `*`: every scene."""
    moment: str | None
    """RFC 3339 in UTC. None: the date in the file's name."""


def time_rule(text: str) -> TimeRule:
    """Read `TIME`, `name`, `GLOB=TIME` or `GLOB=name`. Raises InputError."""
    pattern, mark, value = text.rpartition("=")
    pattern = pattern if mark else "*"
    if value == FROM_NAME and pattern:
        return TimeRule(pattern=pattern, moment=None)
    moment = rfc3339(value)
    if moment is None or not pattern:
        raise InputError(
            "--datetime-of must be a time, `name`, or GLOB=time",
            came=repr(text),
            remedy="for example 2024-06-01, 2024-06-01T10:20:30Z, `name` (the date in the file's name), "
            "or '*_2020*.tif=2020-08-31'",
        )
    return TimeRule(pattern=pattern, moment=moment)


def with_times(scenes: Sequence[Scene], rules: Sequence[str]) -> tuple[Scene, ...]:
    """Give scenes without a time the one that the first fitting rule says. Raises InputError.

    A rule that fits no file's name is refused, and so is `name` for a file whose name holds no date: both
    are slips that would leave scenes undated.
    """
    read = [time_rule(text) for text in rules]
    for text, rule in zip(rules, read, strict=True):
        if not any(fnmatch.fnmatch(_file_name(scene.href), rule.pattern) for scene in scenes):
            raise InputError(
                "--datetime-of must fit a source's file name",
                came=f"{text!r}, and names like {_file_name(scenes[0].href)!r}",
                remedy="correct the glob; it must match the whole name",
            )
    return tuple(scene if scene.datetime else _with_time(scene, read) for scene in scenes)


def _with_time(scene: Scene, rules: Sequence[TimeRule]) -> Scene:
    name = _file_name(scene.href)
    for rule in rules:
        if fnmatch.fnmatch(name, rule.pattern):
            moment = rule.moment or date_in(name)
            if moment is None:
                raise InputError(
                    "--datetime-of name needs a date in every file's name that it is for",
                    came=repr(name),
                    remedy=f"say it for this file, before the other rules: --datetime-of '{name}=2024-06-01'",
                )
            return replace(scene, datetime=moment)
    return scene


def date_in(name: str) -> str | None:
    """Find the first date in a file's name (`s2_20200831T103021.tif`), as RFC 3339 in UTC. None: it has none.

    Eight digits count only when they are a day between 1900 and 2099.
    """
    for year, _, month, day, *clock in _DATE_IN_NAME.findall(name):
        if not "1900" <= year <= "2099":
            continue
        hour, minute, second = (int(part or 0) for part in clock)
        try:
            moment = datetime(int(year), int(month), int(day), hour, minute, second, tzinfo=UTC)
        except ValueError:
            continue
        return _text(moment)
    return None


def rfc3339(text: str | None) -> str | None:
    """Turn `2020-06-01`, `2020-06-01 10:20:30` or `2020-06-01T10:20:30Z` into RFC 3339 in UTC.

    A time without a zone is taken as UTC. None: the text is no such time.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return _text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def overlap_note(
    scenes: Sequence[Scene], outlines: Sequence[BaseGeometry], *, order: str = "first"
) -> str | None:
    """Say which scene wins where several dates show one place. None: no place has several.

    `outlines`: per scene, its extent on the run grid. Pairs count when their dates differ and they share any
    area, or when a date is unknown and one shows `SHARED_ENOUGH` of the other. `order`: what --mosaic says.
    """
    shapes = np.asarray(outlines, dtype=object)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    common = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    smaller = np.minimum(shapely.area(shapes[first]), shapely.area(shapes[second]))
    days = np.asarray([(scene.datetime or "")[:10] for scene in scenes])
    unknown = (days[first] == "") | (days[second] == "")
    counts = np.where(
        unknown, common >= SHARED_ENOUGH * smaller, (days[first] != days[second]) & (common > 0)
    )
    if not counts.any():
        return None
    largest = int(np.flatnonzero(counts)[np.argmax(common[counts])])
    wins = scenes[first[largest]]
    loses = scenes[second[largest]]
    n_scenes = np.union1d(first[counts], second[counts]).size
    undated = " --datetime-of says when a scene was taken." if unknown[counts].any() else ""
    return (
        f"{n_scenes} of {len(scenes)} scenes show places that another one of {_kind(unknown[counts])} shows "
        f"too. Where both have imagery one wins by --mosaic {order}, for example {_dated(wins)} over "
        f"{_dated(loses)}. To choose another, give --mosaic newest, oldest, least-cloudy or closest-to:DATE, "
        f"or --source in the order that you want.{undated}"
    )


def _kind(unknown: NDArray[np.bool_]) -> str:
    if unknown.all():
        return "unknown date"
    return "another or unknown date" if unknown.any() else "another date"


def _dated(scene: Scene) -> str:
    return f"{scene.scene_id} ({scene.datetime[:10] if scene.datetime else 'date unknown'})"


def _file_name(href: str) -> str:
    path = href if href_kind(href) == "local" else urllib.parse.unquote(urllib.parse.urlsplit(href).path)
    return PurePosixPath(path.replace("\\", "/")).name
