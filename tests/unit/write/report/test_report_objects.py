"""One pass against the straightforward computation on the whole table, and its memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_world import part_path, peak_bytes, random_rows, write_narrow

from pipeline.errors import InputError
from pipeline.write.report import report_objects
from pipeline.write.report.report_charts import area_axis, bins_of
from pipeline.write.report.report_objects import (
    AreaCounts,
    FirstRows,
    ObjectNames,
    ObjectSummary,
    choose,
    keyed_hash,
    read_objects,
)
from pipeline.write.run_dir import RunDir

WORD = 1 << 64


def hash_of(seed: int, *numbers: int) -> int:
    """SplitMix64's finaliser in plain integers."""

    def mixed(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WORD
        return x ^ (x >> 31)

    state = mixed(seed)
    for number in numbers:
        state = mixed((state + number * 0x9E3779B97F4A7C15) % WORD)
    return state


def objects_of(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["query_index", "instance_id"]
    ordered = frame.sort_values([*keys, "part_no"]).groupby(keys, as_index=False)
    return ordered.agg(
        score=("score", "first"),
        area_px=("area_px", "sum"),
        area_m2=("area_m2", lambda rows: rows.sum(skipna=False)),
    )


def keys_of(frame: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(frame["query_index"].tolist(), frame["instance_id"].tolist(), strict=True))


def expected_groups(objects: pd.DataFrame, seed: int) -> dict[str, list[tuple[int, int]]]:
    largest = keys_of(
        objects.sort_values(["area_px", "instance_id", "query_index"], ascending=[False, True, True])
    )[:6]
    lowest = [
        key
        for key in keys_of(objects.sort_values(["score", "instance_id", "query_index"]))
        if key not in largest
    ][:6]
    piles = [
        sorted(keys_of(objects[objects["query_index"] == q]), key=lambda key: hash_of(seed, *key))
        for q in set(objects["query_index"])
    ]
    random: list[tuple[int, int]] = []
    for turn in range(max(map(len, piles), default=0)):
        random += sorted(
            (pile[turn] for pile in piles if turn < len(pile)), key=lambda key: hash_of(seed, *key)
        )
    taken = {*largest, *lowest}
    return {
        "Picked at random": [key for key in random if key not in taken][:12],
        "Lowest scores": lowest,
        "Largest": largest,
    }


def check_areas(got: AreaCounts, areas: pd.Series, queries: pd.Series, n_queries: int) -> None:
    """The picture of the old way: edges from the extreme values, every value clipped to them, numpy's
    histogram.
    """
    assert got.n_unknown == areas.isna().sum()
    if areas.isna().any():
        return
    low = int(np.floor(np.log10(areas.min()))) if len(areas) else 0
    high = max(int(np.ceil(np.log10(areas.max()))) if len(areas) else 1, low + 1)
    edges = np.logspace(low, high, 4 * (high - low) + 1)
    axis = area_axis(got.smallest, got.largest, unit="m²")
    np.testing.assert_allclose(axis.edges, edges, rtol=1e-14)
    shown = bins_of(got.counts, axis)
    for query in range(n_queries):
        want = np.histogram(np.clip(areas[queries == query], edges[0], edges[-1]), bins=edges)[0]
        np.testing.assert_array_equal(shown[query], want)


def check_summary(
    got: ObjectSummary, frame: pd.DataFrame, *, n_queries: int, seed: int, max_outlines: int
) -> None:
    objects = objects_of(frame)
    assert len(got) == len(objects)
    queries = objects["query_index"]
    assert got.n_per_query.tolist() == [int((queries == q).sum()) for q in range(n_queries)]
    for query in range(n_queries):
        want = np.histogram(objects["score"][queries == query], bins=np.linspace(0, 1, 21))[0]
        np.testing.assert_array_equal(got.score_counts[query], want)
    check_areas(got.px, objects["area_px"].astype(float), queries, n_queries)
    check_areas(got.m2, objects["area_m2"], queries, n_queries)
    assert got.groups == expected_groups(objects, seed)
    if len(objects) <= max_outlines:
        assert got.outlined is None
        return
    assert got.outlined is not None
    picked = pd.DataFrame({"query_index": got.outlined.query_index, "instance_id": got.outlined.instance_id})
    areas = picked.merge(objects, on=["query_index", "instance_id"])["area_px"]
    assert len(picked.drop_duplicates()) == max_outlines
    assert sorted(areas) == sorted(objects["area_px"])[-max_outlines:]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1500),
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(1, 700),
    st.integers(1, 3),
    st.booleans(),
)
@example(1500, 0, 4, 97, 3, False)
@example(0, 0, 2, 10, 1, False)
def test_any_split_in_any_order_gives_what_the_whole_table_gives(
    n: int, seed: int, n_files: int, group_rows: int, n_queries: int, no_m2: bool
) -> None:
    frame = random_rows(n, seed, n_queries=n_queries, no_m2=no_m2)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_objects, "MAX_OUTLINES", 40)
        first = read_objects(write_narrow(RunDir(Path(folder) / "a"), frame), n_queries=n_queries, seed=seed)
        check_summary(first, frame, n_queries=n_queries, seed=seed, max_outlines=40)
        shuffled = frame.sample(frac=1, random_state=seed)
        split = write_narrow(RunDir(Path(folder) / "b"), shuffled, n_files=n_files, group_rows=group_rows)
        again = read_objects(split, n_queries=n_queries, seed=seed)
    assert again.groups == first.groups
    for name in ("n_per_query", "score_counts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    for a, b in ((again.px, first.px), (again.m2, first.m2)):
        np.testing.assert_array_equal(a.counts, b.counts)
        assert (a.smallest, a.largest, a.n_unknown) == (b.smallest, b.largest, b.n_unknown)
    assert (again.outlined is None) == (first.outlined is None)
    if again.outlined is not None and first.outlined is not None:
        np.testing.assert_array_equal(again.outlined.instance_id, first.outlined.instance_id)
        np.testing.assert_array_equal(again.outlined.query_index, first.outlined.query_index)


def test_another_seed_picks_others_and_nothing_else_changes(tmp_path: Path) -> None:
    run_dir = write_narrow(RunDir(tmp_path), random_rows(500, 1))
    a, b = (read_objects(run_dir, n_queries=3, seed=seed) for seed in (1, 2))
    assert a.groups["Picked at random"] != b.groups["Picked at random"]
    assert a.groups["Largest"] == b.groups["Largest"]
    assert {query for query, _ in a.groups["Picked at random"][:3]} == {0, 1, 2}  # queries take turns


def test_hashes_are_those_of_plain_integers_and_spread_evenly() -> None:
    ids = np.array([1, 2, 2**40, 2**64 - 1], dtype=np.uint64)
    queries = np.array([0, 1, 2, 0])
    got = keyed_hash(12345, queries, ids).tolist()
    assert got == [hash_of(12345, q, i) for q, i in zip(queries.tolist(), ids.tolist(), strict=True)]
    many = keyed_hash(7, np.zeros(100_000, dtype=np.int64), np.arange(1, 100_001))
    counts = np.bincount((many >> np.uint64(60)).astype(np.int64), minlength=16)
    assert np.abs(counts - 6250).max() < 5 * np.sqrt(6250)
    picked = np.argsort(many)[:1000]
    assert abs(picked.mean() - 50_000) < 5 * 100_000 / np.sqrt(12 * 1000)


def test_first_rows_of_many_batches_are_those_of_all() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 50, 10_000)
    names = rng.permutation(10_000)
    held = FirstRows(123, width=2)
    for part in np.array_split(np.arange(10_000), 37):
        held.add(values[part], names[part])
        assert len(held.columns[0]) <= 123
    order = np.lexsort((names, values))[:123]
    np.testing.assert_array_equal(held.columns[0], values[order])
    np.testing.assert_array_equal(held.columns[1], names[order])


