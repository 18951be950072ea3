"""Squares become one file, and what has no value takes no room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from record_world import grid_of

from pipeline.schema.tiling import Window
from pipeline.write.export.cog_file import BLOCK_PX, RasterLook, write_squares


def test_squares_lie_where_they_belong(tmp_path: Path) -> None:
    grid = grid_of(1200, 700)
    values = (np.add.outer(np.arange(700), np.arange(1200)) % 200).astype(np.uint8)
    values[:BLOCK_PX, BLOCK_PX : 2 * BLOCK_PX] = 255
    squares = []
    for row in range(0, 700, BLOCK_PX):
        for col in range(0, 1200, BLOCK_PX):
            window = Window(row0=row, col0=col, row1=min(row + BLOCK_PX, 700), col1=min(col + BLOCK_PX, 1200))
            squares.append((window, values[row : row + BLOCK_PX, col : col + BLOCK_PX], 0.5))
    look = RasterLook(
        description="change", legend="what", nodata=255, dtype="uint8", colours={7: (1, 2, 3, 255)}
    )
    told: list[float] = []
    path = tmp_path / "c.tif"
    write_squares(path, squares, grid=grid, look=look, tags={"QUERY": "roofs"}, progress=told.append)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), values)
        assert (file.descriptions, file.nodata, file.colormap(1)[7]) == (("change",), 255, (1, 2, 3, 255))
        assert file.tags()["QUERY"] == "roofs"
        assert file.tags()["LEGEND"] == "what"
        assert file.overviews(1) == [2, 4, 8]
        assert tuple(file.transform)[:6] == grid.transform
    assert told[-1] == 1.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.tif"]
