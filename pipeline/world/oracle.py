"""Read the true objects of a label raster, tile by tile, with arbitrary local ids and optional noise.

1. `parse_oracle` reads `oracle:labels.tif?noise=mild&seed=3`.
2. `OracleTruth.on_grid` checks that raster and run grid share a lattice.
3. `OracleTruth.tile` reads the tile's window and a margin. It numbers the objects (`_compact`), disturbs them
   (`_disturb`) and shuffles the numbers (`_shuffle`), so that nothing can rely on ids that agree between
   tiles.

Noise (`NOISE_LEVELS`) makes the mistakes that real segmenters make. Each draw depends on (seed, tile origin,
object id) alone. So two tiles disagree at their seam, and every run can be repeated. Prompter and segmenter
read the same `OracleTile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import InputError, SourceError
from pipeline.geo.pixel_rules import offset_on
from pipeline.schema.tiling import RunGrid, TileSpec, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

ORACLE_SCHEME = "oracle:"
NoiseName = Literal["mild", "strong"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseLevel:
    """Probability of each mistake, 0..1, drawn independently for every object of every tile."""

    miss: float
    """The object is left out."""
    miss_small: float
    """Added to `miss` for objects of fewer than SMALL_OBJECT_PX visible pixels."""
    shift_px: int
    """Rows, columns and growth are each drawn uniformly from -shift_px..shift_px."""
    merge: float
    """The object takes the id of the neighbour with which it shares the longest border."""
    split: float
    """Half of the object, along its longer side, gets an id of its own."""


SMALL_OBJECT_PX = 256
"""Visible pixels below which an object counts as small."""

NOISE_LEVELS: dict[str, NoiseLevel] = {
    "mild": NoiseLevel(miss=0.03, miss_small=0.10, shift_px=1, merge=0.02, split=0.01),
    "strong": NoiseLevel(miss=0.10, miss_small=0.25, shift_px=3, merge=0.06, split=0.03),
}

_SHUFFLE_KEY = 2**61
"""Last word of the seed of the id permutation, where an object's draws have its id + 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleSpec:
    """A parsed text `oracle:...`: which raster, and how noisy."""

    labels_href: str
    """Path of an integer raster; 0 and its nodata value are background."""
    noise: NoiseName | None = None
    """Name of the noise level; None: the exact truth."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleTile:
    """The truth of one tile. An object is one label value, even when it is visible in several pieces."""

    tile: TileSpec
    labels: NDArray[np.int32]
    """(H, W) over tile.read; 0 = background, 1..n = local ids, arbitrary and without gaps."""

    @property
    def n_objects(self) -> int:
        return int(self.labels.max(initial=0))


def parse_oracle(text: str) -> OracleSpec:
    """Read `oracle:PATH`, `oracle:PATH?noise=mild`, `oracle:PATH?noise=strong&seed=7`. Raises InputError."""
    if not text.startswith(ORACLE_SCHEME):
        raise InputError(
            "oracle models are written oracle:labels.tif", came=repr(text), remedy="start with 'oracle:'"
        )
    href, _, query = text.removeprefix(ORACLE_SCHEME).partition("?")
    if not href:
        raise InputError(
            "oracle models need a label raster", came=repr(text), remedy="write oracle:path/to/labels.tif"
        )
    noise: NoiseName | None = None
    seed = 0
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "noise" and value in ("mild", "strong"):
            noise = "mild" if value == "mild" else "strong"
        elif key == "noise" and value == "none":
            noise = None
        elif key == "seed" and value.isdecimal():
            seed = int(value)
        else:
            raise InputError(
                "oracle models take noise=none|mild|strong and seed=<whole number>",
                came=f"{key}={value} in {text!r}",
                remedy="for example oracle:labels.tif?noise=mild&seed=1",
            )
    return OracleSpec(labels_href=href, noise=noise, seed=seed)


class OracleTruth:
    """Reads a label raster tile by tile, renumbered and disturbed. The first read opens the file."""

    def __init__(
        self,
        labels_href: str,
        noise: NoiseName | None = None,
        seed: int = 0,
        *,
        grid_offset_rc: tuple[int, int] = (0, 0),
    ) -> None:
        """`grid_offset_rc`: (row, column) of the run grid's first pixel in the label raster."""
        if noise is not None and noise not in NOISE_LEVELS:
            raise InputError(
                "oracle noise must be mild or strong",
                came=repr(noise),
                remedy="choose one of them or leave it out",
            )
        self._href = labels_href
        self._level = NOISE_LEVELS[noise] if noise is not None else None
        self._seed = seed
        self._offset_rc = grid_offset_rc
        self._dataset: Any = None

    @classmethod
    def on_grid(cls, spec: OracleSpec, grid: RunGrid) -> OracleTruth:
        """Place the truth on a run grid. Raises InputError when raster and grid do not share a lattice."""
        offset_rc = check_aligned(spec.labels_href, grid)
        return cls(spec.labels_href, spec.noise, spec.seed, grid_offset_rc=offset_rc)

    def tile(self, tile: TileSpec) -> OracleTile:
        """Read the labels of the tile's read window.

        Raises SourceError when the raster cannot be read, InputError for ids below 0.
        """
        margin = 2 * self._level.shift_px if self._level is not None else 0
        raw, inner = self._read(tile.read, margin)
        values, labels = _compact(raw)
        origin = (self._seed, tile.read.row0, tile.read.col0)
        labels = (
            _disturb(labels, values, self._level, origin, inner) if self._level is not None else labels[inner]
        )
        return OracleTile(tile=tile, labels=_shuffle(labels, origin))

    def _read(self, window: Window, margin: int) -> tuple[NDArray[Any], tuple[slice, slice]]:
        """Read the label values of `window` grown by `margin`; the slices say where `window` lies in them.

        Pixels that the raster marks as no data (nodata value or mask) become background.
        """
        import rasterio

        wanted = window.shifted(*self._offset_rc)
        try:
            if self._dataset is None:
                self._dataset = rasterio.open(self._href)
            raster = Window(row0=0, col0=0, row1=self._dataset.height, col1=self._dataset.width)
            if wanted.intersect(raster) != wanted:
                raise InputError(
                    "the label raster must cover every tile",
                    came=f"{self._href} has {raster.shape} pixels, a tile needs {wanted}",
                    remedy="use the labels.tif that belongs to the scene",
                )
            grown = Window(
                row0=max(wanted.row0 - margin, 0),
                col0=max(wanted.col0 - margin, 0),
                row1=min(wanted.row1 + margin, raster.row1),
                col1=min(wanted.col1 + margin, raster.col1),
            )
            place = ((grown.row0, grown.row1), (grown.col0, grown.col1))
            raw = self._dataset.read(1, window=place)
            raw[self._dataset.read_masks(1, window=place) == 0] = 0
        except rasterio.errors.RasterioError as error:
            raise SourceError(f"label raster {self._href} could not be read: {error}") from error
        if raw.dtype.kind not in "iu":
            raise _not_integer(self._href, raw.dtype.name)
        return raw, wanted.slices_in(grown)


