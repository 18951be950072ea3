"""One item as JSON becomes an `Item`, or a reason why it cannot be used.

Strangers wrote it. Types, sizes and depths are checked, and coordinates must lie on Earth. What is wrong is
the item's own fault and no error of the search. Any STAC version is read: 1.0.0-beta.1, 1.0 and 1.1 agree
in the members that are used here.
"""

from __future__ import annotations

import math
import os
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from pipeline.files.hrefs import public_href
from pipeline.files.public_text import visible
from pipeline.geo.globe import cut_at_180, polygonal
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.time_range import item_times

MOST_DEPTH = 24
"""Levels of nesting in an item; the recorded real ones have 5."""

MOST_VALUES = 100_000
"""Values in one item, all levels together."""

MOST_ASSETS = 2000
MOST_TEXT = 4096
"""Characters of an id or an href."""

MOST_VERTICES = 20_000

MOST_LONGITUDE = 540.0
"""Degrees: footprints may count on past the antimeridian."""


_FILE_URI = re.compile(r"file://(localhost)?/", re.IGNORECASE)
"""A file of this machine."""


class ItemError(Exception):
    """An item cannot be used; the text says why, for `LeftItem.reason`."""


def item_of(document: object, place: str, *, alone: bool = False) -> Item:
    """Read one item. Raises ItemError.

    `place`: URL or path of the file that holds it. Relative hrefs belong to the item's own place: that file
    when it is `alone` in it, else its `self` link, else the file again.
    """
    document = _mapping(document, "it is no JSON object")
    _require_small(document)
    item_id = _shown(document.get("id"))
    if not 0 < len(item_id) <= MOST_TEXT:
        raise ItemError("it has no id")
    properties = _mapping(document.get("properties"), "its properties are no JSON object")
    try:
        times = item_times(properties)
    except ValueError as error:
        raise ItemError(str(error)) from None
    href = place if alone else _self_href(document)
    return Item(
        item_id=item_id,
        collection=_shown(document.get("collection"))[:MOST_TEXT],
        href=public_href(href),
        geometry=_footprint(document),
        start=times[0] if times else None,
        end=times[1] if times else None,
        cloud_cover=per_cent(properties.get("eo:cloud_cover")),
        properties=properties,
        assets=_assets(document, href or place),
    )


def item_name(document: object) -> str:
    """Find a name for an item that cannot be used. Empty: it has none."""
    return _shown(document.get("id"))[:200] if isinstance(document, dict) else ""


def _shown(name: object) -> str:
    """A name without what screens obey or hide, and without line breaks. Empty: it is no text."""
    return " ".join(visible(name).splitlines()).strip() if isinstance(name, str) else ""


