"""Real STAC APIs over HTTP, stac-fastapi with pgstac and rustac's own, against the same items in a file.

The expected items come from a plain loop over the JSON with shapely.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import rustac
import shapely
from stac_items import stac_item
from stac_server import pgstac_server, rustac_server

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi, aoi_from_bbox
from pipeline.grid.catalog.catalog_search import CatalogSearch, FoundItems, find_items

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
SERVERS = {"pgstac": pgstac_server, "rustac": rustac_server}


def world() -> list[dict[str, Any]]:
    """600 items of two collections: 20 x 30 degrees of longitude and latitude, some over 180 degrees."""
    items = []
    for number in range(600):
        west = 165.0 + number % 30
        west -= 360.0 if west >= 180 else 0.0
        south = float(number // 30)
        items.append(
            stac_item(
                f"i{number:03}",
                box=(west, south, west + 0.9, south + 0.9),
                when=f"2024-{number % 12 + 1:02}-15T10:00:00Z",
                collection="even" if number % 2 == 0 else "odd",
                gsd=float(number % 7),
                **{"eo:cloud_cover": float(number % 101)},
            )
        )
    return items


@pytest.fixture(scope="module", params=list(SERVERS))
def api(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """(kind, URL) of a server that holds the world."""
    with SERVERS[request.param](world()) as url:
        yield request.param, url


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The world as item collection and as stac-geoparquet."""
    folder = tmp_path_factory.mktemp("world")
    collection = {"type": "FeatureCollection", "features": world()}
    (folder / "items.json").write_text(json.dumps(collection))
    rustac.write_sync(str(folder / "items.parquet"), collection)
    return {"json": str(folder / "items.json"), "parquet": str(folder / "items.parquet")}


def found(source: str, aoi: Aoi | None = None, **search: Any) -> FoundItems:
    return find_items(CatalogSearch(source=source, **search), aoi)


def ids(result: FoundItems) -> list[str]:
    return [item.item_id for item in result.items]


def expected(area: Any, months: range, most_gsd: float, collections: tuple[str, ...]) -> set[str]:
    return {
        item["id"]
        for item in world()
        if item["collection"] in collections
        and shapely.geometry.shape(item["geometry"]).intersects(area)
        and datetime.fromisoformat(item["properties"]["datetime"]).month in months
        and item["properties"]["gsd"] < most_gsd
    }


def test_all_items_come_over_many_pages(api: tuple[str, str]) -> None:
    _, url = api
    result = found(f"stac:{url}#even,odd")
    assert set(ids(result)) == {item["id"] for item in world()}
    assert result.notes == ()
    assert result.hosts == ("127.0.0.1",)


def test_the_same_from_api_file_and_parquet(api: tuple[str, str], files: dict[str, str]) -> None:
    _, url = api
    triangle = shapely.Polygon([(170, 2), (179, 2), (170, 15)])
    aoi = Aoi(geometry=triangle, source="test")
    search = {"datetime": "2024-03/2024-08", "filter": "gsd < 5", "sort": "-gsd,id"}
    results = {
        "api": found(f"stac:{url}#odd", aoi, **search),
        "json": found(f"stac:{files['json']}#odd", aoi, **search),
        "parquet": found(f"stac:{files['parquet']}#odd", aoi, **search),
    }
    wanted = expected(triangle, range(3, 9), 5, ("odd",))
    assert len(wanted) > 10
    for result in results.values():
        assert set(ids(result)) == wanted
        assert ids(result) == ids(results["json"])
        for one, other in zip(result.items, results["json"].items, strict=True):
            assert one.geometry.equals(other.geometry)
            assert (one.start, one.end, one.cloud_cover) == (other.start, other.end, other.cloud_cover)
            assert one.assets["image"].href == other.assets["image"].href


def test_an_area_over_the_antimeridian(api: tuple[str, str]) -> None:
    _, url = api
    result = found(f"stac:{url}#even,odd", aoi_from_bbox(178, 0, -178, 5))
    area = shapely.union_all([shapely.box(178, 0, 180, 5), shapely.box(-180, 0, -178, 5)])
    assert set(ids(result)) == expected(area, range(1, 13), 99, ("even", "odd"))
    assert {item.geometry.bounds[0] < 0 for item in result.items} == {True, False}


def test_clouds_are_left_by_name(api: tuple[str, str]) -> None:
    _, url = api
    result = found(f"stac:{url}#even,odd", max_cloud=10.0, limit=7, sort="eo:cloud_cover")
    assert [item.cloud_cover for item in result.items] == [0, 0, 0, 0, 0, 0, 1]
    behind = [left for left in result.left if "lies behind the first 7 of --max-items" in left.reason]
    assert all(left.cloud_cover is not None and left.cloud_cover <= 10 for left in behind)
    assert all("clouds cover" in left.reason for left in result.left if left not in behind)


def test_what_pgstac_can_do_is_left_to_it(api: tuple[str, str]) -> None:
    kind, url = api
    asked = found(f"stac:{url}#odd", filter="gsd < 2", sort="-gsd", limit=3).request["api"]
    assert ({"filter", "sortby"} <= asked.keys()) is (kind == "pgstac")


def test_an_unknown_collection(api: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="there are: even, odd"):
        found(f"stac:{api[1]}#nope")


def test_addresses_that_people_paste(api: tuple[str, str]) -> None:
    _, url = api
    pasted = found(f"stac:{url}collections/odd", datetime="2024-02")
    assert ids(pasted) == ids(found(f"stac:{url}#odd", datetime="2024-02"))
    assert len(pasted.items) == 50


def test_real_items_through_a_real_api() -> None:
    path = DATA / "stac" / "naip-pc.json"
    if not path.is_file():
        pytest.skip("the sample data folder ../shared/data is absent")
    with rustac_server(json.loads(path.read_text())) as url:
        assert found(f"stac:{url}#naip").items == found(str(path)).items
