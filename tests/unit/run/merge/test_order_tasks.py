from __future__ import annotations

import numpy as np

from pipeline.files.store.store_path import store_path
from pipeline.run.merge.order_tasks import BINS, FILES_PER_TASK, KEY_BITS, batches_of, part_keys, range_edges
from pipeline.write import instances

BOUNDS = (0.0, 0.0, 1.0, 1.0)


def test_edges_cut_the_curve_into_ranges_of_about_equal_size() -> None:
    counts = np.zeros(BINS, dtype=np.int64)
    counts[[3, 10, 11, 400, 65_535]] = [5, 5, 25, 4, 6]
    edges = np.array(range_edges(counts, 10)) >> (KEY_BITS - 16)
    where = np.searchsorted(edges, [3, 10, 11, 400, 65_535], side="right")
    sizes = np.bincount(where, weights=[5, 5, 25, 4, 6]).astype(int)
    assert sizes[sizes > 0].tolist() == [10, 25, 10], "a bin is never split"
    assert range_edges(np.zeros(BINS, dtype=np.int64)) == ()


def test_parts_hold_a_million_rows_each_over_any_ranges(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert instances.PART_ROWS == 1_000_000
    keys = part_keys([(1, "b", 700_000), (0, "a", 800_000), (2, "c", 600_000)])
    assert [(key.part, key.first, key.last) for key in keys] == [
        (0, 0, 1_000_000),
        (1, 1_000_000, 2_000_000),
        (2, 2_000_000, 2_100_000),
    ]
    assert [name for name, _ in keys[0].ranges] == ["a", "b", "c"]
    assert [(key.first, key.last) for key in part_keys([])] == [(0, 0)]


def test_batches_cover_all_files_once() -> None:
    files = [store_path("/never") / f"f{i}" for i in range(130)]
    keys = batches_of(files, BOUNDS, (7,))
    assert [file for key in keys for file in key.files] == files
    assert [key.number for key in keys] == list(range(len(keys)))
    assert max(len(key.files) for key in keys) == FILES_PER_TASK
    assert all(key.edges == (7,) and key.bounds == BOUNDS for key in keys)
