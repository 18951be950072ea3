"""Which objects of two dates are one, and what became of each.

Sizes and overlaps are counted on pixels that were judged at both dates, so that clouds change nothing.

1. Not comparable is an object of which less than `least_common` was judged at the other date, or that lies
   where the second date is shifted by more than `most_shift_px`.
2. Two objects are one when each has most of its overlap with the other, and they share at least half of the
   smaller one. It has grown or shrunk when its size changed by more than `growth`; has moved when it kept its
   size but the overlap is below `same_iou`; else it is unchanged. Is one of both not comparable, neither is.
3. An object that half lies in others, but is none of them, has merged with them (first date) or split off
   them (second date).
4. What is left has vanished, or appeared. With `most_way_m`, one that vanished and one of alike size that
   appeared no farther away are one that moved, nearest ones first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.compare.pixel_overlap import PixelOverlaps
from pipeline.errors import InputError

Change = Literal[
    "appeared", "vanished", "grown", "shrunk", "moved", "split", "merged", "unchanged", "not comparable"
]

CHANGES: tuple[Change, ...] = (
    "appeared", "vanished", "grown", "shrunk", "moved", "split", "merged", "unchanged", "not comparable",
)  # fmt: skip

_HALF = 0.5
"""Share of the smaller of two objects that they share when they are one; and of an object that merged or
split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchRules:
    """When an object counts as changed. Raises InputError for values that make no sense."""

    growth: float = 0.25
    """Share by which a size may change: 0.25 is from 1 / 1.25 to 1.25 times."""
    same_iou: float = 0.5
    """Intersection over union from which an object of alike size is in its place."""
    least_common: float = 0.9
    """Share of an object that must have been judged at the other date."""
    most_shift_px: float = 2.0
    """Shift of the second date, in pixels, up to which objects are compared."""
    most_way_m: float = 0.0
    """Longest way, in metres, of an object that moved away from where it was; 0: such objects are not looked
    for."""

    def __post_init__(self) -> None:
        shares = {"--same-iou": self.same_iou, "--least-common": self.least_common}
        sizes = {"--growth": self.growth, "--most-shift-px": self.most_shift_px, "--moved-m": self.most_way_m}
        wrong = [(name, value) for name, value in shares.items() if not 0.0 < value <= 1.0]
        wrong += [(name, value) for name, value in sizes.items() if not 0.0 <= value < np.inf]
        for name, value in wrong:
            span = "above 0 and at most 1" if name in shares else "0 or more"
            remedy = "leave it out for the default"
            raise InputError(f"{name} must be {span}", came=f"{value:g}", remedy=remedy)


def match(
    overlaps: PixelOverlaps,
    *,
    area_px: tuple[pd.Series, pd.Series],
    shift_px: NDArray[np.float64],
    rules: MatchRules,
) -> pd.DataFrame:
    """Say what became of every object.

    area_px: pixels of each object of either date over its whole grid, indexed by id. shift_px: (squares,)
    shift of the second date per square, NaN: not known. Returns rows of before, after (ids; 0: none at this
    date), change, reason (of what is not comparable), iou (NaN: no partner), size_before and size_after
    (pixels judged at both dates).
    """
    before = _judged(overlaps.before, area_px[0], shift_px, rules)
    after = _judged(overlaps.after, area_px[1], shift_px, rules)
    pairs = overlaps.pairs
    size_a = before["common_px"].reindex(pairs["before"]).to_numpy()
    size_b = after["common_px"].reindex(pairs["after"]).to_numpy()
    px = pairs["px"].to_numpy()
    best = _mutual_best(pairs) & (px >= _HALF * np.minimum(size_a, size_b))
    one = pairs[best].assign(
        size_before=size_a[best], size_after=size_b[best], iou=(px / (size_a + size_b - px))[best]
    )
    one = one.assign(
        change=_kind(one, rules), reason=_reason_of_pair(one, before["reason"], after["reason"])
    ).drop(columns="px")
    one.loc[one["reason"] != "", "change"] = "not comparable"
    alone = [
        _alone(before, pairs, one, side="before", others="after", covered="merged", free="vanished"),
        _alone(after, pairs, one, side="after", others="before", covered="split", free="appeared"),
    ]
    rows = pd.concat([one, *alone], ignore_index=True)
    return rows.astype({"before": "u8", "after": "u8", "size_before": "i8", "size_after": "i8"})


