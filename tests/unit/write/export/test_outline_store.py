"""Pieces go in by window and come out by object."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import shapely

from pipeline.write.export.outline_store import OutlineStore


def shapes_of(*shapes: shapely.Geometry) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(shapes, dtype=object)


def test_the_pieces_of_an_object_are_joined_and_queries_kept_apart(tmp_path: Path) -> None:
    large = 2**62 + 1
    with OutlineStore(tmp_path / "o.sqlite", shapely.union_all) as store:
        ids = np.array([large, 7], dtype=np.uint64)
        store.add(0, ids, shapes_of(shapely.box(0, 0, 2, 2), shapely.box(5, 5, 6, 6)))
        store.add(0, ids[:1], shapes_of(shapely.box(2, 0, 4, 2)))
        store.add(1, ids[1:], shapes_of(shapely.box(9, 9, 10, 10)))
        store.close_pieces()
        first, none, second = store.outlines(0, np.array([7, 8, large], dtype=np.uint64))
        assert first.equals(shapely.box(5, 5, 6, 6))
        assert none is None
        assert second.equals(shapely.box(0, 0, 4, 2))
        assert store.outlines(1, ids).tolist() == [None, shapely.box(9, 9, 10, 10)]
    gc.collect()
    (tmp_path / "o.sqlite").unlink()
