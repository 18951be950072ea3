"""A world's files, its queries, and windows of its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from label_worlds import write_raster

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.world_truth import Truth, read_labels, read_truth
from pipeline.schema.tiling import Window

TRUTH = Truth(
    labels_path=Path("labels.tif"),
    class_of={7: "pool", 2: "tank", 3: "pool"},
    queries=({"query": "pools", "class": "pool", "kind": "explicit"},),
)


def test_the_objects_that_answer_a_query() -> None:
    assert TRUTH.class_for("pools") == "pool"
    assert TRUTH.ids_of("pool").tolist() == [3, 7]
    assert TRUTH.ids_of("").tolist() == []
    with pytest.raises(InputError, match="'lakes'"):
        TRUTH.class_for("lakes")


def test_a_folder_without_a_worlds_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a world directory needs labels\.tif"):
        read_truth(tmp_path)


def test_windows_beyond_the_labels_read_background(tmp_path: Path) -> None:
    """The run grid begins 3 rows and 2 columns inside."""
    path = tmp_path / "labels.tif"
    write_raster(path, np.arange(48, dtype=np.uint32).reshape(6, 8))
    with rasterio.open(path) as labels:
        window = read_labels(labels, Window(row0=1, col0=4, row1=4, col1=7), (3, 2))
    assert window.tolist() == [[38, 39, 0], [46, 47, 0], [0, 0, 0]]
