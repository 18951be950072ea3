"""Pages that repeat, lose, circle or do not end."""

from __future__ import annotations

from typing import Any

import pytest
from odd_stac_server import OddServer, odd_server
from stac_items import stac_item

from pipeline.errors import InputError, SourceError
from pipeline.grid.catalog.catalog_reader import CatalogReader
from pipeline.grid.catalog.found_items import CatalogSearch
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.page_walk import PageRequest, Walk, matched_of, next_request, walk_pages

ITEMS = [stac_item(f"i{number}") for number in range(7)]


def walked(server: OddServer, *, post: bool = True, **arguments: Any) -> tuple[Walk, ItemSieve]:
    search = CatalogSearch(source=server.url)
    sieve = ItemSieve(search, None)
    first = PageRequest(url=f"{server.url}/search", body={"limit": 2} if post else None)
    return walk_pages(first, CatalogReader(server.url, search), sieve, **arguments), sieve


@pytest.mark.parametrize("post", [True, False])
@pytest.mark.parametrize("merge", [True, False])
def test_all_pages_are_read(*, post: bool, merge: bool) -> None:
    with odd_server(items=ITEMS, matched=7, merge=merge) as server:
        walk, sieve = walked(server, post=post)
        assert [item.item_id for item in sieve.found()] == [item["id"] for item in ITEMS]
        assert (walk.pages, walk.received, walk.matched, walk.lost) == (4, 7, 7, "")
        if post:
            assert [body["limit"] for body in server.searches()] == [2] * 4


def test_pages_that_repeat_items() -> None:
    with odd_server(items=ITEMS, matched=7, fault="repeat") as server:
        walk, sieve = walked(server)
    assert (sieve.taken, walk.received, walk.lost) == (7, 7, "")
    assert sieve.notes() == ("items that came more than once, used once: 3",)


def test_pages_that_lose_items() -> None:
    with odd_server(items=ITEMS, matched=7, fault="lose") as server:
        walk, _ = walked(server)
    assert walk.lost == "it says that 7 items match, and gave 4 of them"


def test_pages_in_a_circle() -> None:
    with odd_server(items=ITEMS, fault="loop") as server:
        walk, sieve = walked(server)
        assert len(server.searches()) == 4, "the link to the first page reads differently once"
    assert walk.lost == "its pages lead in a circle"
    assert sieve.taken == 6


@pytest.mark.parametrize("fault", ["endless", "empty"])
def test_pages_without_end(fault: str) -> None:
    with odd_server(items=ITEMS, fault=fault) as server:
        walk, sieve = walked(server)
        assert len(server.searches()) <= 11
    assert "brought nothing new" in walk.lost
    assert sieve.taken == (2 if fault == "endless" else 0)


def test_pages_that_circle_when_all_came_are_complete() -> None:
    with odd_server(items=ITEMS[:6], matched=6, fault="loop") as server:
        walk, _ = walked(server)
    assert walk.end
    assert walk.lost == ""


def test_a_next_link_to_another_host_is_refused() -> None:
    with odd_server(items=ITEMS, fault="elsewhere") as server, pytest.raises(SourceError, match="allow-host"):
        walked(server)


@pytest.mark.parametrize("fault", ["text", "list", "bomb"])
def test_what_is_no_page_is_refused(fault: str) -> None:
    with odd_server(items=ITEMS, fault=fault) as server, pytest.raises(SourceError, match="must be"):
        walked(server)


def test_no_more_than_wanted_is_read() -> None:
    with odd_server(items=ITEMS, matched=7) as server:
        walk, sieve = walked(server, enough=lambda: len(server.searches()) >= 2)
    assert (walk.pages, walk.lost, sieve.taken) == (2, "", 4)


def test_a_search_that_matches_millions_ends_at_once() -> None:
    """The recorded page of a public catalogue matches 115,912,758 items."""
    with odd_server(items=ITEMS, matched=115_912_758) as server:
        with pytest.raises(InputError, match=r"at most 2,000,000 items\. Got: 115,912,758"):
            walked(server)
        assert len(server.searches()) == 1


def test_items_without_an_id_count_once() -> None:
    items = [*ITEMS[:3], {"type": "Feature"}, {"type": "Feature", "a": 1}]
    with odd_server(items=items, matched=5, fault="repeat") as server:
        walk, sieve = walked(server)
    assert (walk.received, walk.lost, sieve.taken) == (5, "", 3)
    assert [left.item_id for left in sieve.left if "no id" in left.reason] == ["", ""]


def test_how_many_match_in_all_dialects() -> None:
    assert matched_of({"numberMatched": 3}) == 3
    assert matched_of({"context": {"matched": 4}}) == 4
    assert matched_of({"search:metadata": {"matched": 5}}) == 5
    for odd in ({}, {"numberMatched": "3"}, {"numberMatched": -1}, {"numberMatched": True}, {"context": [1]}):
        assert matched_of(odd) is None


@pytest.mark.parametrize(
    "links",
    [None, 5, [], [5], [{"rel": "next"}], [{"rel": "next", "href": 5}], [{"rel": "prev", "href": "x"}]],
)
def test_links_that_lead_nowhere(links: object) -> None:
    assert next_request({"links": links}, PageRequest(url="https://api.example/search")) is None


def test_a_relative_link_and_an_odd_body() -> None:
    page = {"links": [{"rel": "next", "href": "search?page=2"}]}
    assert next_request(page, PageRequest(url="https://api.example/v1/search")) == PageRequest(
        url="https://api.example/v1/search?page=2"
    )
    page = {"links": [{"rel": "next", "href": "/search", "method": "POST", "body": 5}]}
    assert next_request(page, PageRequest(url="https://api.example/x")) == PageRequest(
        url="https://api.example/search", body={}
    )
