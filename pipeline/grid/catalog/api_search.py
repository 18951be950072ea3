"""Search a STAC API for items.

1. `open_api` checks that the collections exist, and what the API can do for us: filter, sort, POST.
2. The AOI is asked for piece by piece, cut at the antimeridian, as a polygon where it is small enough.
3. `search_api` walks the pages of every piece. Where fewer items came than the API says it has, or its pages
   lead in a circle, it walks once more with smaller pages; a search that is short then is refused.

pystac-client 0.9 writes the request in the dialect of GET or POST and knows the conformance classes. Its own
paging is not used, nor rustac's: both take 20 of 37 items for all, go round in circles of pages, and follow
redirects to any host.

Dates are asked for with the end counted in, so an API may give a little too much; the sieve is exact. Cloud
cover is not asked for, so that every item left for its clouds can be named.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from pystac_client import ItemSearch
from pystac_client.conformance import ConformanceClasses
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError, SourceError
from pipeline.files.hrefs import public_href
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.catalog_reader import CatalogReader
from pipeline.grid.catalog.catalog_web import RefusedError
from pipeline.grid.catalog.item_document import resolved
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.page_walk import PageRequest, Walk, walk_pages

PAGE_ITEMS = 250
"""Items of one page: some 5 MB of Sentinel-2's."""

SMALL_PAGE_ITEMS = 50
"""Items of one page in the second walk."""

MOST_VERTICES = 200
"""Vertices of an area that is sent as a polygon."""

MOST_URL = 2000
"""Characters of a polygon that is sent by GET."""

_NAMED = 10
"""Collections named in a message."""


@dataclass(frozen=True, kw_only=True)
class StacApi:
    """What a STAC API's landing page says."""

    search_url: str
    method: str
    conforms_to: tuple[str, ...]

    def can(self, kind: ConformanceClasses) -> bool:
        return any(kind.pattern.match(uri) for uri in self.conforms_to)


def is_api(document: object) -> bool:
    """Tell whether a document is the landing page of a STAC API with item search."""
    return isinstance(document, dict) and bool(links_of(document, "search"))


def search_api(api: StacApi, reader: CatalogReader, sieve: ItemSieve, aoi: Aoi | None) -> dict[str, Any]:
    """Offer all items that match to the sieve; returns what was asked, in the words of the API.

    Raises SourceError where the API does not give all that it says it has.
    """
    wish = _wish(api, sieve)
    areas = areas_of(aoi, api.method)
    for area in areas:
        walk = _walk(api, {**wish, **area, "limit": PAGE_ITEMS}, reader, sieve)
        if walk.lost:
            sieve.note(f"the first walk through the catalogue's pages fell short: {walk.lost}")
            walk = _walk(api, {**wish, **area, "limit": SMALL_PAGE_ITEMS}, reader, sieve)
        if walk.lost and sieve.full:
            sieve.note(f"the catalogue keeps items back: {walk.lost}")
        elif walk.lost:
            raise SourceError(
                f"The catalogue {public_href(api.search_url)} keeps items back: {walk.lost}. To fix: try "
                "again later, ask for less (--aoi, --datetime), or take what comes with --max-items "
                f"{max(sieve.taken, 1)}",
                retryable=True,
            )
    _note_unsent(wish, aoi, sieve)
    return {"url": public_href(api.search_url), **wish, "areas": areas}


def _note_unsent(wish: Mapping[str, Any], aoi: Aoi | None, sieve: ItemSieve) -> None:
    """Say what the API chose by: items that it did not send cannot be named."""
    asked = ["area"] if aoi is not None else []
    asked += [
        flag for name, flag in (("datetime", "--datetime"), ("filter", "--stac-filter")) if name in wish
    ]
    if asked:
        sieve.note(
            f"the catalogue's server chose by {' and '.join(asked)}: items that it did not send are not named"
        )


