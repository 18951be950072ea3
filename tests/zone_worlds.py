"""Ground with known objects, drawn into the pixels of several zones: what a run of zones must give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.transform import Affine

LONLAT = "OGC:CRS84"


@dataclass(frozen=True)
class Frame:
    """A raster to draw: its CRS, its middle in degrees, and its size."""

    crs: str
    lon: float
    lat: float
    width: int
    height: int
    pixel: float = 1.0
    """In units of the CRS."""

    @property
    def name(self) -> str:
        """Name of the zone's folder."""
        return self.crs.replace(":", "_")

    @property
    def transform(self) -> Affine:
        """Corners on whole pixels of the CRS."""
        x, y = Transformer.from_crs(LONLAT, self.crs, always_xy=True).transform(self.lon, self.lat)
        left = np.round(x / self.pixel) * self.pixel - self.width // 2 * self.pixel
        top = np.round(y / self.pixel) * self.pixel + self.height // 2 * self.pixel
        return Affine(self.pixel, 0, left, 0, -self.pixel, top)


@dataclass(frozen=True)
class ZoneWorld:
    """Scenes and label rasters in a folder, and the objects drawn in them."""

    folder: Path
    frames: tuple[Frame, ...]
    objects: NDArray[np.object_]
    """(n,) polygons in degrees; label n is object n - 1."""

    @property
    def labels(self) -> str:
        return f"oracle:{self.folder}/labels_{{zone}}.tif"

    @property
    def scenes(self) -> list[Path]:
        return [self.folder / f"{frame.name}.tif" for frame in self.frames]

    def words(self, out: Path, *extra: object) -> list[object]:
        """A command line of segment_region.py."""
        sources = [word for path in self.scenes for word in ("--source", path)]
        query = ("--query", "anything", "--models", self.labels, "--out", out, "--runner", "local")
        return [*sources, *query, *extra]


def local_to_lonlat(shapes: Sequence[shapely.Geometry], lon: float, lat: float) -> NDArray[np.object_]:
    """Shapes in metres around a point, east and north, in degrees. Longitudes may count on past 180."""
    local = f"+proj=laea +lon_0={lon} +lat_0={lat} +datum=WGS84"
    move = Transformer.from_crs(local, LONLAT, always_xy=True)

    def apply(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = move.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([lon + (np.asarray(x) - lon + 180.0) % 360.0 - 180.0, y])

    return np.array([shapely.transform(shape, apply) for shape in shapes], dtype=object)


def draw_world(
    folder: Path, frames: Sequence[Frame], objects: NDArray[np.object_], *, like: Sequence[Path] = ()
) -> ZoneWorld:
    """Draw every object into every frame, in that frame's pixels: a pixel is an object's if its middle is.

    `like`: rasters whose transforms the frames take.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 255, (len(objects) + 1, 3), dtype=np.uint8)
    transforms = [frame.transform for frame in frames] if not like else [_transform_of(path) for path in like]
    for frame, transform in zip(frames, transforms, strict=True):
        move = Transformer.from_crs(LONLAT, frame.crs, always_xy=True)
        moved = [shapely.transform(shape, partial(_moved, move)) for shape in objects]
        labels = rasterio.features.rasterize(
            [(shape, number) for number, shape in enumerate(moved, start=1)],
            out_shape=(frame.height, frame.width),
            transform=transform,
            dtype="uint32",
        )
        profile = {
            "driver": "GTiff",
            "height": frame.height,
            "width": frame.width,
            "crs": frame.crs,
            "transform": transform,
            "compress": "zstd",
        }
        with rasterio.open(
            folder / f"{frame.name}.tif", "w", **profile, count=3, dtype="uint8", photometric="rgb"
        ) as file:
            file.write(np.moveaxis(colours[labels], -1, 0))
        with rasterio.open(
            folder / f"labels_{frame.name}.tif", "w", **profile, count=1, dtype="uint32"
        ) as file:
            file.write(labels, 1)
    return ZoneWorld(folder=folder, frames=tuple(frames), objects=objects)


def _transform_of(path: Path) -> Affine:
    with rasterio.open(path) as file:
        return file.transform


def _moved(move: Transformer, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack(move.transform(xy[:, 0], xy[:, 1]))


def geodesic_m2(shape: shapely.Geometry) -> float:
    """Area on WGS 84, holes taken off (pyproj alone)."""
    geod = Geod(ellps="WGS84")
    return abs(float(geod.geometry_area_perimeter(shapely.orient_polygons(shape))[0]))


def border_m(shape: shapely.Geometry) -> float:
    """Length of the outline on WGS 84."""
    return float(Geod(ellps="WGS84").geometry_length(shape.boundary))


def read_instances(out: Path) -> gpd.GeoDataFrame:
    """The instances of a run, of whatever CRS."""
    return gpd.read_parquet(out / "instances")


def matched(frame: gpd.GeoDataFrame, objects: NDArray[np.object_]) -> NDArray[np.int64]:
    """(rows,) the true object that each instance shares most ground with; -1: none."""
    tree = shapely.STRtree(objects)
    rows, found = tree.query(frame.geometry.to_numpy(), predicate="intersects")
    shared = shapely.area(shapely.intersection(frame.geometry.to_numpy()[rows], objects[found]))
    best = np.full(len(frame), -1, dtype=np.int64)
    most = np.zeros(len(frame))
    for row, number, area in zip(rows.tolist(), found.tolist(), shared.tolist(), strict=True):
        if area > most[row]:
            most[row] = area
            best[row] = number
    return best
