"""Draw a stratified random sample from the frames of one query, the same for the same seed.

1. `object_strata`: thirds of the scores, each parted into objects at a tile's edge and others.
2. `cell_strata`: cells with an object in or beside them, and the others by what became of their tile.
3. `point_strata`: points on objects, beside them, and away from them by what became of the tile.
4. Sizes by `allocation`, with the standard deviations of `_EXPECTED`: guesses that cost precision where they
   are wrong, and never bias.
5. `draw` takes a simple random sample without replacement in each stratum, and shuffles each kind. So
   the first k units of a kind, in that order, are a random sample too, and a review may stop early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.assess.allocation import allocate
from pipeline.assess.sampling_frame import FAR, INSIDE, NEAR, STATES, UNJUDGED, GroundFrame, ObjectsFrame

Kind = Literal["object", "cell", "point", "change"]

KINDS: tuple[Kind, ...] = ("object", "cell", "point")
"""Of the sample of a run. `change` is a point at two dates (`pipeline.assess.change`)."""

LEAST = 8
"""Fewest units of a stratum, where it has so many."""

LEAST_SHARE = 0.25
"""Share of the points that lie on objects, and share beside them, at least: the ground away from them is so
much larger that it would take all."""

NEAR_STRATA = ("on objects", "beside objects")
"""Strata of points at what was published."""

_BANDS = ("low", "middle", "high")
_EXPECTED = {
    "low": 0.5,
    "middle": 0.4,
    "high": 0.3,
    "with objects": 0.35,
    "found": 0.2,
    "prompter": 0.1,
    "gate": 0.1,
    "verifier": 0.15,
    "inside": 0.35,
    "beside": 0.4,
    "found far": 0.14,
    "prompter far": 0.07,
    "gate far": 0.07,
    "verifier far": 0.1,
}
"""Standard deviation that is expected of the answers in a stratum: right or wrong objects, missed objects per
cell, points on an object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnStratum:
    """A stratum, and how many of its units are drawn."""

    kind: Kind
    name: str
    size: int
    """Units in it: objects, cells or pixels."""
    drawn: int
    area_m2: float = 0.0
    """Ground of a stratum of points; NaN without a CRS, 0 for other kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnUnit:
    """A unit of the sample, before it has a place in the imagery."""

    kind: Kind
    stratum: int
    """Position in the list of strata of its query."""
    row: int
    """Row of the object or cell in its frame; for a point that of the cell."""
    pixel_class: int = UNJUDGED
    """Of a point."""
    ordinal: int = -1
    """Of a point: which pixel of its class in that cell, in order of rows and columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How many units are asked for, per query."""

    objects: int = 100
    cells: int = 100
    points: int = 150

    def of(self, kind: Kind) -> int:
        return {"object": self.objects, "cell": self.cells}.get(kind, self.points)


@dataclass(frozen=True, kw_only=True, slots=True)
class StratumMembers:
    """A stratum before the draw: rows of its frame, and of points the pixels in each."""

    name: str
    rows: NDArray[np.int64]
    deviation: float
    least_share: float = 0.0
    """Share of the kind's units that it gets at least."""
    n_px: NDArray[np.int64] | None = None
    pixel_class: int = UNJUDGED
    area_m2: float = 0.0

    @property
    def size(self) -> int:
        return len(self.rows) if self.n_px is None else int(self.n_px.sum())


def draw(
    objects: ObjectsFrame, ground: GroundFrame, wanted: Wanted, *, seed: int, query_index: int
) -> tuple[list[DrawnStratum], list[DrawnUnit]]:
    """Draw the sample of one query: its strata, and its units by kind, each kind in random order."""
    strata: list[DrawnStratum] = []
    units: list[DrawnUnit] = []
    by_kind = (object_strata(objects), cell_strata(ground), point_strata(ground))
    for number, (kind, members) in enumerate(zip(KINDS, by_kind, strict=True)):
        if not wanted.of(kind):
            continue
        rng = np.random.default_rng([seed, query_index, number])
        own, drawn = draw_kind(kind, members, wanted.of(kind), rng, first=len(strata))
        strata += own
        units += drawn
    return strata, units