def background_text(labels_href: str) -> str:
    """Say which values of a label raster are no objects. Raises InputError when it does not open."""
    import rasterio

    try:
        with rasterio.open(labels_href) as dataset:
            nodata = dataset.nodata
    except rasterio.errors.RasterioError as error:
        raise _unreadable(labels_href, error) from error
    name = labels_href.rpartition("/")[2]
    if nodata is None or nodata == 0:
        return f"every value of {name} is one object, except 0, which is background"
    return (
        f"every value of {name} is one object, except 0 and its nodata value {nodata:g}, which are "
        "background; if 0 is a class of yours, add 1 to every value first"
    )


def check_aligned(labels_href: str, grid: RunGrid) -> tuple[int, int]:
    """Find the (row, column) of the label raster at which the run grid begins, from the file's header.

    Raises InputError when the CRSs differ, when the raster does not cover the grid, when it does not hold
    integers, and the errors of `grid_offset`. The message names both sides.
    """
    import rasterio
    from rasterio.crs import CRS

    try:
        with rasterio.open(labels_href) as dataset:
            if np.dtype(dataset.dtypes[0]).kind not in "iu":
                raise _not_integer(labels_href, dataset.dtypes[0])
            grid_crs = CRS.from_wkt(grid.crs_wkt) if grid.crs_wkt else None
            if (dataset.crs or None) != grid_crs:
                crs = f"its CRS is {_name(dataset.crs)}, the run's is {_name(grid_crs)}"
                raise _misaligned(labels_href, crs)
            row, col = grid_offset(dataset, grid)
            height, width = dataset.shape
    except rasterio.errors.RasterioError as error:
        raise _unreadable(labels_href, error) from error
    if min(row, col) < 0 or row + grid.height > height or col + grid.width > width:
        needs = f"the run grid needs {grid.height} x {grid.width} from pixel {(row, col)}"
        raise _misaligned(labels_href, f"it has {height} x {width} pixels, {needs}")
    return row, col


def grid_offset(labels: DatasetReader, grid: RunGrid) -> tuple[int, int]:
    """Find the (row, column) of an open label raster at which the run grid begins, also outside of it.

    Raises InputError when pixel sizes differ or the two are offset by part of a pixel. CRSs are not compared.
    """
    a, b, c, d, e, f = tuple(labels.transform)[:6]
    offset = offset_on(grid.transform, (a, b, c, d, e, f), width=labels.width, height=labels.height)
    if offset is not None:
        return -offset[0], -offset[1]
    if (a, b, d, e) != (grid.transform[0], grid.transform[1], grid.transform[3], grid.transform[4]):
        sizes = f"its transform is {(a, b, c, d, e, f)}, the run's is {grid.transform}"
        raise _misaligned(labels.name, sizes)
    col, row = ~labels.transform @ (grid.transform[2], grid.transform[5])
    start = f"the run grid starts at its pixel (row {row:.3f}, column {col:.3f})"
    raise _misaligned(labels.name, f"{start}, not on a pixel corner")