def _mapping(value: object, reason: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ItemError(reason)
    return value


def _require_small(document: dict[str, Any]) -> None:
    """Refuse items that are nested too deep, hold too much, or a number without end."""
    level: list[Any] = [document]
    count = 0
    for _ in range(MOST_DEPTH):
        values: list[Any] = []
        for inner in level:
            values += inner.values() if isinstance(inner, dict) else inner
        count += len(values)
        if count > MOST_VALUES:
            raise ItemError(f"it holds more than {MOST_VALUES:,} values")
        if not all(math.isfinite(value) for value in values if value.__class__ is float):
            raise ItemError("it holds a number that is not finite")
        level = [value for value in values if value.__class__ is dict or value.__class__ is list]
        if not level:
            return
    raise ItemError(f"it is nested deeper than {MOST_DEPTH} levels")


def per_cent(value: object) -> float | None:
    """Read a share of clouds. None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    return float(value)


# ----------------------------------------------------------------------------------------- where


def _footprint(document: dict[str, Any]) -> BaseGeometry:
    """Read the polygons of `geometry`, else `bbox`, in lon/lat, cut at 180 degrees. Raises ItemError."""
    geometry = document.get("geometry")
    if isinstance(geometry, BaseGeometry):
        found: BaseGeometry | None = geometry
    elif isinstance(geometry, dict) and geometry.get("type") in ("Polygon", "MultiPolygon"):
        try:
            found = shapely.geometry.shape(geometry)
        except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
            raise ItemError("its geometry is malformed") from None
    else:
        found = None
    if found is None or found.is_empty or found.geom_type not in ("Polygon", "MultiPolygon"):
        found = _box(document.get("bbox"))
    if shapely.get_num_coordinates(found) > MOST_VERTICES:
        raise ItemError(f"its geometry has more than {MOST_VERTICES:,} vertices")
    found = shapely.force_2d(found) if shapely.has_z(found) else found
    west, south, east, north = found.bounds
    if not math.isfinite(west + south + east + north):
        raise ItemError("its geometry has coordinates that are not finite")
    if max(abs(west), abs(east)) > MOST_LONGITUDE or max(abs(south), abs(north)) > 90:
        raise ItemError(
            f"its geometry is not in degrees: x from {west:g} to {east:g}, y from {south:g} to {north:g}"
        )
    usual = west >= -180 and east <= 180 and east - west < 180 and found.is_valid
    return found if usual else _sound(found)


def _sound(polygons: BaseGeometry) -> BaseGeometry:
    """Bring polygons between -180 and 180, valid. Raises ItemError when nothing of them has an area."""
    try:
        parts = [_unwrapped(part) for part in shapely.get_parts(polygons)]
        whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
        whole = whole if whole.is_valid else polygonal(shapely.make_valid(whole))
        found = whole if whole.is_empty else cut_at_180(whole)
    except (ShapelyError, ValueError):
        raise ItemError("its geometry is malformed") from None
    if found.is_empty or found.area <= 0:
        raise ItemError("its geometry has no area")
    return found


def _unwrapped(polygon: BaseGeometry) -> BaseGeometry:
    """Let the longitudes of a polygon that crosses 180 degrees without a cut count on past it.

    A step of more than half a turn is such a crossing; one of a whole turn is an edge around the globe.
    """

    def apply(xy: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        steps = np.diff(xy[:, 0])
        turns = np.where((np.abs(steps) > 180) & (np.abs(steps) < 360), -np.sign(steps) * 360.0, 0.0)
        return np.column_stack([xy[:, 0] + np.concatenate([[0.0], np.cumsum(turns)]), xy[:, 1]])

    rings = [polygon.exterior, *polygon.interiors]
    moved = [apply(shapely.get_coordinates(ring)) for ring in rings]
    return shapely.Polygon(moved[0], moved[1:])


def _box(bbox: object) -> BaseGeometry:
    """Read a bbox of 4 or 6 numbers; west > east crosses the antimeridian. Raises ItemError."""
    if not isinstance(bbox, list) or len(bbox) not in (4, 6):
        raise ItemError("it has neither a polygon nor a bbox of 4 or 6 numbers")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in bbox):
        raise ItemError("its bbox holds something else than numbers")
    half = len(bbox) // 2
    try:
        west, south, east, north = (float(value) for value in (*bbox[:2], *bbox[half : half + 2]))
    except OverflowError:
        raise ItemError("its bbox is not in degrees") from None
    return shapely.box(west, south, east + 360.0 if west > east else east, north)


# ----------------------------------------------------------------------------------------- files


def _assets(document: dict[str, Any], place: str) -> dict[str, Asset]:
    assets = _mapping(document.get("assets"), "its assets are no JSON object")
    if len(assets) > MOST_ASSETS:
        raise ItemError(f"it has more than {MOST_ASSETS:,} assets")
    found = {}
    for key, value in assets.items():
        value = _mapping(value, f"its asset {key[:60]!r} is no JSON object")
        href = value.get("href")
        if not isinstance(href, str) or not href.strip() or len(href) > MOST_TEXT:
            continue  # an asset without a file; an item whose files are all like this has none to read
        roles = value.get("roles")
        media_type = value.get("type")
        found[key] = Asset(
            key=key,
            href=resolved(href, place),
            media_type=media_type if isinstance(media_type, str) else "",
            roles=tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else (),
            fields={name: field for name, field in value.items() if name not in ("href", "type", "roles")},
        )
    if not found:
        raise ItemError("none of its assets has an href")
    return found


def _self_href(document: dict[str, Any]) -> str:
    """Find the URL of an item's `self` link. Empty: it has none."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            href = str(link["href"])
            if "://" in href and len(href) <= MOST_TEXT:
                return href
    return ""


def resolved(href: str, place: str) -> str:
    """Resolve an href against the URL or path of the document that holds it. A file:// URI of this machine
    becomes the path. A local href that is percent-encoded, as URIs are, is decoded where only that exists."""
    href = href.strip()
    if _FILE_URI.match(href):
        return urllib.request.url2pathname(urllib.parse.urlsplit(href).path)
    if "://" in href or href.startswith("/vsi"):
        return href
    if not place or "://" not in place:
        path = os.path.normpath(Path(place).absolute().parent / href) if place else href
        decoded = urllib.parse.unquote(path)
        return decoded if Path(decoded).exists() and not Path(path).exists() else path
    if place.lower().startswith("s3://"):
        bucket, _, key = place[len("s3://") :].partition("/")
        joined = urllib.parse.urljoin(f"http://s3/{urllib.parse.quote(key)}", urllib.parse.quote(href))
        return f"s3://{bucket}{urllib.parse.unquote(joined.removeprefix('http://s3'))}"
    return urllib.parse.urljoin(place, href)
