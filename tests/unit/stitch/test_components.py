from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stitch.components import (
    Roots,
    columns_of,
    explains,
    least_px,
    pack_best,
    reduce_roots,
    roots_from,
)
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.stitch_options import MAX_TRUSTED_PX, StitchOptions
from pipeline.stitch.supertiles import GHOST


def random_roots(rng: np.random.Generator, n: int) -> Roots:
    columns = {name: rng.integers(0, 50, n) for name in Roots.__slots__}
    return Roots(**{**columns, "rep_key": rng.permutation(n)})


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_folding_twice_in_any_grouping_is_folding_once(seed: int) -> None:
    """Associative and commutative: partial folds of arbitrary batches, then a fold of those, give the same
    bits.
    """
    rng = np.random.default_rng(seed)
    n = 30
    n_groups = 4
    parts = random_roots(rng, n)
    group = np.concatenate([np.arange(4), rng.integers(0, n_groups, 26)])
    key = np.arange(n_groups) * 7
    once = reduce_roots(group, parts, key)
    batch = rng.integers(0, 3, n)
    names, first = np.unique(np.stack([batch, group]), axis=1, return_inverse=True)
    partial = reduce_roots(first.reshape(-1), parts, names[1])
    order = rng.permutation(names.shape[1])
    twice = reduce_roots(names[1][order], partial.take(order), key)
    for name, column in columns_of(once).items():
        np.testing.assert_array_equal(getattr(twice, name), column)
    np.testing.assert_array_equal(roots_from(columns_of(once)).best, once.best)
    assert once.sum_q.tolist() == [int(parts.sum_q[group == g].sum()) for g in range(n_groups)]


@pytest.mark.parametrize("trusted", [0, 4, MAX_TRUSTED_PX])
def test_packed_views_compare_like_tuples(trusted: int) -> None:
    cases = list(itertools.product([0, 4], [0, 3, 4, 5, 2**31 - 1], [0, 10, 65535]))
    columns = {
        name: np.array(values)
        for name, values in zip(("censored", "margin", "score_q"), zip(*cases, strict=True), strict=True)
    }
    packed = pack_best(table_with(**columns), StitchOptions(trusted_margin_px=trusted))
    tuples = [(censored == 0, min(margin, trusted), score, margin) for censored, margin, score in cases]
    assert [tuples[i] for i in np.argsort(packed)] == sorted(tuples)
    assert packed.min() >= 0


def table_with(**columns: np.ndarray) -> FragmentTable:
    """A table of fragments that have nothing but the columns given."""
    n = next(iter(columns.values())).size
    empty = {
        field.name: np.zeros(n, dtype=np.int64)
        for field in fields(FragmentTable)
        if field.name not in (*columns, "n_tile_cols")
    }
    return FragmentTable(**columns, **empty, n_tile_cols=1)


def test_scores_come_from_the_representative_or_from_all_members() -> None:
    n = 2
    views = table_with(censored=np.array([0, 1]), margin=np.array([5, 5]), score_q=np.array([1000, 2000]))
    best = pack_best(views, StitchOptions())
    rest = {name: np.zeros(n, dtype=np.int64) for name in ("rep_key", "rep_place", "rep_prompt")}
    roots = Roots(
        key=np.array([41, GHOST + 3]),
        best=best,
        rep_full_px=np.array([7, 9]),
        sum_q=np.array([500, 600]),
        sum_px=np.array([2, 3]),
        **rest,
    )
    complete = roots.complete(True)
    assert complete.tolist() == [True, False]
    assert [column.tolist() for column in roots.score_parts(complete)] == [[7000, 600], [7, 3]]
    assert roots.complete(False).tolist() == [False, False]
    assert roots.ids(StitchOptions()).tolist() == [42, 0], "ghosts alone have no id"


def test_a_view_of_less_than_half_stands_for_nothing() -> None:
    """A shed of 813 px beside a roof of 3,701: whole, but not the whole of it."""
    assert explains(np.array([813, 813, 813, 0]), np.array([4514, 1627, 1626, 0])).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_ghosts_that_some_tile_saw_whole_are_named_when_asked() -> None:
    n = 3
    views = table_with(censored=np.array([0, 0, 1]), margin=np.array([5, 5, 5]), score_q=np.array([1, 1, 1]))
    best = pack_best(views, StitchOptions())
    rest = {
        name: np.zeros(n, dtype=np.int64)
        for name in ("rep_key", "rep_place", "rep_prompt", "sum_q", "sum_px")
    }
    roots = Roots(
        key=np.array([41, GHOST + 3, GHOST + 9]), best=best, rep_full_px=np.array([10, 10, 10]), **rest
    )
    rescue = StitchOptions(rescue_share=0.65)
    ids = roots.ids(rescue)
    assert ids.tolist() == [42, GHOST + 4, 0]
    assert least_px(ids, roots.rep_full_px, rescue).tolist() == [1, 7, 1]
    assert roots.ids(StitchOptions(rescue_share=0.65, complete_first=False)).tolist() == [42, 0, 0], (
        "nobody would paint it"
    )
