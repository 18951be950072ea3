"""Objects of a run beside those of a layer, on boxes that are checked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from record_world import golden_run, lattice_of

from pipeline.evaluate.finished_run.layer_match import (
    MIN_IOU,
    LayerRow,
    PlaceRecords,
    found_rows,
    layer_rows,
    match_layer,
)
from pipeline.evaluate.finished_run.run_ledger import NOT_LOOKED_AT, LedgerEntry
from pipeline.schema.tile_answers import Reason, TileStatus


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([shapely.box(*corner) for corner in corners], dtype=object)


class Everywhere(PlaceRecords):
    """Every point has one entry."""

    def __init__(self, entry: LedgerEntry, *, judged: bool = True) -> None:
        self._answer = entry, judged

    def at(self, points_px: np.ndarray) -> list[tuple[LedgerEntry, bool]]:  # type: ignore[type-arg]
        return [self._answer] * len(points_px)


FOUND = LedgerEntry(status=TileStatus.FOUND, reason=Reason.NONE)

LAYER = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10))
RUN = boxes((0, 0, 10, 8), (8, 0, 10, 10), (23, 0, 33, 10), (36, 0, 46, 10), (80, 0, 90, 10))
"""The first is the first of the layer, the second a piece of it, the third is the second, the fourth overlaps
the third too little, the fifth is nowhere."""


def test_who_is_who_and_why_not() -> None:
    match = match_layer(LAYER, RUN)
    assert match.found_of.tolist() == [0, 2, -1, -1]
    assert match.layer_of.tolist() == [0, -1, 1, -1, -1]
    assert match.layer_iou.tolist() == pytest.approx([0.8, 7 / 13, 60 / 140, 0.0])
    assert [(row.status, row.reason) for row in layer_rows(match, Everywhere(FOUND), LAYER)] == [
        ("matched", ""),
        ("matched", ""),
        ("missed", "found with another outline"),
        ("missed", "its tile has other objects, and not this one"),
    ]
    assert [(row.status, row.reason) for row in found_rows(match)] == [
        ("matched", ""),
        ("extra", "one more piece of a matched object"),
        ("matched", ""),
        ("extra", "another outline than the layer's"),
        ("extra", "not in the layer"),
    ]


@pytest.mark.parametrize(
    ("entry", "judged", "row"),
    [
        (
            LedgerEntry(status=TileStatus.EMPTY, reason=Reason.GATE),
            True,
            ("missed", "the gate rejected its tile"),
        ),
        (
            LedgerEntry(status=TileStatus.EMPTY, reason=Reason.PROMPTER),
            True,
            ("missed", "the prompter said that nothing is there"),
        ),
        (
            LedgerEntry(status=TileStatus.FAILED, reason=Reason.TIMEOUT),
            False,
            ("not judged", "its tile failed: timeout"),
        ),
        (
            LedgerEntry(status=TileStatus.EMPTY, reason=Reason.CLOUD),
            False,
            ("not judged", "no valid imagery there"),
        ),
        (FOUND, False, ("not judged", "no valid imagery there")),
        (NOT_LOOKED_AT, False, ("not judged", "not looked at")),
    ],
)
def test_the_reason_is_what_the_run_did_there(entry: LedgerEntry, judged: bool, row: tuple[str, str]) -> None:
    layer = LAYER[3:]
    match = match_layer(layer, RUN)
    assert layer_rows(match, Everywhere(entry, judged=judged), layer) == [
        LayerRow(status=row[0], reason=row[1], iou=0.0)
    ]


def test_nothing_on_one_side() -> None:
    nothing = np.zeros(0, dtype=object)
    assert match_layer(LAYER, nothing).found_of.tolist() == [-1] * 4
    assert match_layer(nothing, RUN).layer_of.tolist() == [-1] * 5


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_each_object_is_matched_once_and_the_best_first(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def drawn(n: int) -> np.ndarray:  # type: ignore[type-arg]
        x, y = rng.integers(0, 12, (2, n))
        return boxes(*zip(x, y, x + rng.integers(2, 6, n), y + rng.integers(2, 6, n), strict=True))

    layer, found = drawn(7), drawn(8)
    match = match_layer(layer, found)
    iou = np.array([[a.intersection(b).area / a.union(b).area for b in found] for a in layer])
    pairs = [(at, of) for at, of in enumerate(match.found_of.tolist()) if of >= 0]
    assert len({of for _, of in pairs}) == len(pairs)
    assert sorted(pairs) == sorted((at, of) for of, at in enumerate(match.layer_of.tolist()) if at >= 0)
    for at, of in pairs:
        assert match.layer_iou[at] == match.found_iou[of] == pytest.approx(iou[at, of])
        assert iou[at, of] >= MIN_IOU
    free = np.ones(iou.shape, dtype=bool)
    for at, of in sorted(pairs, key=lambda pair: -iou[pair]):
        assert iou[at, of] == pytest.approx(iou[free].max())
        free[at] = False
        free[:, of] = False
    assert not (iou[free] >= MIN_IOU).any()


def test_places_are_asked_of_the_ledger_and_of_the_raster(tmp_path: Path) -> None:
    """Tiles of 10 px; the ledger knows the four at the top left, and nobody judged the first row."""
    golden_run(tmp_path / "run")
    looked = PlaceRecords(tmp_path / "run", lattice_of(), 0)
    answers = looked.at(np.array([[2.5, 0.5], [2.5, 1.5], [45.0, 35.0], [-1.0, 3.0], [3.0, 40.0]]))
    assert answers[0][1] is False
    assert answers[2:] == [(NOT_LOOKED_AT, False)] * 3
    assert answers[0][0] == answers[1][0] != NOT_LOOKED_AT
    assert answers[1][1] is answers[1][0].answered
