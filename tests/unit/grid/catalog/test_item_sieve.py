"""What is taken, what is left and counted, and in which order. A few items, checked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi, aoi_from_bbox
from pipeline.grid.catalog.found_items import CatalogSearch
from pipeline.grid.catalog.item_sieve import ItemSieve


def sieved(documents: list[Any], aoi: Aoi | None = None, **search: Any) -> ItemSieve:
    sieve = ItemSieve(CatalogSearch(source="", **search), aoi)
    for document in documents:
        sieve.add(document, "https://api.example/search")
    return sieve


def ids(sieve: ItemSieve) -> list[str]:
    return [item.item_id for item in sieve.found()]


def test_repeats_by_collection_and_id_are_used_once_and_reported() -> None:
    changed = stac_item("a", gsd=2)
    sieve = sieved(
        [stac_item("a", gsd=1), stac_item("a", gsd=1), changed, stac_item("a", collection="other")]
    )
    assert [(item.collection, item.item_id) for item in sieve.found()] == [("naip", "a"), ("other", "a")]
    assert sieve.found()[0].properties["gsd"] == 1
    assert sieve.met == 2
    once = "the catalogue gives this item more than once, and the first one counts"
    assert [(left.item_id, left.collection, left.reason) for left in sieve.left] == [
        ("a", "naip", once),
        ("a", "naip", f"{once}, though this one differs from it"),
    ]
    assert sieve.notes() == (
        "items that came more than once, used once: 2",
        "repeated items that differ from the first of their name, which counts: 1",
    )


def test_the_area_is_exact_and_not_a_box() -> None:
    triangle = shapely.Polygon([(0, 0), (10, 0), (0, 10)])
    corner = stac_item("corner", box=(8, 8, 9, 9))  # in the triangle's box only
    inside = stac_item("inside", box=(1, 1, 2, 2))
    sieve = sieved([corner, inside], Aoi(geometry=triangle, source="test"))
    assert ids(sieve) == ["inside"]
    assert sieve.notes() == ("items outside of the area of interest: 1",)
    (left,) = sieve.left
    assert (left.item_id, left.reason) == ("corner", "it lies outside of the area of interest")
    assert left.footprint is not None
    assert left.footprint.equals(shapely.box(8, 8, 9, 9))


def test_an_area_over_the_antimeridian() -> None:
    east = stac_item("east", box=(178, 0, 179.5, 1))
    west = stac_item("west", box=(-179.5, 0, -178, 1))
    far = stac_item("far", box=(0, 0, 1, 1))
    assert ids(sieved([east, far, west], aoi_from_bbox(179, 0, -179, 1))) == ["east", "west"]


def test_a_range_of_time_is_used_and_no_time_is_left() -> None:
    """`datetime: null` with a start and an end is a time."""
    span = stac_item(
        "span", when=None, start_datetime="2024-05-01T00:00:00Z", end_datetime="2024-07-01T00:00:00Z"
    )
    sieve = sieved(
        [span, stac_item("none", when=None), stac_item("late", when="2025-01-01T00:00:00Z")],
        datetime="2024-06",
    )
    assert ids(sieve) == ["span"]
    assert [(left.item_id, left.reason) for left in sieve.left] == [
        ("none", "it has no time, and --datetime asks for one"),
        ("late", "it is of another date than --datetime asks for"),
    ]
    assert "items of other dates than --datetime: 1" in sieve.notes()
    assert ids(sieved([span, stac_item("none", when=None)])) == ["span", "none"], "nobody asked for dates"


def test_clouds_above_the_limit_and_unknown_ones_are_left() -> None:
    cover = "eo:cloud_cover"
    documents = [stac_item("low", **{cover: 20}), stac_item("high", **{cover: 20.5}), stac_item("unknown")]
    sieve = sieved(documents, max_cloud=20.0)
    assert ids(sieve) == ["low"]
    assert {left.item_id: left.reason for left in sieve.left} == {
        "high": "clouds cover 20.5 % of it, more than 20",
        "unknown": "it does not say its cloud cover, and --max-cloud asks for it",
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gsd < 2", ["a"]),
        ('{"op": "<", "args": [{"property": "gsd"}, 2]}', ["a"]),
        ("gsd < 2 OR id = 'b'", ["a", "b"]),
        ("s_intersects(geometry, POINT(20.5 50.5))", ["b"]),
        ("collection = 'naip' AND gsd >= 2", ["b"]),
    ],
)
def test_a_filter_is_evaluated(text: str, wanted: list[str]) -> None:
    documents = [stac_item("a", gsd=1), stac_item("b", gsd=2, box=(20, 50, 21, 51))]
    sieve = sieved(documents, filter=text)
    assert ids(sieve) == wanted
    assert [(left.item_id, left.reason) for left in sieve.left] == [
        (name, "it does not fit --stac-filter") for name in ("a", "b") if name not in wanted
    ]


def test_a_filter_on_a_missing_property_decides_nothing() -> None:
    sieve = sieved([stac_item("a", gsd=1), stac_item("b")], filter="gsd < 2")
    assert ids(sieve) == ["a"]
    assert "items that lack a property of --stac-filter: 1" in sieve.notes()
    assert [left.reason for left in sieve.left] == ["it lacks a property that --stac-filter asks for"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (None, ["new", "old", "z_old", "none"]),
        ("gsd", ["z_old", "new", "old", "none"]),
        ("-properties.gsd", ["new", "old", "z_old", "none"]),
        ("+id", ["new", "none", "old", "z_old"]),
        ("datetime,-id", ["z_old", "old", "new", "none"]),
        ("missing", ["new", "old", "z_old", "none"]),
    ],
)
def test_order(sort: str | None, order: list[str]) -> None:
    documents = [
        stac_item("z_old", when="2020-01-01T00:00:00Z", gsd=1),
        stac_item("old", when="2020-01-01T00:00:00Z", gsd=2),
        stac_item("none", when=None),
        stac_item("new", when="2020-01-01T00:00:00.5Z", gsd=2),
    ]
    assert ids(sieved(documents, sort=sort)) == order


@given(
    order=st.permutations(range(6)), sort=st.sampled_from([None, "gsd", "-gsd,id"]), limit=st.integers(1, 7)
)
def test_pages_do_not_decide_the_order(order: list[int], sort: str | None, limit: int) -> None:
    documents = [
        stac_item(f"i{number}", when=f"202{number % 3}-01-01T00:00:00Z", gsd=number % 2)
        for number in range(6)
    ]
    shuffled = sieved([documents[number] for number in order], sort=sort, limit=limit)
    assert ids(shuffled) == ids(sieved(documents, sort=sort))[:limit]


def test_what_lies_behind_the_limit_is_said() -> None:
    sieve = sieved([stac_item("a"), stac_item("b"), stac_item("c")], limit=2)
    assert ids(sieve) == ["a", "b"]
    assert sieve.notes() == ("items that fit, behind --max-items: 1",)
    (left,) = sieve.left
    words = "it fits, and lies behind the first 2 of --max-items"
    assert (left.item_id, left.reason) == ("c", f"{words}, newest first")
    documents = [stac_item("a", gsd=1), stac_item("b", gsd=3), stac_item("c", gsd=2)]
    (left,) = sieved(documents, limit=2, sort="-gsd").left
    assert (left.item_id, left.reason) == ("a", f"{words}, by --sort -gsd")


def test_what_does_not_sort_is_said() -> None:
    documents = [stac_item("a", gsd=1, place={"x": 1}), stac_item("b")]
    assert sieved(documents, sort="gsd,-id,datetime").notes() == ()
    assert sieved(documents, sort="gsd,eo:clouds,-place").notes() == (
        "--sort by eo:clouds, place changes nothing: no item says it",
    )
    assert sieved([], sort="missing").notes() == ()


def test_malformed_items_are_left_with_their_name() -> None:
    sieve = sieved(["x", stac_item("bad") | {"assets": 5}, {"id": "long" * 200}, stac_item("good")])
    assert ids(sieve) == ["good"]
    assert [left.item_id for left in sieve.left] == ["", "bad", ("long" * 200)[:200]]
    assert all(left.reason for left in sieve.left)


@pytest.mark.parametrize(
    "search",
    [
        {"max_cloud": -1.0},
        {"max_cloud": 101.0},
        {"limit": 0},
        {"filter": "gsd <"},
        {"filter": '{"op": '},
        {"filter": "{}"},
        {"sort": "gsd,,id"},
        {"sort": "--gsd"},
        {"datetime": "soon"},
    ],
)
def test_a_wrong_search_is_refused(search: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ItemSieve(CatalogSearch(source="", **search), None)


@pytest.mark.parametrize("limit", ["MOST_ITEMS", "MOST_OFFERED"])
def test_too_many_items_are_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"pipeline.grid.catalog.item_sieve.{limit}", 2)
    with pytest.raises(InputError, match="at most 2 items"):
        sieved([stac_item("a"), stac_item("b"), stac_item("c")])