def test_names_are_pairs() -> None:
    names = ObjectNames(query_index=np.array([0, 1]), instance_id=np.array([5, 7], dtype=np.uint64))
    asked = np.array([0, 1, 0, 1]), np.array([5, 5, 7, 7], dtype=np.uint64)
    assert names.hold(*asked).tolist() == [True, False, False, True]


def test_an_object_is_shown_once() -> None:
    keys = [(0, i) for i in range(40)]
    groups = choose(largest=keys[:6], lowest=keys[3:15], random=keys[:24])
    shown = [key for group in groups.values() for key in group]
    assert [len(group) for group in groups.values()] == [12, 6, 6]
    assert len(set(shown)) == 24
    assert groups["Lowest scores"] == keys[6:12]


def test_instances_of_another_run_or_none_are_refused(tmp_path: Path) -> None:
    run_dir = write_narrow(RunDir(tmp_path), random_rows(50, 1, n_queries=3))
    with pytest.raises(InputError, match="2 queries"):
        read_objects(run_dir, n_queries=2, seed=0)
    part_path(run_dir, 0).unlink()
    with pytest.raises(InputError, match="no part file"):
        read_objects(run_dir, n_queries=3, seed=0)


def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    """Ten times the objects, the same memory; the columns alone would take 40 bytes more for each."""
    peaks = []
    for n in (100_000, 1_000_000):
        rng = np.random.default_rng(n)
        frame = pd.DataFrame(
            {
                "instance_id": rng.permutation(n) + 1,
                "query_index": rng.integers(0, 2, n),
                "score": rng.random(n, dtype=np.float32),
                "area_px": rng.integers(1, 5000, n),
                "part_no": 0,
                "n_parts": 1,
            }
        )
        frame["area_m2"] = frame["area_px"] * 0.25
        run_dir = write_narrow(RunDir(tmp_path / str(n)), frame)
        peaks.append(peak_bytes(lambda run_dir=run_dir: read_objects(run_dir, n_queries=2, seed=0)))
    assert peaks[1] < 1.2 * peaks[0], peaks
    assert peaks[1] < 40 * 1_000_000, peaks
