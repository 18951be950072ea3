"""scenes.parquet: what was found, taken or left, and why."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import pyarrow.parquet as pq
import shapely

from pipeline.write.scene_table import SceneRow, write_scenes

BOX = shapely.box(10, 50, 11, 51)


def test_one_row_per_scene_in_order(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    rows = [
        SceneRow(
            scene_id="a",
            collection="naip",
            datetime="2024-06-01T00:00:00Z",
            cloud_cover=12.5,
            href="https://h/a.tif?sig=SECRET",
            item_href="https://h/a.json?key=SECRET",
            order=0,
            footprint=shapely.Polygon(BOX.exterior.coords[::-1]),
        ),
        SceneRow(scene_id="b", reason="shows nothing, see https://h/b.tif?sig=SECRET", footprint=BOX),
        SceneRow(scene_id="", reason="it has no id"),
    ]
    assert write_scenes(path, rows) == 3
    frame = geopandas.read_parquet(path)
    assert frame.crs == "OGC:CRS84"
    assert frame["scene_id"].tolist() == ["a", "b", ""]
    assert frame["taken"].tolist() == [True, False, False]
    assert pq.read_table(path)["order"].to_pylist() == [0, None, None]
    first = frame.iloc[0]
    assert (first["href"], first["item_href"]) == ("https://h/a.tif", "https://h/a.json")
    assert (first["collection"], first["cloud_cover"], first["reason"]) == ("naip", 12.5, "")
    assert first.geometry.equals(BOX)
    assert first.geometry.exterior.is_ccw
    assert frame.geometry[2] is None
    assert "SECRET" not in str(pq.read_table(path).to_pylist())


def test_nothing_known_of_any_place_is_valid_too(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    write_scenes(path, [SceneRow(scene_id="a", order=0)])
    assert geopandas.read_parquet(path)["scene_id"].tolist() == ["a"]
    assert "bbox" not in json.loads(pq.read_metadata(path).metadata[b"geo"])["columns"]["geometry"]
    assert write_scenes(path, []) == 0
    assert len(geopandas.read_parquet(path)) == 0
