"""What a STAC API is asked, and what happens when it keeps items back."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import numpy as np
import pytest
import shapely
from odd_stac_server import FILTER, SORT, OddServer, odd_server
from stac_items import stac_item

from pipeline.errors import InputError, SourceError
from pipeline.grid.aoi import Aoi, aoi_from_bbox
from pipeline.grid.catalog.api_search import MOST_VERTICES, areas_of, is_api
from pipeline.grid.catalog.catalog_search import CatalogSearch, FoundItems, find_items

ITEMS = [stac_item(f"i{number}", when=f"2024-06-0{number + 1}T10:00:00Z", gsd=number) for number in range(7)]


def found(server: OddServer, aoi: Aoi | None = None, **search: Any) -> FoundItems:
    return find_items(CatalogSearch(source=f"stac:{server.url}#naip", **search), aoi)


def ids(result: FoundItems) -> list[str]:
    return [item.item_id for item in result.items]


def test_the_request_by_post() -> None:
    with odd_server(items=ITEMS, conforms_to=(SORT, FILTER), page_items=10) as server:
        result = found(
            server, aoi_from_bbox(10, 50, 11, 51), datetime="2024-06", filter="gsd < 3", sort="-gsd"
        )
        (body,) = server.searches()
    assert body == {
        "collections": ["naip"],
        "datetime": "2024-06-01T00:00:00Z/2024-07-01T00:00:00Z",
        "filter": {"op": "<", "args": [{"property": "gsd"}, 3]},
        "filter-lang": "cql2-json",
        "sortby": [{"field": "properties.gsd", "direction": "desc"}],
        "intersects": {
            "type": "Polygon",
            "coordinates": [[[11, 50], [11, 51], [10, 51], [10, 50], [11, 50]]],
        },
        "limit": 250,
    }
    assert ids(result)[0] == "i6", "the API has filtered; what it gives is taken, in the order that was asked"


def test_the_request_by_get() -> None:
    with odd_server(items=ITEMS, conforms_to=(FILTER,), get_only=True, page_items=10) as server:
        found(server, aoi_from_bbox(10, 50, 11, 51), filter="gsd < 3")
        (path,) = server.searches()
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
    assert (query["collections"], query["filter"], query["filter-lang"]) == ("naip", "gsd < 3", "cql2-text")
    assert shapely.geometry.shape(json.loads(query["intersects"])).equals(shapely.box(10, 50, 11, 51))


def test_what_an_api_cannot_do_is_done_here() -> None:
    with odd_server(items=ITEMS) as server:
        result = found(server, filter="gsd < 3", sort="gsd", limit=2)
        assert not {"filter", "sortby"} & server.searches()[0].keys()
    assert ids(result) == ["i0", "i1"]
    assert len(server.searches()) == 4, "without the API's order all pages must be seen"


def test_a_limit_ends_the_walk_where_the_api_sorts() -> None:
    newest_first = list(reversed(ITEMS))
    with odd_server(items=newest_first, conforms_to=(SORT,), matched=7) as server:
        result = found(server, limit=3)
        assert ids(result) == ["i6", "i5", "i4"]
        assert len(server.searches()) == 2
    assert "items that match and were not asked for, because of --max-items: 3" in result.notes
    assert [left.item_id for left in result.left] == ["i3"], "it came on the last page"


def test_the_area_is_split_at_the_antimeridian() -> None:
    east, west = stac_item("east", box=(178, 0, 180, 1)), stac_item("west", box=(-180, 0, -178, 1))
    with odd_server(items=[east, west]) as server:
        result = found(server, aoi_from_bbox(179, 0, -179, 1))
        areas = [shapely.geometry.shape(body["intersects"]) for body in server.searches()]
    assert [area.bounds for area in areas] == [(179, 0, 180, 1), (-180, 0, -179, 1)]
    assert ids(result) == ["east", "west"]
    assert result.notes == (
        "the catalogue's server chose by area: items that it did not send are not named",
    ), "an item that both searches give is no repeat"


def test_a_large_area_is_sent_as_its_hull_or_its_box() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = np.where(np.arange(400) % 40 < 15, 1.0, 0.5)
    star = Aoi(
        geometry=shapely.Polygon(np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None]), source=""
    )
    (area,) = areas_of(star, "POST")
    hull = shapely.geometry.shape(area["intersects"])
    assert hull.covers(star.geometry)
    assert shapely.get_num_coordinates(hull) <= MOST_VERTICES
    circle = Aoi(geometry=shapely.Point(0, 0).buffer(1, quad_segs=200), source="")
    assert areas_of(circle, "POST") == [{"bbox": [-1, -1, 1, 1]}]
    assert areas_of(star, "GET") == [{"bbox": list(star.geometry.bounds)}]
    assert areas_of(None, "POST") == [{}]


def test_pages_that_repeat_give_the_same_items() -> None:
    """Microsoft's Planetary Computer once gave items on two pages (PlanetaryComputer#163)."""
    with (
        odd_server(items=ITEMS, matched=7) as sound,
        odd_server(items=ITEMS, matched=7, fault="repeat") as odd,
    ):
        expected, result = found(sound), found(odd)
    assert result.items == expected.items
    assert result.notes == ("items that came more than once, used once: 3",)