def join_moved(
    rows: pd.DataFrame, places: tuple[pd.DataFrame, pd.DataFrame], rules: MatchRules
) -> pd.DataFrame:
    """Make one row of an object that vanished and one that appeared, where they are one that moved.

    places: of either date, columns x, y in metres, indexed by id.
    """
    gone = rows.index[rows["change"] == "vanished"]
    new = rows.index[rows["change"] == "appeared"]
    if rules.most_way_m <= 0.0 or not len(gone) or not len(new):
        return rows
    from_xy = places[0].loc[rows.loc[gone, "before"], ["x", "y"]].to_numpy()
    to_xy = places[1].loc[rows.loc[new, "after"], ["x", "y"]].to_numpy()
    near = cKDTree(from_xy).sparse_distance_matrix(cKDTree(to_xy), rules.most_way_m, output_type="coo_matrix")
    size_a = rows.loc[gone, "size_before"].to_numpy()
    size_b = rows.loc[new, "size_after"].to_numpy()
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    joined = rows.copy()
    for at in np.lexsort((near.col, near.row, near.data)).tolist():
        a = int(near.row[at])
        b = int(near.col[at])
        alike = 1 / (1 + rules.growth) <= size_b[b] / max(size_a[a], 1) <= 1 + rules.growth
        if alike and a not in taken_a and b not in taken_b:
            taken_a.add(a)
            taken_b.add(b)
            for name in ("after", "size_after"):
                joined.loc[gone[a], name] = rows.loc[new[b], name]
            joined.loc[gone[a], "change"] = "moved"
            joined.loc[gone[a], "iou"] = 0.0
    return joined.drop(index=new[sorted(taken_b)]).reset_index(drop=True)


def _judged(
    objects: pd.DataFrame, area_px: pd.Series, shift_px: NDArray[np.float64], rules: MatchRules
) -> pd.DataFrame:
    """Add `reason`: why an object is not comparable; empty: it is. Objects outside the common window, too."""
    whole = objects.reindex(area_px.index).fillna({"px": 0, "common_px": 0, "square": -1})
    whole = whole.astype({"px": "i8", "common_px": "i8", "square": "i8"})
    shift = np.append(shift_px, np.nan)[whole["square"].to_numpy()]
    share = whole["common_px"].to_numpy() / np.maximum(area_px.to_numpy(), 1)
    off = np.nan_to_num(shift) > rules.most_shift_px
    reason = np.where(off, "registration", "")
    return whole.assign(reason=np.where(share < rules.least_common, "not judged at both dates", reason))


def _mutual_best(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each of both has most of its overlap with the other; the lower id wins a tie."""
    best = np.ones(len(pairs), dtype=np.bool_)
    for side, other in (("before", "after"), ("after", "before")):
        ranked = pairs.sort_values([side, "px", other], ascending=[True, False, True])
        first = ~ranked[side].duplicated()
        best &= pd.Series(first, index=ranked.index).reindex(pairs.index).to_numpy()
    return best


def _kind(one: pd.DataFrame, rules: MatchRules) -> NDArray[np.object_]:
    ratio = one["size_after"].to_numpy() / np.maximum(one["size_before"].to_numpy(), 1)
    kinds = np.where(one["iou"].to_numpy() < rules.same_iou, "moved", "unchanged").astype(object)
    kinds[ratio > 1 + rules.growth] = "grown"
    kinds[ratio < 1 / (1 + rules.growth)] = "shrunk"
    return kinds


def _reason_of_pair(one: pd.DataFrame, before: pd.Series, after: pd.Series) -> NDArray[np.object_]:
    first = before.reindex(one["before"]).to_numpy().astype(object)
    second = after.reindex(one["after"]).to_numpy().astype(object)
    return np.where(first != "", first, second)


def _alone(
    objects: pd.DataFrame,
    pairs: pd.DataFrame,
    one: pd.DataFrame,
    *,
    side: str,
    others: str,
    covered: Change,
    free: Change,
) -> pd.DataFrame:
    """Rows of objects without a partner."""
    rest = objects[~objects.index.isin(one[side])]
    shared = pairs.groupby(side)["px"].sum().reindex(rest.index).fillna(0).to_numpy()
    size = rest["common_px"].to_numpy()
    change = np.where((shared >= _HALF * size) & (shared > 0), covered, free).astype(object)
    change[(rest["reason"] != "").to_numpy()] = "not comparable"
    return pd.DataFrame(
        {
            side: rest.index.to_numpy(),
            others: np.zeros(len(rest), "u8"),
            "change": change,
            "reason": rest["reason"].to_numpy(),
            "iou": np.full(len(rest), np.nan),
            f"size_{side}": size,
            f"size_{others}": np.zeros(len(rest), "i8"),
        }
    )