def draw_kind(
    kind: Kind, members: Sequence[StratumMembers], total: int, rng: np.random.Generator, *, first: int = 0
) -> tuple[list[DrawnStratum], list[DrawnUnit]]:
    """Draw the units of one kind, in random order. `first`: position of its first stratum among all. Strata
    without a unit are left out."""
    filled = [one for one in members if one.size]
    counts = allocate(
        [one.size for one in filled],
        [one.deviation for one in filled],
        total,
        least=[max(LEAST, round(total * one.least_share)) for one in filled],
    )
    strata: list[DrawnStratum] = []
    units: list[DrawnUnit] = []
    for one, count in zip(filled, counts.tolist(), strict=True):
        units += _drawn(kind, one, count, first + len(strata), rng)
        strata.append(DrawnStratum(kind=kind, name=one.name, size=one.size, drawn=count, area_m2=one.area_m2))
    return strata, [units[place] for place in rng.permutation(len(units)).tolist()]


def object_strata(frame: ObjectsFrame) -> list[StratumMembers]:
    """Thirds of the scores, without and with a tile's edge."""
    if not len(frame):
        return []
    low, high = np.quantile(frame.score, (1 / 3, 2 / 3)).tolist()
    band = (frame.score > low).astype(int) + (frame.score > high)
    ranges = (f"score to {low:.3f}", f"score {low:.3f} to {high:.3f}", f"score above {high:.3f}")
    return [
        StratumMembers(
            name=f"{ranges[number]}{', at a tile edge' if edge else ''}",
            rows=np.flatnonzero((band == number) & (frame.at_edge == edge)),
            deviation=_EXPECTED[name],
        )
        for number, name in enumerate(_BANDS)
        for edge in (False, True)
    ]


def cell_strata(frame: GroundFrame) -> list[StratumMembers]:
    """Cells with an object in or beside them, then the others by the state of their tile."""
    busy = (frame.n_px[:, INSIDE] > 0) | (frame.n_px[:, NEAR] > 0)
    return [
        StratumMembers(name="with objects", rows=np.flatnonzero(busy), deviation=_EXPECTED["with objects"]),
        *(
            StratumMembers(
                name=_told(state, "no object"),
                rows=np.flatnonzero(~busy & (frame.state == number)),
                deviation=_EXPECTED[state],
            )
            for number, state in enumerate(STATES)
        ),
    ]


def point_strata(frame: GroundFrame) -> list[StratumMembers]:
    """Points on objects, beside them, and elsewhere by the state of their tile."""
    everywhere = np.ones(len(frame), dtype=np.bool_)
    return [
        _points(frame, NEAR_STRATA[0], INSIDE, everywhere, _EXPECTED["inside"]),
        _points(frame, NEAR_STRATA[1], NEAR, everywhere, _EXPECTED["beside"]),
        *(
            _points(
                frame,
                _told(state, "away from objects"),
                FAR,
                frame.state == number,
                _EXPECTED[f"{state} far"],
            )
            for number, state in enumerate(STATES)
        ),
    ]


def _told(state: str, where: str) -> str:
    if state == STATES[0]:
        return f"tile with finds, {where}"
    return f"tile without, said the {state}, {where}"


def _points(
    frame: GroundFrame, name: str, which: int, chosen: NDArray[np.bool_], deviation: float
) -> StratumMembers:
    rows = np.flatnonzero(chosen & (frame.n_px[:, which] > 0))
    n_px = frame.n_px[rows, which].astype(np.int64)
    area = float((n_px * frame.px_m2[rows]).sum())
    return StratumMembers(
        name=name,
        rows=rows,
        deviation=deviation,
        least_share=0.0 if which == FAR else LEAST_SHARE,
        n_px=n_px,
        pixel_class=which,
        area_m2=area,
    )


def _drawn(
    kind: Kind, one: StratumMembers, count: int, stratum: int, rng: np.random.Generator
) -> Sequence[DrawnUnit]:
    """A simple random sample without replacement from one stratum."""
    taken = np.sort(rng.choice(one.size, size=count, replace=False))
    if one.n_px is None:
        return [DrawnUnit(kind=kind, stratum=stratum, row=int(one.rows[place])) for place in taken]
    ends = np.cumsum(one.n_px)
    places = np.searchsorted(ends, taken, side="right")
    ordinals = taken - (ends - one.n_px)[places]
    return [
        DrawnUnit(
            kind=kind,
            stratum=stratum,
            row=int(one.rows[place]),
            pixel_class=one.pixel_class,
            ordinal=int(ordinal),
        )
        for place, ordinal in zip(places.tolist(), ordinals.tolist(), strict=True)
    ]
