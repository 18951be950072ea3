"""Small GeoTIFFs with the STAC items that describe them, right or wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import transform_geom

from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_document import item_of

UTM = "EPSG:32633"
LEFT, TOP = 500_000.0, 5_500_000.0
TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_pixels(
    path: Path,
    pixels: NDArray[np.generic],
    *,
    row0: int = 0,
    col0: int = 0,
    nodata: float | None = 0,
    crs: str | None = UTM,
    pixel: float = 1.0,
) -> Path:
    """Write (bands, H, W) pixels of 1 m whose first lies (row0, col0) pixels from LEFT, TOP."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": crs,
        "transform": Affine(pixel, 0, LEFT + col0 * pixel, 0, -pixel, TOP - row0 * pixel),
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return path


def footprint_of(path: Path) -> dict[str, Any]:
    """The outline of a file in longitude and latitude, by rasterio alone."""
    with rasterio.open(path) as dataset:
        ring = [dataset.transform @ (c, r) for c, r in corners(dataset.width, dataset.height)]
        return dict(
            transform_geom(dataset.crs, "OGC:CRS84", {"type": "Polygon", "coordinates": [ring]}, precision=9)
        )


def corners(width: int, height: int) -> list[tuple[int, int]]:
    """(col, row) around a file."""
    return [(0, 0), (0, height), (width, height), (width, 0), (0, 0)]


def projection_fields(path: Path) -> dict[str, Any]:
    """What a file's header says, as a STAC 1.1 item says it."""
    with rasterio.open(path) as dataset:
        return {
            "proj:code": f"EPSG:{dataset.crs.to_epsg()}",
            "proj:shape": [dataset.height, dataset.width],
            "proj:transform": [*tuple(dataset.transform)[:6], 0.0, 0.0, 1.0],
        }


def item_document(
    item_id: str,
    assets: Mapping[str, Path | str],
    *,
    on_item: Mapping[str, Any] | None = None,
    on_asset: Mapping[str, Any] | None = None,
    when: str | None = "2024-06-01T10:00:00Z",
    collection: str = "drawn",
    like: Path | None = None,
) -> dict[str, Any]:
    """A STAC 1.1 item of some files. Its footprint is that of `like`, or of the first file."""
    first = like or Path(next(iter(assets.values())))
    footprint = footprint_of(first)
    bounds = shapely.geometry.shape(footprint).bounds
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": collection,
        "geometry": footprint,
        "bbox": list(bounds),
        "links": [],
        "properties": {"datetime": when, **(on_item or {})},
        "assets": {
            key: {"href": str(href), "type": TIFF, "roles": ["data"], **(on_asset or {})}
            for key, href in assets.items()
        },
    }


def item_with(document: Mapping[str, Any]) -> Item:
    """The item of a document, as a search gives it."""
    return item_of(dict(document), "/nowhere/item.json")


def write_items(path: Path, documents: Sequence[Mapping[str, Any]]) -> Path:
    """Write a STAC item collection."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(documents)}))
    return path


def grey(height: int, width: int, value: int, *, dtype: str = "uint8") -> NDArray[np.generic]:
    """(3, height, width) of one value."""
    return np.full((3, height, width), value, dtype=dtype)