def test_items_kept_back_are_refused() -> None:
    """20 of 37 items arrive, because the last next link is missing (pystac-client#648)."""
    items = [stac_item(f"i{number:02}") for number in range(37)]
    with odd_server(items=items, matched=37, page_items=10, fault="lose") as server:
        with pytest.raises(SourceError, match=r"37 items match, and gave 20 .*--max-items 20") as error:
            found(server)
        assert error.value.retryable
        limits = [body["limit"] for body in server.searches()]
        assert limits == [250, 250, 50, 50], "the second walk has smaller pages"
        result = found(server, limit=20)
    assert len(result.items) == 20
    assert any("keeps items back" in note for note in result.notes)


def test_items_lost_once_are_found_by_the_second_walk() -> None:
    with odd_server(items=ITEMS, matched=7, fault="lose_once") as server:
        result = found(server)
    assert len(result.items) == 7
    (note,) = result.notes
    assert note.endswith("fell short: it says that 7 items match, and gave 4 of them")


@pytest.mark.parametrize("fault", ["loop", "endless"])
def test_pages_without_end_are_refused(fault: str) -> None:
    with odd_server(items=ITEMS, fault=fault) as server, pytest.raises(SourceError, match="keeps items back"):
        found(server)


def test_a_range_of_time_is_used() -> None:
    """`datetime: null` with start and end (stac-server#1165), where the API gives it."""
    span = stac_item(
        "span", when=None, start_datetime="2024-05-01T00:00:00Z", end_datetime="2024-07-01T00:00:00Z"
    )
    with odd_server(items=[span, stac_item("none", when=None)]) as server:
        result = found(server, datetime="2024-06")
    assert ids(result) == ["span"]
    assert [left.item_id for left in result.left] == ["none"]
    assert any("chose by --datetime" in note for note in result.notes)


def test_an_unknown_or_missing_collection_is_refused_with_those_there_are() -> None:
    with odd_server(items=ITEMS) as server:
        with pytest.raises(InputError, match=r"Got: nope\. To fix: there are: naip"):
            find_items(CatalogSearch(source=f"stac:{server.url}#nope"), None)
        with pytest.raises(InputError, match=r"stac:URL#collection\. There are: naip"):
            find_items(CatalogSearch(source=f"stac:{server.url}"), None)
        assert server.searches() == []


@pytest.mark.parametrize("document", [None, [], {"links": None}, {"links": [5, {"rel": "search"}]}])
def test_what_is_no_api(document: object) -> None:
    assert not is_api(document)