def _name(crs: Any) -> str:
    return crs.to_string() if crs else "none"


def _misaligned(href: str, detail: str) -> InputError:
    what = "the label raster must lie on the run grid's pixels"
    return InputError(what, came=f"{href}: {detail}", remedy="use the labels.tif of this scene")


def _unreadable(href: str, error: Exception) -> InputError:
    return InputError(
        "the oracle needs a readable label raster", came=f"{href}: {error}", remedy="check the path"
    )


def _not_integer(href: str, dtype: str) -> InputError:
    return InputError(
        "the label raster must hold integers, 0 = background",
        came=f"{href} of type {dtype}",
        remedy="write instance ids",
    )


def _compact(raw: NDArray[Any]) -> tuple[list[int], NDArray[np.int32]]:
    """Number the objects of a label window: returns their ids, ascending, and labels 1..n in that order."""
    values, inverse = np.unique(raw, return_inverse=True)
    if values.size and int(values[0]) < 0:
        what = "object ids of a label raster must not be negative"
        raise InputError(what, came=f"{values[0]}", remedy="use 0 for background and ids from 1")
    lead = 0 if values.size and int(values[0]) == 0 else 1
    labels = (inverse.reshape(raw.shape) + lead).astype(np.int32)
    return [int(v) for v in values if v != 0], labels


def _disturb(
    labels: NDArray[np.int32],
    values: list[int],
    level: NoiseLevel,
    origin: tuple[int, int, int],
    inner: tuple[slice, slice],
) -> NDArray[np.int32]:
    """Apply the noise and cut out the inner window; `labels` covers a margin around it.

    Numbers may have gaps afterwards.
    """
    visible = np.bincount(labels[inner].ravel(), minlength=len(values) + 1)
    boxes = ndimage.find_objects(labels)
    out = np.zeros_like(labels)
    next_id = len(values) + 1
    order = sorted(range(1, len(values) + 1), key=lambda i: (-int((labels[boxes[i - 1]] == i).sum()), i))
    for local in order:  # large objects first, so that small ones stay visible on top
        rng = np.random.default_rng((*origin, values[local - 1] + 1))
        draws = rng.random(3)
        shift = rng.integers(-level.shift_px, level.shift_px + 1, size=3)
        miss = level.miss + (level.miss_small if visible[local] < SMALL_OBJECT_PX else 0.0)
        if visible[local] == 0 or draws[0] < miss:
            continue
        window = _grown(boxes[local - 1], 2 * level.shift_px, labels.shape)
        truth = labels[window] == local
        mask = _moved(truth, int(shift[0]), int(shift[1]), int(shift[2]))
        target = local
        if draws[1] < level.merge:
            target = _touching(labels[_grown(boxes[local - 1], 1, labels.shape)], local) or local
        out[window][mask] = target
        if draws[2] < level.split:
            out[window][mask & _second_half(mask)] = next_id
            next_id += 1
    return out[inner]


def _grown(box: tuple[slice, slice], margin: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, cols = box
    return (
        slice(max(rows.start - margin, 0), min(rows.stop + margin, shape[0])),
        slice(max(cols.start - margin, 0), min(cols.stop + margin, shape[1])),
    )


def _moved(mask: NDArray[np.bool_], rows: int, cols: int, grow: int) -> NDArray[np.bool_]:
    """Shift a mask, then dilate it (grow > 0) or erode it (grow < 0), but never to nothing."""
    moved: NDArray[np.bool_] = ndimage.shift(
        mask.astype(np.uint8), (rows, cols), order=0, mode="nearest"
    ).astype(np.bool_)
    if grow > 0:
        return np.asarray(ndimage.binary_dilation(moved, iterations=grow))
    if grow < 0:
        eroded: NDArray[np.bool_] = ndimage.binary_erosion(moved, iterations=-grow, border_value=1)
        return eroded if eroded.any() else moved
    return moved


def _touching(labels: NDArray[np.int32], local: int) -> int:
    """Find the object that shares the longest border with this one (4-neighbours). 0: none touches it."""
    ring = ndimage.binary_dilation(labels == local) & (labels != local) & (labels != 0)
    return int(np.bincount(labels[ring]).argmax()) if ring.any() else 0


def _second_half(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark all pixels beyond the middle of the longer side of the mask's bounding box."""
    rows, cols = np.nonzero(mask)
    row_grid, col_grid = np.indices(mask.shape)
    if rows.size == 0:
        return np.zeros_like(mask)
    if np.ptp(rows) >= np.ptp(cols):
        return np.asarray(2 * row_grid > rows.min() + rows.max())
    return np.asarray(2 * col_grid > cols.min() + cols.max())


def _shuffle(labels: NDArray[np.int32], origin: tuple[int, int, int]) -> NDArray[np.int32]:
    """Renumber the remaining objects 1..n, in a random order seeded by `origin`."""
    present = np.unique(labels)
    present = present[present != 0]
    order = np.random.default_rng((*origin, _SHUFFLE_KEY)).permutation(present.size) + 1
    table = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int32)
    table[present] = order
    return table[labels]