def open_api(
    landing: Mapping[str, Any], place: str, reader: CatalogReader, collections: Sequence[str]
) -> StacApi:
    """Read a landing page, which lies at `place`, and ask for every collection.

    Raises InputError when a collection is unknown or none is named.
    """
    links = links_of(landing, "search")
    posts = [link for link in links if str(link.get("method", "GET")).upper() == "POST"]
    conforms = landing.get("conformsTo")
    base = place.partition("?")[0]
    data = links_of(landing, "data")
    data_url = resolved(data[0]["href"], base) if data else ""
    if not collections:
        raise InputError(
            "A search in a STAC API must name its collections",
            came=public_href(place),
            remedy=f"write stac:URL#collection. There are: {_known(data_url, reader)}",
        )
    for name in collections if data_url else ():
        try:
            reader.follow(f"{data_url.partition('?')[0].rstrip('/')}/{urllib.parse.quote(name, safe='')}")
        except RefusedError as error:
            if error.status != 404:
                raise
            raise InputError(
                "The catalogue must have the collection",
                came=name,
                remedy=f"there are: {_known(data_url, reader)}",
            ) from None
    return StacApi(
        search_url=resolved((posts or links)[0]["href"], base),
        method="POST" if posts else "GET",
        conforms_to=tuple(uri for uri in conforms if isinstance(uri, str))
        if isinstance(conforms, list)
        else (),
    )


def links_of(document: Mapping[str, Any], rel: str) -> list[dict[str, Any]]:
    """Find the links of one kind that have an href."""
    links = document.get("links")
    return [
        link
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and link.get("rel") == rel and isinstance(link.get("href"), str)
    ]


def _known(data_url: str, reader: CatalogReader) -> str:
    """Name some collections of the API, for a message."""
    document = reader.follow(data_url) if data_url else {}
    found = document.get("collections") if isinstance(document, dict) else None
    listed = found if isinstance(found, list) else []
    names = sorted(str(item.get("id"))[:80] for item in listed if isinstance(item, dict))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "see the catalogue's own page"


def _wish(api: StacApi, sieve: ItemSieve) -> dict[str, Any]:
    """Say everything but the area in pystac-client's words. What the API cannot do is left to the sieve."""
    wish: dict[str, Any] = {"collections": list(sieve.collections)}
    if sieve.times is not None:
        wish["datetime"] = sieve.times.as_interval()
    if sieve.filter is not None and api.can(ConformanceClasses.FILTER):
        wish["filter"] = sieve.filter.to_json() if api.method == "POST" else sieve.filter.to_text()
    if api.can(ConformanceClasses.SORT) and (sieve.sort or sieve.search.limit is not None):
        wish["sortby"] = [
            {"field": _sort_field(name), "direction": "desc" if descending else "asc"}
            for name, descending in (sieve.sort or (("datetime", True),))
        ]
    return wish


def _sort_field(name: str) -> str:
    return name if name in ("id", "collection") else f"properties.{name}"


def areas_of(aoi: Aoi | None, method: str) -> list[dict[str, Any]]:
    """Split the AOI at the antimeridian, and say each piece as `intersects` or `bbox`."""
    if aoi is None:
        return [{}]
    west, _, east, _ = aoi.bounds_lonlat
    if west <= east:
        return [_area(aoi.geometry, method)]
    parts = shapely.get_parts(aoi.geometry)
    behind = shapely.bounds(parts)[:, 2] <= east
    return [_area(shapely.MultiPolygon(list(group)), method) for group in (parts[~behind], parts[behind])]


def _area(piece: BaseGeometry, method: str) -> dict[str, Any]:
    """Say a piece as the tightest of itself, its hull and its box that is small enough to be sent."""
    single = shapely.get_parts(piece)
    piece = single[0] if len(single) == 1 else piece
    for shape in (piece, piece.convex_hull):
        small = shapely.get_num_coordinates(shape) <= MOST_VERTICES
        if small and (method == "POST" or len(shapely.to_geojson(shape)) <= MOST_URL):
            return {"intersects": json.loads(shapely.to_geojson(shape))}
    return {"bbox": list(piece.bounds)}


def _walk(api: StacApi, wish: Mapping[str, Any], reader: CatalogReader, sieve: ItemSieve) -> Walk:
    """Walk the pages of one piece of the AOI."""
    search = ItemSearch(url=api.search_url, method=api.method, **wish)
    parameters = search.get_parameters()
    if api.method == "POST":
        first = PageRequest(url=api.search_url, body=parameters)
    else:
        joint = "&" if "?" in api.search_url else "?"
        first = PageRequest(url=f"{api.search_url}{joint}{urllib.parse.urlencode(parameters)}")
    limit = sieve.search.limit
    before = sieve.taken
    walk = walk_pages(
        first,
        reader,
        sieve,
        filtered="filter" in wish,
        enough=lambda: limit is not None and "sortby" in wish and sieve.taken - before >= limit,
    )
    unasked = (walk.matched or 0) - walk.received
    if walk.enough and unasked > 0:
        sieve.note(f"items that match and were not asked for, because of --max-items: {unasked:,}")
    return walk
