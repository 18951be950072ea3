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
CUT = ("--whole-scene", "--tile", 96, "--halo", 16, "--block", 2)
"""How worlds of zones are cut into tiles."""


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


UTM_17_18 = (
    Frame("EPSG:26917", -78.0006, 36.62, 220, 220),
    Frame("EPSG:26918", -77.9994, 36.62, 220, 220),
)
"""Two scenes of one metre that overlap by some 110 m over the seam at 78 W."""


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


def town(seed: int, *, side: int = 7, cell: float = 12.0, least: float = 4.0) -> list[shapely.Geometry]:
    """Rows of houses, many of which touch, of `least` to `cell` metres, around the origin.

    One row stands on the line through it: no seam runs between houses alone.
    """
    rng = np.random.default_rng(seed)
    houses = []
    for i in range(-side, side):
        for j in range(-side, side):
            if rng.random() < 0.7:
                width, height = rng.uniform(least, cell, 2)
                width = cell if rng.random() < 0.3 else width
                height = cell if rng.random() < 0.3 else height
                houses.append(shapely.box(i * cell, j * cell, i * cell + width, j * cell + height))
    return [shapely.transform(shapely.segmentize(house, 3), lambda xy: xy + 5.0) for house in houses]


def seam_world(folder: Path, frames: tuple[Frame, ...] = UTM_17_18, seed: int = 1) -> ZoneWorld:
    """A town with a road through it that crosses all of the seam."""
    road = shapely.box(-120, -102, 120, -95)
    bend = shapely.LineString([(-80, 98), (0, 104), (80, 96)]).buffer(3)
    shapes = [*town(seed), shapely.segmentize(road, 3), bend]
    return draw_world(folder, frames, local_to_lonlat(shapes, -78.0, 36.62))


def assert_each_once(frame: gpd.GeoDataFrame, objects: NDArray[np.object_], *, pixel_m: float = 1.0) -> None:
    """Every object is one row, of its true area but for the pixels along its outline, and none overlap.

    A pixel is an object's where its middle is. So an outline drawn in pixels runs at most half their diagonal
    beside the true one, and a part drawn in another lattice no further.
    """
    found = matched(frame, objects)
    assert sorted(found.tolist()) == list(range(len(objects)))
    assert frame["instance_id"].is_unique
    assert frame.geometry.is_valid.all()
    for area_m2, number in zip(frame["area_m2"], found.tolist(), strict=True):
        border = border_m(objects[number])
        assert abs(area_m2 - geodesic_m2(objects[number])) <= (border + 4 * pixel_m) * pixel_m * 2**-0.5
    shapes = frame.geometry.to_numpy()
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    overlap = shapely.area(shapely.intersection(shapes[one], shapes[other]))[one < other]
    assert overlap.max(initial=0.0) * 111_000**2 < 2e-3 * pixel_m  # rounding to a tenth of a millimetre
