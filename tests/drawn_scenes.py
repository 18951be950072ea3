"""Scenes of every kind that people have, drawn small, and what rasterio alone says about their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hypothesis import strategies as st
from label_worlds import canonical
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

PLACES: dict[str, tuple[str | None, float, float, float]] = {
    "utm": ("EPSG:32633", 500000.0, 5500000.0, 0.5),
    "utm south": ("EPSG:32718", 300000.0, 8000000.0, 10.0),
    "lonlat": ("EPSG:4326", 13.0, 50.0, 1e-5),
    "mercator": ("EPSG:3857", -9000000.0, 4000000.0, 0.6),
    "swiss": ("EPSG:2056", 2680000.25, 1250000.75, 0.1),
    "feet": ("EPSG:2263", 980000.0, 200000.0, 1.0),
    "polar": ("EPSG:3031", -1500000.0, 900000.0, 15.0),
    "antimeridian": ("EPSG:32601", 308000.0, 5600000.0, 300.0),
    "no code": ("+proj=laea +lat_0=10 +lon_0=81 +datum=WGS84 +units=m", -50000.0, 20000.0, 3.0),
    "nowhere": (None, 0.0, 0.0, 1.0),
}
"""Name -> CRS, a corner, and a pixel's side in its units."""

NEAR_PX = 0.003
"""Pixels of a warped grid whose centre lies this close to a border may be either."""

TURNS: dict[str, Affine] = {
    "north-up": Affine.scale(1, -1),
    "south-up": Affine.scale(1, 1),
    "mirrored": Affine.scale(-1, -1),
    "turned": Affine.rotation(25) @ Affine.scale(1, -1),
    "on its side": Affine.rotation(90) @ Affine.scale(1, -1),
    "flat pixels": Affine.scale(1, -2),
}
VALIDITIES = (
    "all valid",
    "nodata",
    "nodata in one band",
    "nan",
    "untagged nan",
    "mask",
    "nodata and mask",
    "alpha",
    "nothing valid",
)
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
SIDES = (1, 2, 3, 9, 17, 30, 64, 90)


