"""What became of objects, on worlds that are drawn in text and checked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.compare.match import MatchRules, join_moved, match
from pipeline.compare.pixel_overlap import OverlapTables, PairedPixels
from pipeline.errors import InputError


def ids_of(rows: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([[int(c) if c.isdigit() else 0 for c in row] for row in rows], dtype=np.uint64)


def judged_in(rows: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([[c != "?" for c in row] for row in rows])


def matched(
    before: list[str],
    after: list[str],
    *,
    shift_px: float = np.nan,
    rules: MatchRules | None = None,
    squares: int = 1,
) -> pd.DataFrame:
    """Match two pictures, cut into squares side by side.

    Digits are objects, `.` is background, `?` was not judged.
    """
    first, second = ids_of(before), ids_of(after)
    tables = OverlapTables()
    width = -(-first.shape[1] // squares)
    for at in range(squares):
        cut = np.s_[:, at * width : (at + 1) * width]
        tables.add(
            at,
            PairedPixels(
                ids_before=first[cut],
                ids_after=second[cut],
                judged_before=judged_in(before)[cut],
                judged_after=judged_in(after)[cut],
            ),
        )
    areas = [pd.Series(np.bincount(ids[ids > 0].astype(int))).iloc[1:] for ids in (first, second)]
    sizes = [area[area > 0] for area in areas]
    for size in sizes:
        size.index = size.index.astype("u8")
    return match(
        tables.total(),
        area_px=(sizes[0], sizes[1]),
        shift_px=np.full(squares, shift_px),
        rules=rules or MatchRules(),
    )


def said(rows: pd.DataFrame) -> dict[tuple[int, int], str]:
    return {(int(r.before), int(r.after)): r.change for r in rows.itertuples()}


BEFORE = [
    "111..22..333.444..55.",
    "111..22..333.444..55.",
    "111......333.444.....",
]
AFTER = [
    "222..11..555..333..7.",
    "222..11..555..333....",
    "222..11......444....9",
]


@pytest.mark.parametrize("squares", [1, 2, 5])
def test_each_change_has_its_name_however_the_picture_is_cut(squares: int) -> None:
    """Object 2 before is 1 after, and so on: ids say nothing."""
    rows = matched(BEFORE, AFTER, squares=squares)
    assert said(rows) == {
        (1, 2): "unchanged",
        (2, 1): "grown",
        (3, 5): "shrunk",
        (4, 3): "shrunk",
        (0, 4): "split",
        (5, 7): "shrunk",
        (0, 9): "appeared",
    }
    sizes = {(int(r.before), int(r.after)): (r.size_before, r.size_after) for r in rows.itertuples()}
    assert sizes[2, 1] == (4, 6)
    assert sizes[0, 9] == (0, 1)


def test_an_object_of_the_same_size_beside_its_place_has_moved() -> None:
    rows = matched(["1111....", "1111...."], ["..5555..", "..5555.."])
    assert said(rows) == {(1, 5): "moved"}
    assert rows["iou"].tolist() == [4 / 12]
    assert said(matched(["1111....", "1111...."], ["...5555.", "...5555."])) == {
        (1, 0): "vanished",
        (0, 5): "appeared",
    }


def test_one_that_was_cut_in_two_and_two_that_became_one() -> None:
    assert said(matched(["11111", "11111"], ["222.3", "222.3"])) == {(1, 2): "shrunk", (0, 3): "split"}
    assert said(matched(["222.3", "222.3"], ["11111", "11111"])) == {(2, 1): "grown", (3, 0): "merged"}


def test_clouds_change_no_size_and_hide_what_they_cover() -> None:
    """Of the first object half is under clouds at the second date; of the second one pixel of twelve."""
    before = ["1111..222222", "1111..222222"]
    after = ["??11..22222?", "??11..222222"]
    rows = matched(before, after)
    assert said(rows) == {(1, 1): "not comparable", (2, 2): "unchanged"}
    assert rows.loc[rows["before"] == 1, "reason"].tolist() == ["not judged at both dates"]
    assert rows.loc[rows["before"] == 2, ["size_before", "size_after"]].to_numpy().tolist() == [[11, 11]]
    assert said(matched(["11", "11"], ["??", "??"])) == {(1, 0): "not comparable"}
    assert said(matched(before, after, rules=MatchRules(least_common=0.5))) == {
        (1, 1): "unchanged",
        (2, 2): "unchanged",
    }


def test_a_square_that_is_shifted_compares_nothing() -> None:
    rows = matched(BEFORE, AFTER, shift_px=2.1)
    assert set(rows["change"]) == {"not comparable"}
    assert set(rows["reason"]) == {"registration"}
    assert "unchanged" in set(matched(BEFORE, AFTER, shift_px=2.0)["change"])


def test_no_object_at_either_date() -> None:
    assert said(matched(["..."], ["..."])) == {}
    assert said(matched(["..."], ["11."])) == {(0, 1): "appeared"}


def test_what_moved_away_is_found_again_nearest_first() -> None:
    before = ["11..22..........", "11..22.........."]
    after = ["..........33.444", "..........33.444"]
    rows = matched(before, after)
    places = (
        pd.DataFrame({"x": [1.0, 5.0], "y": [1.0, 1.0]}, index=pd.Index([1, 2], dtype="u8")),
        pd.DataFrame({"x": [11.0, 14.5], "y": [1.0, 1.0]}, index=pd.Index([3, 4], dtype="u8")),
    )
    assert said(join_moved(rows, places, MatchRules())) == said(rows)
    joined = join_moved(rows, places, MatchRules(most_way_m=7.0))
    assert said(joined) == {(1, 0): "vanished", (2, 3): "moved", (0, 4): "appeared"}
    wide = join_moved(rows, places, MatchRules(most_way_m=99.0, growth=0.5))
    assert said(wide) == {(2, 3): "moved", (1, 4): "moved"}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_every_object_is_in_one_row_and_time_can_be_turned_round(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(2):
        image = np.kron(rng.integers(0, 6, (4, 6)), np.ones((3, 3), dtype=int))
        marks = image.astype(str)
        marks[image == 0] = "."
        marks[rng.random(image.shape) < 0.03] = "?"
        pictures.append(["".join(row) for row in np.roll(marks, rng.integers(0, 3), axis=1)])
    rows = matched(pictures[0], pictures[1])
    for side, picture in (("before", pictures[0]), ("after", pictures[1])):
        there = sorted(rows.loc[rows[side] > 0, side].tolist())
        assert there == [i for i in np.unique(ids_of(picture)).tolist() if i]
    back = matched(pictures[1], pictures[0])
    turned = {"appeared": "vanished", "vanished": "appeared", "grown": "shrunk", "shrunk": "grown"}
    turned |= {"split": "merged", "merged": "split"}
    assert {(b, a): turned.get(change, change) for (a, b), change in said(back).items()} == {
        (a, b): change for (a, b), change in said(rows).items()
    }


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"same_iou": 0.0}, "--same-iou must be above 0"),
        ({"least_common": 1.5}, "--least-common must be above 0"),
        ({"growth": -0.1}, "--growth must be 0 or more"),
        ({"most_way_m": float("nan")}, "--moved-m must be 0 or more"),
    ],
)
def test_rules_that_make_no_sense_are_refused(values: dict[str, float], names: str) -> None:
    with pytest.raises(InputError, match=names):
        MatchRules(**values)
