"""Classes of pixels against a search by hand, and the counts of all squares against the whole raster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from pipeline.assess.change import change_frame
from pipeline.assess.change.change_frame import (
    CLASSES,
    UNJUDGED_HERE,
    ChangeReader,
    change_strata,
    read_change_frame,
)
from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid

UTM = rasterio.CRS.from_epsg(32633).to_wkt()


def written(path: Path, states: NDArray[np.uint8]) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=states.shape[0], width=states.shape[1], count=1, dtype="uint8"
    ) as dataset:
        dataset.write(states, 1)
    return path


@pytest.fixture
def states() -> NDArray[np.uint8]:
    """Objects of all kinds, and ground that was not judged."""
    rng = np.random.default_rng(2)
    drawn = np.zeros((70, 90), dtype=np.uint8)
    for row, col in rng.integers(0, 60, (7, 2)).tolist():
        drawn[row : row + 5, col : col + 4] = 1 + (row + col) % 3
    drawn[:, 80:] = 255
    return drawn


def by_hand(states: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class of every pixel, looked for one by one."""
    found = np.zeros(states.shape, dtype=np.uint8)
    objects = np.isin(states, (1, 2, 3))
    names = {2: "lost", 3: "gained", 1: "kept"}
    for row, col in np.ndindex(states.shape):
        around = objects[max(row - 8, 0) : row + 9, max(col - 8, 0) : col + 9]
        name = names.get(int(states[row, col]), "beside objects" if around.any() else "away from objects")
        found[row, col] = UNJUDGED_HERE if states[row, col] == 255 else CLASSES.index(name)
    return found


def test_classes_and_counts(
    states: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_frame, "SQUARE_PX", 32)
    wanted = by_hand(states)
    grid = RunGrid(crs_wkt=UTM, transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0), width=200, height=200)
    reader = ChangeReader(written(tmp_path / "changes.tif", states))
    assert np.array_equal(reader.classes(reader.whole), wanted)
    frame = read_change_frame(reader, grid, (100, 50))
    reader.close()
    assert len(frame.window) == 9
    counts = np.bincount(wanted[wanted != UNJUDGED_HERE], minlength=5)
    strata = change_strata(frame)
    assert [each.name for each in strata] == list(CLASSES)
    assert [each.size for each in strata] == counts.tolist()
    # a pixel of a quarter of a square metre, on a map that shrinks lengths by 0.04 %
    assert sum(each.area_m2 for each in strata) == pytest.approx(0.25 * counts.sum(), rel=2e-3)


def test_a_raster_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "changes.tif").write_bytes(b"no raster")
    with pytest.raises(InputError, match=r"readable changes\.tif"):
        ChangeReader(tmp_path / "changes.tif")