@dataclass(frozen=True)
class Draw:
    """What a scene is like, and how a run is to cut it."""

    seed: int
    place: str
    turn: str
    dtype: str
    validity: str
    bands: int
    height: int
    width: int
    core_px: int
    halo_px: int
    block: int
    warp: tuple[str | None, float] | None = None
    """CRS of the run grid (None: the scene's), and how much finer its pixels are. None: no warp."""
    cut: tuple[float, float, float, float] | None = None
    """Two shares of the width and two of the height that bound the area. None: the whole scene."""

    @property
    def crs(self) -> str | None:
        return PLACES[self.place][0]

    @property
    def transform(self) -> Affine:
        _, x, y, size = PLACES[self.place]
        if self.crs is None:
            return Affine.identity()
        return Affine.translation(x, y) @ TURNS[self.turn] @ Affine.scale(size)

    @property
    def lattice(self) -> tuple[str | None, Affine, int, int]:
        """CRS, transform, height and width of a label raster that covers the scene on the run's lattice."""
        if self.warp is None:
            return self.crs, self.transform, self.height, self.width
        side = self.resolution
        x0, y0, x1, y1 = self.bounds(self.warp[0] or str(self.crs), (0, 1, 0, 1))
        col = round(x0 / side) - 3
        row = round(-y1 / side) - 3
        size = (round((y1 - y0) / side) + 6, round((x1 - x0) / side) + 6)
        return self.warp[0] or self.crs, Affine(side, 0, col * side, 0, -side, -row * side), *size

    @property
    def resolution(self) -> float:
        """Side of the warped run grid's pixels: finer than the scene's, so that filters keep their width."""
        assert self.warp is not None
        crs, factor = self.warp
        size = PLACES[self.place][3]
        if crs is not None:
            x0, y0, x1, y1 = self.bounds(crs, (0, 1, 0, 1))
            size = float(np.hypot(x1 - x0, y1 - y0) / np.hypot(self.height, self.width)) / 3
        return float(f"{size / factor:.2g}")

    def bounds(self, crs: str, cut: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) of a part of the scene in another CRS. x0 > x1: it crosses the antimeridian."""
        cols = np.sort(cut[:2]) * self.width + (0, 0.01)
        rows = np.sort(cut[2:]) * self.height + (0, 0.01)
        x, y = self.transform @ (cols[[0, 1, 1, 0]], rows[[0, 0, 1, 1]])
        if crs == self.crs:
            return float(x.min()), float(y.min()), float(x.max()), float(y.max())
        x0, y0, x1, y1 = transform_bounds(self.crs, crs, x.min(), y.min(), x.max(), y.max())
        return x0, y0, x1, y1


@dataclass(frozen=True)
class DrawnScene:
    """A scene on disk with labels on the run's lattice."""

    draw: Draw
    scene: Path
    labels: Path

    def truth(
        self, transform: Affine, judged: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(H, W) each: where a run grid of this transform must show an object, and where it may.

        Whole objects are shown that have a judged pixel in the area, whose border is a matter of rounding.
        """
        height, width = judged.shape
        with rasterio.open(self.labels) as dataset:
            col, row = ~dataset.transform @ (transform.c, transform.f)
            place = ((round(row), round(row) + height), (round(col), round(col) + width))
            seen = canonical(np.where(judged, dataset.read(1, window=place), 0).astype(np.int64))
        if self.draw.cut is None:
            return seen > 0, seen > 0
        x0, y0, x1, y1 = self.draw.bounds("EPSG:4326", self.draw.cut)
        rows, cols = np.indices(judged.shape) + 0.5
        x, y = transform @ (cols.ravel(), rows.ravel())
        lon, lat = transform_points(self.draw.lattice[0], "EPSG:4326", x, y)
        inside = (
            (np.mod(np.subtract(lon, x0), 360) < (x1 - x0) % 360)
            & (np.array(lat) > y0)
            & (np.array(lat) < y1)
        )
        met = np.unique(seen[inside.reshape(judged.shape)])
        return np.isin(seen, met[met > 0]), seen > 0

    def valid(self, transform: Affine, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(H, W) each: which pixels of a run grid rasterio calls imagery, at least and at most.

        A pixel is imagery where a band is not nodata, no mask or alpha hides it, and its colours are numbers.
        The two differ where a warped pixel lies within NEAR_PX of a border.
        """
        if self.draw.warp is None:
            with rasterio.open(self.scene) as dataset:
                col, row = ~dataset.transform @ (transform.c, transform.f)
                place = (slice(round(row), round(row) + shape[0]), slice(round(col), round(col) + shape[1]))
                found = _imagery(dataset)[place]
            return found, found
        near = [(0.0, 0.0), (NEAR_PX, 0.0), (-NEAR_PX, 0.0), (0.0, NEAR_PX), (0.0, -NEAR_PX)]
        views = [self._warped(transform @ Affine.translation(*step), shape) for step in near]
        return np.all(views, axis=0), np.any(views, axis=0)

    def _warped(self, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
        with rasterio.open(self.scene) as dataset:
            declared = dataset.nodata is not None or ColorInterp.alpha in dataset.colorinterp
            with WarpedVRT(
                dataset,
                crs=self.draw.lattice[0],
                transform=transform,
                height=shape[0],
                width=shape[1],
                resampling=Resampling.bilinear,
                add_alpha=not declared,
                tolerance=1e-6,
                XSCALE="1",
                YSCALE="1",
            ) as warped:
                return _imagery(warped)


def _imagery(dataset: Any) -> NDArray[np.bool_]:
    valid = dataset.dataset_mask() > 0
    pixels = dataset.read()
    for band, kind in enumerate(dataset.colorinterp):
        if kind == ColorInterp.alpha:
            valid &= pixels[band] > 0
        elif band < 3:
            valid &= np.isfinite(pixels[band])
    return np.asarray(valid)


@st.composite
def draws(draw: Callable[..., Any], *, warped: bool = False) -> Draw:
    """Any scene and any cut; warped onto another lattice, or on its own."""
    place = draw(st.sampled_from([name for name in PLACES if name != "nowhere" or not warped]))
    shares = st.floats(0.02, 0.98)
    targets = [(None, 1.7), ("EPSG:4326", 1.0), ("EPSG:3857", 1.3), ("EPSG:8857", 1.0)]
    return Draw(
        seed=draw(st.integers(0, 10**6)),
        place=place,
        turn=draw(st.sampled_from(list(TURNS))),
        dtype=draw(st.sampled_from(DTYPES)),
        validity=draw(st.sampled_from(VALIDITIES)),
        bands=draw(st.sampled_from([1, 3, 4])),
        height=draw(st.sampled_from(SIDES)),
        width=draw(st.sampled_from(SIDES)),
        core_px=draw(st.sampled_from([5, 16, 40, 300])),
        halo_px=draw(st.sampled_from([1, 4, 12])),
        block=draw(st.sampled_from([1, 2, 4])),
        warp=draw(st.sampled_from(targets)) if warped else None,
        cut=draw(st.none() | st.tuples(shares, shares, shares, shares)) if place != "nowhere" else None,
    )


def write_drawn_scene(folder: Path, draw: Draw) -> DrawnScene:
    """Write the scene and its labels into `folder`."""
    rng = np.random.default_rng(draw.seed)
    shape = (draw.height, draw.width)
    pixels = rng.integers(40, 120, (draw.bands, *shape)).astype(draw.dtype)
    hole = _patches(rng, shape, 5) < 0.2
    options: dict[str, Any] = {"alpha": draw.validity == "alpha"}
    if draw.validity == "nothing valid":
        hole[:] = True
    if draw.validity in ("nan", "untagged nan"):
        pixels = pixels.astype("float64" if draw.dtype == "float64" else "float32")
        pixels[:, hole] = np.nan
        options["nodata"] = np.nan if draw.validity == "nan" else None
    elif draw.validity.startswith(("nodata", "nothing")):
        options["nodata"] = float(rng.choice([0, 127] if draw.dtype[0] == "u" else [0, -99]))
        pixels[0 if draw.validity == "nodata in one band" else slice(None), hole] = options["nodata"]
    if draw.validity in ("mask", "nodata and mask"):
        options["mask"] = ~hole
    if draw.validity == "alpha":
        top = 255 if draw.dtype == "uint8" else 1 if draw.dtype[0] == "f" else np.iinfo(draw.dtype).max
        pixels = np.concatenate([pixels, np.where(hole, 0, top).astype(draw.dtype)[None]])
    _write(folder / "scene.tif", pixels, (draw.crs, draw.transform), **options)
    crs, transform, height, width = draw.lattice
    drawn = DrawnScene(draw=draw, scene=folder / "scene.tif", labels=folder / "labels.tif")
    labels = (_patches(rng, (height, width), 7) * 3).astype(np.int64)
    labels[~drawn.valid(transform, (height, width))[1]] = 0  # else holes would cut objects in pieces
    _write(drawn.labels, canonical(labels).astype(np.int32)[None], (crs, transform))
    return drawn


def _patches(rng: np.random.Generator, shape: tuple[int, int], side: int) -> NDArray[np.float64]:
    coarse = rng.random((shape[0] // side + 1, shape[1] // side + 1))
    return coarse.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


def _write(
    path: Path,
    pixels: NDArray[Any],
    place: tuple[str | None, Affine],
    *,
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    alpha: bool = False,
) -> None:
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": place[0],
        "transform": place[1],
        "nodata": nodata,
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(path, "w", **profile) as dataset:
        colours = pixels.shape[0] - alpha
        names = [ColorInterp.gray] if colours < 3 else [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        names += [ColorInterp.undefined] * (colours - len(names))
        dataset.colorinterp = [*names, *[ColorInterp.alpha] * alpha]
        dataset.write(pixels)
        if mask is not None:
            dataset.write_mask(mask)
