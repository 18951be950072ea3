"""stac-geoparquet against the items that it was written from, by rustac and by older writers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
import shapely
from fault_server import fault_server
from hypothesis import given, settings
from hypothesis import strategies as st
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi, aoi_from_bbox
from pipeline.grid.catalog.catalog_search import CatalogSearch, FoundItems, find_items
from pipeline.grid.catalog.parquet_items import _touching


def written(path: Path, items: list[dict[str, Any]]) -> str:
    """Write items by rustac, another author's implementation of the format."""
    rustac.write_sync(str(path), {"type": "FeatureCollection", "features": items})
    return str(path)


def found(source: str, aoi: Aoi | None = None, **search: Any) -> FoundItems:
    return find_items(CatalogSearch(source=source, **search), aoi)


def ids(result: FoundItems) -> list[str]:
    return [item.item_id for item in result.items]


@pytest.mark.parametrize("name", ["naip-pc.json", "sentinel-2-l2a-pc.json"])
def test_real_items_come_back(name: str, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "stac" / name
    items = found(str(source)).items
    back = found(written(tmp_path / "items.parquet", json.loads(source.read_text()))).items
    assert len(back) == len(items) == 4
    for one, other in zip(back, items, strict=True):
        assert (one.item_id, one.collection, one.href) == (other.item_id, other.collection, other.href)
        assert (one.start, one.end, one.cloud_cover) == (other.start, other.end, other.cloud_cover)
        assert one.geometry.equals(other.geometry)
        assert {key: asset.href for key, asset in one.assets.items()} == {
            key: asset.href for key, asset in other.assets.items()
        }
        for key, asset in one.assets.items():
            for field in ("proj:transform", "proj:shape", "proj:bbox", "eo:bands", "proj:epsg"):
                assert one.field_of(asset, field) == other.field_of(other.assets[key], field)


def test_a_file_of_an_older_writer(data_dir: Path) -> None:
    """GeoParquet 0.4, boxes as lists, one row group: rustac 0.9.18 cannot read it."""
    path = str(data_dir / "stac" / "naip.parquet")
    rows = {row["id"]: row for row in pq.read_table(path).to_pylist()}
    result = found(path)
    assert {item.item_id for item in result.items} == set(rows)
    for item in result.items:
        row = rows[item.item_id]
        assert item.geometry.equals(shapely.from_wkb(row["geometry"]))
        assert item.properties["proj:shape"] == row["proj:shape"]
        assert item.assets["image"].href == row["assets"]["image"]["href"]


def grid_items(number: int) -> list[dict[str, Any]]:
    """Items in a row from west to east, one a day."""
    return [
        stac_item(f"i{n:03}", box=(n, 0.0, n + 0.5, 1.0), when=f"2024-01-{n % 28 + 1:02}T10:00:00Z")
        for n in range(number)
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 items in row groups of 10."""
    folder = tmp_path_factory.mktemp("parquet")
    table = pq.read_table(written(folder / "one.parquet", grid_items(60)))
    pq.write_table(table, folder / "many.parquet", row_group_size=10)
    return str(folder / "many.parquet")


def test_only_what_the_search_can_want_is_decoded(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    from pipeline.grid.catalog.item_sieve import ItemSieve

    offer = ItemSieve.offer

    def spy(self: ItemSieve, offered: Any, **more: Any) -> bool:
        decoded.append(offered.name)
        return offer(self, offered, **more)

    monkeypatch.setattr(ItemSieve, "offer", spy)
    result = found(many, aoi_from_bbox(11.6, 0, 13.2, 1), datetime="2024-01-13/..")
    assert decoded == ["i012", "i013"]
    assert ids(result) == ["i013", "i012"]
    assert result.notes == (
        "items outside of the area of interest: 58; 0 of them are named in scenes.parquet",
    )


def test_the_file_and_its_items_give_the_same(many: str, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps(grid_items(60)))
    search = {"datetime": "2024-01-05/2024-01-20", "filter": "id <> 'i007'", "sort": "id", "limit": 5}
    one, other = (found(source, aoi_from_bbox(3, 0, 40, 1), **search) for source in (many, str(path)))
    assert ids(one) == ids(other) == ["i004", "i005", "i006", "i008", "i009"]


def test_only_ranges_of_a_remote_file_are_read(many: str) -> None:
    with fault_server(Path(many).parent) as server:
        remote = found(f"{server.url}/many.parquet", aoi_from_bbox(11.6, 0, 13.2, 1))
        asked = list(server.requests)
        server.clear()
        server.always = "404"
        with pytest.raises(InputError, match="404"):
            found(f"{server.url}/many.parquet")
    assert remote.items == found(many, aoi_from_bbox(11.6, 0, 13.2, 1)).items
    assert remote.hosts == ("127.0.0.1",)
    assert all(wanted.startswith("bytes=") for _, _, wanted in asked)


def test_a_file_in_a_bucket(many: str, put_object: Callable[[str, bytes], str]) -> None:
    aoi = aoi_from_bbox(11.6, 0, 13.2, 1)
    remote = found(put_object("deep/items.parquet", Path(many).read_bytes()), aoi)
    assert remote.items == found(many, aoi).items
    assert remote.hosts == ("catalogue.s3",)


def test_a_range_of_time_is_kept_and_no_time_is_left(tmp_path: Path) -> None:
    span = stac_item(
        "span", when=None, start_datetime="2024-05-01T00:00:00Z", end_datetime="2024-07-01T00:00:00Z"
    )
    late = stac_item("late", when="2025-01-01T00:00:00Z")
    none = stac_item("none", when=None)
    source = written(tmp_path / "items.parquet", [span, late, none])
    result = found(source, datetime="2024-06-10/2024-06-11")
    assert ids(result) == ["span"]
    assert [left.item_id for left in result.left] == ["none"]
    assert any(note.startswith("items of other dates than --datetime: 1") for note in result.notes)


def test_boxes_over_the_antimeridian(tmp_path: Path) -> None:
    crossing = stac_item("crossing", box=(179.0, 0.0, -179.0, 1.0))
    source = written(tmp_path / "items.parquet", [crossing, stac_item("far", box=(0.0, 0.0, 1.0, 1.0))])
    for bbox in ((179.5, 0, 179.9, 1), (-179.9, 0, -179.5, 1), (179.9, 0, -179.9, 1)):
        assert ids(found(source, aoi_from_bbox(*bbox))) == ["crossing"]
    with pytest.raises(InputError, match="items outside of the area of interest: 2"):
        found(source, aoi_from_bbox(90, 0, 91, 1))


boxes = st.lists(
    st.tuples(st.floats(-180, 179), st.floats(-90, 89), st.floats(0.01, 30), st.floats(0.01, 1)),
    min_size=1,
    max_size=20,
)


@settings(max_examples=50)
@given(drawn=boxes, corner=st.tuples(st.floats(-180, 170), st.floats(-90, 80)), as_list=st.booleans())
def test_candidates_hold_every_box_that_touches(
    drawn: list[tuple[float, ...]], corner: tuple[float, float], *, as_list: bool
) -> None:
    """Against shapely, with boxes over the antimeridian as west > east and as longitudes past 180."""
    area = shapely.box(*corner, corner[0] + 10, corner[1] + 10)
    rows, expected = [], []
    for number, (west, south, width, height) in enumerate(drawn):
        east = west + width
        shown = east - 360 if east > 180 and number % 2 else east
        rows.append([west, south, shown, south + height])
        parts = shapely.union_all(
            [shapely.box(west + turn, south, east + turn, south + height) for turn in (-360, 0, 360)]
        )
        expected.append(bool(parts.intersects(area)))
    structs = [dict(zip(("xmin", "ymin", "xmax", "ymax"), row, strict=True)) for row in rows]
    column = pa.chunked_array([pa.array(rows if as_list else structs)])
    assert np.array_equal(_touching(column, area), expected)


def columns(**changes: Any) -> dict[str, Any]:
    box = shapely.to_wkb(shapely.box(0, 0, 1, 1))
    table: dict[str, Any] = {
        "id": ["a"],
        "geometry": [box],
        "assets": [{"image": {"href": "https://files.example/a.tif"}}],
        "bbox": [{"xmin": 0.0, "ymin": 0.0, "xmax": 1.0, "ymax": 1.0}],
        "datetime": pa.array([0], pa.timestamp("us", "UTC")),
    } | changes
    return {name: values for name, values in table.items() if values is not None}


@pytest.fixture
def odd_file(tmp_path: Path) -> Iterator[Any]:
    def write(**changes: Any) -> str:
        path = tmp_path / "odd.parquet"
        pq.write_table(pa.table(columns(**changes)), path)
        return str(path)

    return write


@pytest.mark.parametrize("missing", ["id", "geometry", "assets"])
def test_what_is_no_stac_geoparquet_is_refused(missing: str, odd_file: Any) -> None:
    with pytest.raises(InputError, match=rf"no column {missing}.*--aoi"):
        found(odd_file(**{missing: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": None},
        {"bbox": [None]},
        {"bbox": [{"xmin": float("nan"), "ymin": 0.0, "xmax": 1.0, "ymax": 1.0}]},
        {"bbox": ["text"]},
        {"bbox": [[0.0, 0.0, 5.0, 1.0, 1.0, 6.0]]},
        {"bbox": pa.array([[0.0, 0.0, 1.0, 1.0]], pa.list_(pa.float32(), 4))},
        {"geometry": [None]},
        {"geometry": [b"not wkb"]},
        {"geometry": ["text"]},
        {"datetime": ["1970-01-01T00:00:00Z"]},
        {"datetime": pa.array([0], pa.timestamp("ms"))},
        {"collection": pa.array([None], pa.string())},
        {"gsd": [float("nan")]},
    ],
)
def test_odd_columns_lose_nothing(changes: dict[str, Any], odd_file: Any) -> None:
    assert ids(found(odd_file(**changes), aoi_from_bbox(0, 0, 1, 1), datetime="1970")) == ["a"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": pa.array([None], pa.string())}, "no id"),
        ({"assets": ["text"]}, "assets are no JSON object"),
        ({"assets": [{"image": {"title": "no file"}}]}, "href"),
        ({"geometry": [None], "bbox": None}, "neither a polygon"),
        ({"geometry": [shapely.to_wkb(shapely.box(0, 0, 1e6, 1e6))]}, "not in degrees"),
        ({"datetime": [7]}, "no RFC 3339 time"),
    ],
)
def test_malformed_rows_are_left(changes: dict[str, Any], reason: str, odd_file: Any) -> None:
    with pytest.raises(InputError, match=reason):
        found(odd_file(**changes))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\x00" * 100 + b"PAR1"])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="readable"):
        found(str(path))
    with pytest.raises(InputError, match="must exist"):
        found(str(tmp_path / "none.parquet"))


@pytest.mark.parametrize("limit", ["MOST_GROUP_BYTES", "MOST_GROUP_ROWS"])
def test_a_row_group_that_is_too_large_is_refused(
    limit: str, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"pipeline.grid.catalog.parquet_items.{limit}", 9)
    with pytest.raises(InputError, match=r"A row group.*Got: 10 rows"):
        found(many)
