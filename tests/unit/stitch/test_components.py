from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stitch.components import Roots, columns_of, pack_best, reduce_roots, roots_from
from pipeline.stitch.supertiles import GHOST


def random_roots(rng: np.random.Generator, n: int) -> Roots:
    columns = {name: rng.integers(0, 50, n) for name in Roots.__slots__}
    return Roots(**{**columns, "rep_key": rng.permutation(n)})


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_folding_twice_in_any_grouping_is_folding_once(seed: int) -> None:
    """Associative and commutative: partial folds of arbitrary batches, then a fold of those, give the same bits."""
    rng = np.random.default_rng(seed)
    n, n_groups = 30, 4
    parts, group = random_roots(rng, n), np.concatenate([np.arange(4), rng.integers(0, n_groups, 26)])
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


def test_packed_views_compare_like_tuples() -> None:
    censored = np.array([0, 0, 4, 0, 0])
    margin = np.array([2**31 - 1, 3, 2**31 - 1, 3, 0])
    score_q = np.array([0, 65535, 65535, 10, 65535])
    packed = pack_best(censored, margin, score_q)
    tuples = list(zip((censored == 0).tolist(), margin.tolist(), score_q.tolist(), strict=True))
    assert np.argsort(packed).tolist() == sorted(range(5), key=lambda i: tuples[i])


def test_scores_come_from_the_representative_or_from_all_members() -> None:
    n = 2
    best = pack_best(np.array([0, 1]), np.array([5, 5]), np.array([1000, 2000]))
    rest = {name: np.zeros(n, dtype=np.int64) for name in ("rep_key", "rep_place", "rep_prompt")}
    roots = Roots(
        key=np.array([41, GHOST + 3]), best=best, rep_full_px=np.array([7, 9]), sum_q=np.array([500, 600]), sum_px=np.array([2, 3]), **rest
    )
    complete = roots.complete(True)
    assert complete.tolist() == [True, False]
    assert [column.tolist() for column in roots.score_parts(complete)] == [[7000, 600], [7, 3]]
    assert roots.complete(False).tolist() == [False, False]
    assert roots.ids().tolist() == [42, 0], "ghosts alone have no id"
