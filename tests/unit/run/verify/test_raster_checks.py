"""Damage to the rasters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from damaged_runs import edit_json, edit_table, findings_of


def array(run: Path, name: str) -> Any:
    return zarr.open_group(str(run / "masks.zarr"), mode="r+", use_consolidated=False)[name]


def place_of(run: Path, wanted: Callable[[np.ndarray], np.ndarray]) -> tuple[int, ...]:
    """The first pixel whose id is as wanted: query, row, column."""
    return tuple(np.argwhere(wanted(array(run, "instance_id")[:]))[0].tolist())


def change(run: Path, name: str, place: tuple[int, ...], value: int) -> None:
    array(run, name)[place] = value


@pytest.mark.parametrize(
    ("name", "wanted", "value"),
    [
        ("instance_id", lambda ids: ids > 0, 0),
        ("instance_id", lambda ids: ids == 0, 5),
        ("mask", lambda ids: ids > 0, 0),
        ("mask", lambda ids: ids == 0, 255),
        ("score", lambda ids: ids == 0, 200),
        ("score", lambda ids: ids > 0, 1),
    ],
)
def test_one_pixel(run: Path, name: str, wanted: Callable[[np.ndarray], np.ndarray], value: int) -> None:
    query, row, col = place_of(run, wanted)
    change(run, name, (query, row, col), value)
    found = findings_of(run)["rasters"]
    told = f"query {query}, {name}: 1 px are wrong, first row {row}, column {col}"
    assert any(told in text for text in found), found


def test_a_missing_shard(run: Path) -> None:
    shards = sorted(path for path in (run / "masks.zarr" / "instance_id").rglob("*") if path.is_file())
    next(path for path in shards if path.name != "zarr.json").unlink()
    found = findings_of(run)["rasters"]
    assert any("the raster 0" in text for text in found)


def test_a_missing_array(run: Path) -> None:
    shutil.rmtree(run / "masks.zarr" / "score")
    assert findings_of(run)["rasters"][0].startswith("masks.zarr: it cannot be read")


def test_a_raster_of_another_shape(run: Path) -> None:
    edit_json(run / "masks.zarr" / "mask" / "zarr.json", lambda d: d.update(shape=[2, 200, 191]))
    assert "mask must be uint8 of shape (2, 200, 190)" in findings_of(run)["rasters"][0]


def test_a_damaged_shard(run: Path) -> None:
    shards = sorted((run / "masks.zarr" / "mask").rglob("*"))
    shard = next(path for path in shards if path.is_file() and path.name != "zarr.json")
    shard.write_bytes(shard.read_bytes()[:-9])
    assert any("it cannot be read" in text for text in findings_of(run)["rasters"])


def test_an_object_without_a_row(run: Path) -> None:
    edit_table(run / "instances" / "part-00000.parquet", lambda rows: rows.pop(2))
    assert any("instance_id" in text for text in findings_of(run)["rasters"])


def test_an_object_that_the_raster_lacks(run: Path) -> None:
    ids = array(run, "instance_id")
    values = ids[:]
    gone = int(values[values > 0][0])
    ids[:] = np.where(values == gone, 0, values)
    found = findings_of(run)["rasters"]
    assert any(f"id {gone}: its rows have" in text and text.endswith("the raster 0") for text in found)
