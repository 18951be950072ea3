"""Counts of pixels by square, against counts over the whole picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.compare.pixel_overlap import (
    GAINED,
    KEPT,
    LOST,
    NOT_COMPARABLE,
    NOTHING,
    OverlapTables,
    PairedPixels,
)


def paired(ids: list[np.ndarray], judged: list[np.ndarray]) -> PairedPixels:  # type: ignore[type-arg]
    first, second = (np.where(seen, own, 0).astype(np.uint64) for own, seen in zip(ids, judged, strict=True))
    return PairedPixels(ids_before=first, ids_after=second, judged_before=judged[0], judged_after=judged[1])


def test_each_pixel_has_a_state() -> None:
    yes, no = True, False
    pixels = paired(
        [np.array([[0, 5, 5, 0, 5, 0, 5]]), np.array([[0, 9, 0, 9, 9, 9, 0]])],
        [np.array([[yes] * 4 + [no, yes, yes]]), np.array([[yes] * 5 + [no, no]])],
    )
    assert pixels.states.tolist() == [
        [NOTHING, KEPT, LOST, GAINED, NOT_COMPARABLE, NOT_COMPARABLE, NOT_COMPARABLE]
    ]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
@settings(max_examples=8, deadline=None)
def test_squares_add_up_to_the_whole(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    large = np.uint64(2**60)
    ids = [np.kron(rng.integers(0, 4, (3, 4)), np.ones((5, 4))).astype(np.uint64) * large for _ in range(2)]
    judged = [rng.random(ids[0].shape) > 0.1 for _ in range(2)]
    tables = OverlapTables()
    counted: dict[tuple[int, int], dict[int, int]] = {}
    number = 0
    for row in range(0, 15, side):
        for col in range(0, 16, side):
            cut = np.s_[row : row + side, col : col + side]
            part = paired([own[cut] for own in ids], [seen[cut] for seen in judged])
            tables.add(number, part)
            for which, own in enumerate((part.ids_before, part.ids_after)):
                for value, px in zip(*np.unique(own[own > 0], return_counts=True), strict=True):
                    counted.setdefault((which, int(value)), {})[number] = int(px)
            number += 1
    total = tables.total()
    whole = paired(ids, judged)
    common = judged[0] & judged[1]
    for which, (rows, own) in enumerate(((total.before, whole.ids_before), (total.after, whole.ids_after))):
        assert rows.index.tolist() == np.unique(own[own > 0]).tolist()
        for value, row in rows.iterrows():
            assert row["px"] == (own == value).sum()
            assert row["common_px"] == ((own == value) & common).sum()
            by_square = counted[which, int(value)]
            assert by_square[int(row["square"])] == max(by_square.values())
    pairs = {(int(p.before), int(p.after)): int(p.px) for p in total.pairs.itertuples()}
    both = (whole.ids_before > 0) & (whole.ids_after > 0)
    want: dict[tuple[int, int], int] = {}
    for a, b in zip(whole.ids_before[both].tolist(), whole.ids_after[both].tolist(), strict=True):
        want[a, b] = want.get((a, b), 0) + 1
    assert pairs == want
