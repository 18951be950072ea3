"""Windows of masks.zarr, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from record_world import golden_run, id_raster

from pipeline.errors import InputError
from pipeline.schema.tiling import Window
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.run_dir import RunDir


def test_a_window_of_each_query(tmp_path: Path) -> None:
    golden_run(tmp_path / "run")
    reader = MaskReader(RunDir(tmp_path / "run").masks)
    window = Window(row0=3, col0=5, row1=30, col1=41)
    for query in (0, 1):
        got = reader.read("instance_id", query, window)
        np.testing.assert_array_equal(got, id_raster(seed=query)[3:30, 5:41])


@pytest.mark.parametrize("array", ["instance_id", "no such array"])
def test_what_cannot_be_read_is_named(tmp_path: Path, array: str) -> None:
    golden_run(tmp_path / "run")
    masks = RunDir(tmp_path / "run").masks
    if array == "instance_id":
        (tmp_path / "run/masks.zarr/zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"masks.zarr must be readable.*restitch_region"):
        MaskReader(masks).read(array, 0, Window(row0=0, col0=0, row1=4, col1=4))
