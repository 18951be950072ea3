"""Pages of items, one after the other, from a server that may lose its way.

1. `walk_pages` follows `next` links and offers every item to the sieve.
2. A link that was followed before, or many pages in a row without a new item, end the walk: it would never
   end by itself.
3. `Walk.lost` compares what came with what the server says it has (`numberMatched`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import SourceError
from pipeline.files.hrefs import public_href
from pipeline.grid.catalog.catalog_reader import CatalogReader
from pipeline.grid.catalog.item_document import resolved
from pipeline.grid.catalog.item_sieve import MOST_OFFERED, ItemSieve, require_most

MOST_STALE = 10
"""Pages in a row that may bring no new item; some servers give empty pages while they search on."""

MOST_PAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """One page to ask for."""

    url: str
    body: Mapping[str, Any] | None = None
    """JSON to send by POST. None: GET."""

    @property
    def key(self) -> str:
        return json.dumps([self.url, self.body], sort_keys=True)


@dataclass(kw_only=True)
class Walk:
    """What came of one walk."""

    pages: int = 0
    matched: int | None = None
    """Items that the server says it has. None: it says nothing."""
    received: int = 0
    """Different items that came."""
    end: str = ""
    """Why it ended before the last page. Empty: there was no `next` link any more."""
    enough: bool = False
    """Whether it ended because no more was wanted."""
    seen: set[str] = field(default_factory=set, repr=False)

    @property
    def lost(self) -> str:
        """Say that items are missing. Empty: all came, as far as the server says."""
        if self.enough:
            return ""
        if self.matched is not None and self.received < self.matched:
            return f"it says that {self.matched:,} items match, and gave {self.received:,} of them" + (
                f" ({self.end})" if self.end else ""
            )
        return self.end if self.end and self.matched is None else ""


def walk_pages(
    first: PageRequest,
    reader: CatalogReader,
    sieve: ItemSieve,
    *,
    filtered: bool = False,
    enough: Callable[[], bool] = lambda: False,
) -> Walk:
    """Offer the items of all pages to the sieve, as one pass.

    `filtered`: the server has applied the CQL2 filter. `enough`: asked after every page. Raises InputError
    and SourceError.
    """
    sieve.begin_pass()
    walk = Walk()
    request: PageRequest | None = first
    stale = 0
    while request is not None:
        if request.key in walk.seen:
            walk.end = "its pages lead in a circle"
            break
        if stale >= MOST_STALE or walk.pages >= MOST_PAGES:
            walk.end = f"its last {stale} pages brought nothing new" if stale else "its pages do not end"
            break
        walk.seen.add(request.key)
        page = reader.follow(request.url, request.body)
        new = _offer(page, request.url, sieve, filtered=filtered)
        stale = 0 if new else stale + 1
        walk.pages += 1
        walk.matched = matched_of(page) if walk.matched is None else walk.matched
        if sieve.search.limit is None:
            require_most(walk.matched or 0, MOST_OFFERED, "meet")
        if enough():
            walk.enough = True
            break
        request = next_request(page, request)
    walk.received = sieve.passed
    return walk


def _offer(page: object, url: str, sieve: ItemSieve, *, filtered: bool) -> int:
    """Offer the items of one page; returns how many are new. Raises SourceError for what is no page."""
    if not isinstance(page, dict) or not isinstance(page.get("features"), list):
        raise SourceError(f"A page of the catalogue must be an item collection: {public_href(url)}")
    return sum(sieve.add(item, url, filtered=filtered) for item in page["features"])


def matched_of(page: Mapping[str, Any]) -> int | None:
    """Find how many items a server says it has: `numberMatched`, or `matched` of older versions."""
    found: list[object] = [page.get("numberMatched")]
    found += [
        page[name].get("matched")
        for name in ("context", "search:metadata")
        if isinstance(page.get(name), dict)
    ]
    return next((value for value in found if type(value) is int and value >= 0), None)


def next_request(page: Mapping[str, Any], request: PageRequest) -> PageRequest | None:
    """Read a page's `next` link (STAC API, Item Search, "Paging"). None: there is none.

    A link with `merge` sends its body together with that of the last request.
    """
    links = page.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            url = resolved(link["href"], request.url)
            if str(link.get("method", "GET")).upper() != "POST":
                return PageRequest(url=url)
            body = link.get("body")
            body = body if isinstance(body, dict) else {}
            return PageRequest(url=url, body={**(request.body or {}), **body} if link.get("merge") else body)
    return None
