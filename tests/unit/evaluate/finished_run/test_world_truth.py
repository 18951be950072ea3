"""A world's files, its queries, and the run grid that lies on its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from label_worlds import write_raster

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.world_truth import Truth, grid_offset, read_labels, read_truth
from pipeline.schema import RunGrid, TileLattice, Window

TRUTH = Truth(
    labels_path=Path("labels.tif"),
    class_of={7: "pool", 2: "tank", 3: "pool"},
    queries=({"query": "pools", "class": "pool", "kind": "explicit"},),
)


def lattice(transform: tuple[float, float, float, float, float, float]) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=transform, width=4, height=4)
    return TileLattice(grid=grid, tile_px=16, halo_px=2, block_tiles=2)


def test_the_objects_that_answer_a_query() -> None:
    assert TRUTH.class_for("pools") == "pool"
    assert TRUTH.ids_of("pool").tolist() == [3, 7]
    assert TRUTH.ids_of("").tolist() == []
    with pytest.raises(InputError, match="'lakes'"):
        TRUTH.class_for("lakes")


def test_a_folder_without_a_worlds_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a world directory needs labels\.tif"):
        read_truth(tmp_path)


def test_a_run_grid_lies_on_the_labels_by_whole_pixels(tmp_path: Path) -> None:
    """The grid begins 3 rows and 2 columns inside; windows that reach beyond the raster read 0."""
    path = tmp_path / "labels.tif"
    write_raster(path, np.arange(48, dtype=np.uint32).reshape(6, 8))
    with rasterio.open(path) as labels:
        a, b, c, d, e, f = tuple(labels.transform)[:6]
        offset = grid_offset(lattice((a, b, c + 2 * a, d, e, f + 3 * e)), labels)
        assert offset == (3, 2)
        window = read_labels(labels, Window(row0=1, col0=4, row1=4, col1=7), offset)
        assert window.tolist() == [[38, 39, 0], [46, 47, 0], [0, 0, 0]]
        for moved in ((a, b, c + a / 2, d, e, f), (2 * a, b, c, d, e, f)):
            with pytest.raises(InputError, match="one pixel lattice"):
                grid_offset(lattice(moved), labels)
