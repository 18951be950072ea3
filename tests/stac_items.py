"""STAC items made by hand, small enough to check by eye."""

from __future__ import annotations

from typing import Any


def stac_item(
    item_id: str = "a",
    *,
    box: tuple[float, float, float, float] = (10.0, 50.0, 11.0, 51.0),
    when: str | None = "2024-06-01T10:00:00Z",
    collection: str = "naip",
    **properties: Any,
) -> dict[str, Any]:
    """A STAC 1.1 item with one asset. `box`: west, south, east, north."""
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(box),
        "properties": {"datetime": when, **properties},
        "links": [],
        "assets": {"image": {"href": f"https://files.example/{item_id}.tif", "roles": ["data"]}},
    }
