"""How stored numbers become 8-bit grey levels: once per scene, never per tile.

A stretch per tile would put a step at every seam. So `fit_stretch` looks at the whole scene:

1. `scale` = (lo, hi) is linear, the same for all bands and scenes.
2. uint8 without given limits stays as it is.
3. Otherwise the limits are percentiles of the valid pixels, per band.

`apply_stretch` maps lo to 0 and hi to 255, linear between, clipped outside.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from rasterio.windows import Window as RasterWindow

from pipeline.errors import InputError
from pipeline.files.raster_access import gdal_message, open_raster, raster_environment
from pipeline.load.validity import dataset_validity
from pipeline.schema import Scene

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_log = logging.getLogger(__name__)

StretchKind = Literal["identity", "linear", "percentile"]
Limits = tuple[float, float, float]
"""Stored values of red, green and blue."""

SAMPLE_SIDE_PX = 2048
"""Longest side of the decimated read from which percentiles are taken."""

FULL_DECIMATION_PX = 64_000_000
"""Pixels up to which a scene without overviews is decimated as a whole: reading it once is cheap enough."""

_SAMPLE_WINDOWS = 8
_SAMPLE_WINDOW_PX = 256
"""Larger scenes without overviews: 8 x 8 windows of 256 px on a regular lattice."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The mapping of one scene's red, green and blue to 0..255.

    It travels with the plan and into run.json.
    """

    kind: StretchKind
    lo: Limits = (0.0, 0.0, 0.0)
    """Stored value per band that becomes 0."""
    hi: Limits = (255.0, 255.0, 255.0)
    """Stored value per band that becomes 255."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for run.json; `from_dict` reads them back."""
        return {"kind": self.kind, "lo": list(self.lo), "hi": list(self.hi)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Stretch:
        lo, hi = (tuple(float(value) for value in record[key]) for key in ("lo", "hi"))
        if record["kind"] not in ("identity", "linear", "percentile") or len(lo) != 3 or len(hi) != 3:
            raise InputError(
                "A recorded stretch must have a kind and three limits a side",
                came=f"{record!r:.120}",
                remedy="start a new run",
            )
        return cls(kind=record["kind"], lo=(lo[0], lo[1], lo[2]), hi=(hi[0], hi[1], hi[2]))


IDENTITY = Stretch(kind="identity")


def check_scale(scale: tuple[float, float]) -> None:
    """Check that a scale is two finite numbers that rise. Raises InputError."""
    lo, hi = scale
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise InputError(
            "--scale must be two finite numbers lo,hi with lo < hi",
            came=f"{lo},{hi}",
            remedy="e.g. --scale 0,3000",
        )


def fit_stretch(
    scene: Scene, *, scale: tuple[float, float] | None = None, percentiles: tuple[float, float] = (2.0, 98.0)
) -> Stretch:
    """Find the stretch of one scene, which is opened when percentiles are needed.

    A scene whose sample cannot be read or holds no valid pixel gets its data type's full range, and a
    warning. Raises InputError for a scale that does not rise.
    """
    if scale is not None:
        check_scale(scale)
        lo, hi = scale
        return Stretch(kind="linear", lo=(lo, lo, lo), hi=(hi, hi, hi))
    if scene.dtype == "uint8":
        return IDENTITY
    samples = _samples(scene)
    values = np.concatenate(samples, axis=1) if samples else np.empty((3, 0))
    if values.shape[1] == 0:
        info = np.iinfo(scene.dtype) if np.issubdtype(np.dtype(scene.dtype), np.integer) else None
        low, high = (float(info.min), float(info.max)) if info is not None else (0.0, 1.0)
        _log.warning("%s: no valid pixel in the sample; grey levels span %g to %g", scene.href, low, high)
        return Stretch(kind="percentile", lo=(low, low, low), hi=(high, high, high))
    low_cut, high_cut = np.percentile(values.astype(np.float64), percentiles, axis=1)
    flat = high_cut <= low_cut  # a constant band becomes mid-grey
    low_cut = np.where(flat, low_cut - 1.0, low_cut)
    high_cut = np.where(flat, high_cut + 1.0, high_cut)
    red_lo, green_lo, blue_lo = (float(value) for value in low_cut)
    red_hi, green_hi, blue_hi = (float(value) for value in high_cut)
    return Stretch(kind="percentile", lo=(red_lo, green_lo, blue_lo), hi=(red_hi, green_hi, blue_hi))


def _samples(scene: Scene) -> list[NDArray[Any]]:
    """Read the valid pixels of a fixed sample of the scene, each part (3, n) in the stored data type."""
    with raster_environment(scene.href), open_raster(scene.href) as dataset:
        bands = list(scene.rgb_bands)
        found: list[NDArray[Any]] = []
        for window, out_shape in _sample_reads(dataset):
            try:
                values = dataset.read(bands, window=window, out_shape=(3, *out_shape))
                valid = dataset_validity(dataset, values, window=window, out_shape=out_shape)
            except RasterioIOError as error:
                _log.warning(
                    "%s: part of the sample for the stretch is unreadable: %s",
                    scene.href,
                    gdal_message(error),
                )
                continue
            found.append(values[:, valid])
    return found


def _sample_reads(dataset: DatasetReader) -> Iterator[tuple[RasterWindow, tuple[int, int]]]:
    height = int(dataset.height)
    width = int(dataset.width)
    if dataset.overviews(1) or height * width <= FULL_DECIMATION_PX:
        factor = max(1, math.ceil(max(height, width) / SAMPLE_SIDE_PX))
        yield RasterWindow(0, 0, width, height), (math.ceil(height / factor), math.ceil(width / factor))
        return
    side_h = min(_SAMPLE_WINDOW_PX, height)
    side_w = min(_SAMPLE_WINDOW_PX, width)
    for row in np.linspace(0, height - side_h, _SAMPLE_WINDOWS).round().astype(int).tolist():
        for col in np.linspace(0, width - side_w, _SAMPLE_WINDOWS).round().astype(int).tolist():
            yield RasterWindow(col, row, side_w, side_h), (side_h, side_w)


def apply_stretch(values: NDArray[Any], stretch: Stretch) -> NDArray[np.uint8]:
    """Turn stored values (3, H, W), bands red, green, blue, into grey levels (H, W, 3). NaN becomes 0.

    Integers of at most 16 bits go through a lookup table of the same formula.
    """
    rgb = np.empty((*values.shape[1:], 3), dtype=np.uint8)
    for band in range(3):
        if stretch.kind == "identity":
            rgb[..., band] = values[band]
        elif values.dtype in (np.uint8, np.uint16, np.int16, np.int8):
            table, base = _table(values.dtype.name, stretch.lo[band], stretch.hi[band])
            rgb[..., band] = table[values[band].astype(np.int32) - base]
        else:
            rgb[..., band] = grey_levels(values[band], stretch.lo[band], stretch.hi[band])
    return rgb


def grey_levels(values: NDArray[Any], lo: float, hi: float) -> NDArray[np.uint8]:
    """Compute round(255 * (v - lo) / (hi - lo)), clipped to 0..255. NaN becomes 0."""
    scaled = (values.astype(np.float64) - lo) / (hi - lo) * 255.0
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0.0, 255.0)).astype(
        np.uint8
    )


@functools.lru_cache(maxsize=256)
def _table(dtype: str, lo: float, hi: float) -> tuple[NDArray[np.uint8], int]:
    """Grey level of every value of an integer type of at most 16 bits, and the smallest value."""
    info = np.iinfo(dtype)
    return grey_levels(np.arange(info.min, info.max + 1), lo, hi), int(info.min)
