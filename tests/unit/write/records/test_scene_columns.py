"""Scenes of tiles on their way through a block record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from record_world import lattice_of, mixed_record

from pipeline.schema.imagery import ScenePixels
from pipeline.write.records.block_records import read_block_record, write_block_record
from pipeline.write.records.scene_columns import SCENE_COLUMNS, scene_pixels
from pipeline.write.run_dir import RunDir

LATTICE = lattice_of()


def test_scenes_come_back_and_cost_nothing_where_they_are_not_known(tmp_path: Path) -> None:
    record = mixed_record(LATTICE)
    first, second, *_ = record.valid
    image = np.zeros(record.valid[second].shape, dtype=np.uint16)
    image[2:, 3:], image[2:, :3] = 2, 1
    scenes = {first: ScenePixels(numbers=(4,)), second: ScenePixels(numbers=(4, 9), image=image)}
    plain = write_block_record(RunDir(tmp_path / "plain"), record, lattice=LATTICE)
    known = write_block_record(RunDir(tmp_path / "known"), replace(record, scenes=scenes), lattice=LATTICE)
    assert read_block_record(plain, record.fingerprint).scenes == {}
    assert not {name for name, _ in SCENE_COLUMNS} & set(pa.parquet.read_schema(plain).names)
    back = read_block_record(known, record.fingerprint).scenes
    assert back[first] == scenes[first]
    assert back[second].numbers == (4, 9)
    np.testing.assert_array_equal(back[second].image, image)
    assert set(back) == {first, second}


def test_a_damaged_image_is_said() -> None:
    table = pa.table(
        {
            "tile_row": [0],
            "tile_col": [1],
            "scene_numbers": pa.array([[1, 2]], type=pa.list_(pa.int32())),
            "scene_px": [b"TQL1"],
        }
    )
    with pytest.raises(ValueError, match="header"):
        scene_pixels(table)
