"""One bounded look at a scene, before any worker reads it. Stretch, collar and shares are settled from it.

1. A scene with overviews, or one that is small enough, is read whole and decimated (`LookSize`).
2. A larger one is sampled in windows that lie evenly over it. Where these hold little imagery, windows are
   added in which the file stores something (`_windows_with_data`), so that a narrow strip is found too. No
   scene costs more than `MAX_WINDOWS` windows.
3. `settle_rule` (validity.py) decides what in the file says which pixels are imagery.
4. Where the scene has a quality mask, it is looked at in the same places (`_with_marks`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from rasterio.windows import Window as RasterWindow

from pipeline.errors import SourceError
from pipeline.files.gdal_text import gdal_message, plain_message
from pipeline.files.raster_access import href_kind, open_raster, raster_environment
from pipeline.files.value_tags import unused_tags
from pipeline.load.collar import LOSSY
from pipeline.load.mask_lattice import Marks
from pipeline.load.quality import QualityFile, quality_source
from pipeline.load.validity import (
    ValidityRule,
    alpha_band,
    band_validity,
    dataset_validity,
    opened_by,
    settle_rule,
    unused_mask,
)
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_log = logging.getLogger(__name__)

SIDE_PX = 2048
"""Longest side of the decimated look."""

FULL_READ_BYTES = 768_000_000
"""Decoded bytes of red, green and blue up to which a scene without overviews is read once as a whole: 256
million pixels of 8 bits.
"""

WINDOW_PX = 256
"""Side of the windows in which larger scenes are sampled."""

EVEN_WINDOWS = 64
"""Windows that lie evenly over the scene."""

MAX_WINDOWS = 320
"""Windows read at most, those that follow the imagery included."""

WANTED_PX = 500_000
"""Valid pixels that a sample should have; with fewer, more windows are read."""

MAX_CANDIDATES = 16_384
"""Windows of which the file is asked whether it stores anything there."""


@dataclass(frozen=True, kw_only=True)
class LookPart:
    """One read of a look: (h, w) pixels that stand for `window` of the scene."""

    window: Window
    """In pixels of the scene."""
    values: NDArray[Any]
    """(3, h, w) as stored: red, green, blue."""
    valid: NDArray[np.bool_]
    """(h, w); True = imagery, as far as the file says."""
    band_valid: NDArray[np.bool_]
    """(3, h, w); True = the band has a value there."""
    even: bool = True
    """Whether it lies evenly over the scene, or was added because imagery is there."""
    marks: Marks | None = None
    """What the scene's quality mask says of these pixels. None: it has none."""

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(h, w); True = no quality mask hides the ground or denies the imagery."""
        if self.marks is None:
            return np.ones(self.valid.shape, dtype=np.bool_)
        shown: NDArray[np.bool_] = ~(self.marks.hidden | self.marks.lacking)
        return shown


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """What one look at a scene shows."""

    rule: ValidityRule
    parts: tuple[LookPart, ...]
    """One of the whole scene, or windows. Empty: nothing could be read."""
    cell_px: int
    """Pixels of the scene per pixel of the look."""
    lossy: bool
    """Whether the file is compressed with loss."""
    notes: tuple[str, ...] = ()
    """What a person should know of it."""

    @property
    def whole(self) -> LookPart | None:
        """The decimated picture of the whole scene. None: it was sampled in windows."""
        return self.parts[0] if len(self.parts) == 1 and self.cell_px else None


def _page_notes(pages: Sequence[str]) -> tuple[str, ...]:
    """Say that a file holds several images. Overviews and masks are none."""
    if len(pages) < 2:
        return ()
    return (
        f"the file holds {len(pages)} images, and the first alone is looked at; "
        "`gdal_translate GTIFF_DIR:2:in.tif out.tif` makes a file of the second",
    )


@dataclass(frozen=True, kw_only=True)
class LookSize:
    """How much of a scene is read at most."""

    side_px: int
    """Longest side of the decimated look."""
    full_read_bytes: int
    """Decoded bytes up to which a scene, or the overview that is fit for the look, is read as a whole."""
    sampled: bool = True
    """Whether a larger scene is sampled in windows. False: it is not, and the look has no parts."""


class NotAloneError(Exception):
    """Pixels of a scene cannot be read while other threads open or close datasets.

    That is where GDAL itself opens remote files, as parts of a VRT. It holds its lock over all datasets
    meanwhile and asks Python for their bytes. A thread that closes a dataset waits for that lock and holds
    Python's, so neither would go on.
    """


def look_at(
    scene: Scene, *, nodata: str = "file", alone: bool = True, size: LookSize | None = None
) -> FirstLook:
    """Look at one scene; `nodata` as in `LoadOptions`, `size`: None: as a run looks at it.

    `alone`: whether no other thread opens or closes datasets. Parts that cannot be read are left out, with a
    warning. Raises InputError and SourceError as `open_raster` does, SourceError for a quality mask that does
    not fit or cannot be read, and NotAloneError.
    """
    size = size or LookSize(side_px=SIDE_PX, full_read_bytes=FULL_READ_BYTES)
    apart = not alone and any(href_kind(file.href) != "local" for file in scene.files)
    if apart and scene.band_files:
        raise NotAloneError
    with ExitStack() as stack:
        stack.enter_context(raster_environment(scene))
        raw = stack.enter_context(open_raster(scene))
        whole = _whole(raw, size)
        windows = [whole] if whole else _even_windows(raw) if size.sampled else []
        alpha, textured = _alpha_sample(raw, scene, windows)
        rule, notes = settle_rule(raw, nodata=nodata, alpha_sample=alpha, textured=textured)
        if rule.kind == "none" and alpha is None and raw.count not in scene.rgb_bands:
            notes = (*notes, *unused_mask(raw, raw.count, _band_sample(raw, raw.count, windows)))
        notes = (*notes, *_page_notes(raw.subdatasets))
        if tags := unused_tags(raw, scene.rgb_bands, scene.reflectance):
            notes = (*notes, tags)
        if apart and rule.rewritten:
            raise NotAloneError
        lossy = raw.compression is not None and raw.compression.value.partition("_")[0] in LOSSY
        dataset = opened_by(raw, rule)
        if dataset is not raw:
            stack.enter_context(dataset)
        parts = [part for item in windows if (part := _read(dataset, scene, item)) is not None]
        if windows and not whole and _n_valid(parts) < WANTED_PX:
            stored = raw
            if scene.band_files:  # the dataset does not know what its files store; red stands for all
                stored = stack.enter_context(open_raster(replace(scene, band_files=())))
            for item in _windows_with_data(stored, windows):
                if (part := _read(dataset, scene, item, even=False)) is not None:
                    parts.append(part)
                if _n_valid(parts) >= WANTED_PX:
                    break
    cell_px = max(1, math.ceil(max(scene.height, scene.width) / size.side_px)) if whole else 0
    return FirstLook(rule=rule, parts=_with_marks(parts, scene), cell_px=cell_px, lossy=lossy, notes=notes)


def _with_marks(parts: list[LookPart], scene: Scene) -> tuple[LookPart, ...]:
    """The parts with what the scene's quality mask says of them. Raises SourceError.

    A mask that has to be computed says nothing here: it would take minutes per scene.
    """
    if scene.quality is None or scene.quality.model:
        return tuple(parts)
    with raster_environment(quality_source(scene)):
        mask = QualityFile(scene)
        try:
            marked = [
                replace(part, marks=mask.marks_of_look(part.window, part.valid.shape)) for part in parts
            ]
        except RasterioIOError as error:
            raise SourceError(
                f"The quality mask {scene.quality.file.href} must be readable. Got: {plain_message(error)}. "
                "To fix: replace the file, or give --mask off"
            ) from error
        finally:
            mask.close()
    return tuple(marked)


def _n_valid(parts: list[LookPart]) -> int:
    return sum(int(part.valid.sum()) for part in parts)


@dataclass(frozen=True, kw_only=True)
class _Read:
    window: Window
    shape: tuple[int, int]

    @property
    def place(self) -> RasterWindow:
        return RasterWindow(self.window.col0, self.window.row0, self.window.width, self.window.height)


def _whole(dataset: DatasetReader, look: LookSize) -> _Read | None:
    """The decimated read of the whole scene. None: it would cost too much."""
    height = int(dataset.height)
    width = int(dataset.width)
    factor = max(1, math.ceil(max(height, width) / look.side_px))
    level = max((level for level in dataset.overviews(1) if level <= factor), default=1)
    size = 3 * height * width * np.dtype(dataset.dtypes[0]).itemsize
    if size > look.full_read_bytes * level**2:
        return None
    return _Read(
        window=Window(row0=0, col0=0, row1=height, col1=width),
        shape=(math.ceil(height / factor), math.ceil(width / factor)),
    )


def _even_windows(dataset: DatasetReader) -> list[_Read]:
    return [_square(dataset, row, col) for row, col in _places(dataset, EVEN_WINDOWS)]


def _places(dataset: DatasetReader, count: int) -> Iterator[tuple[int, int]]:
    """At most `count` squares (row, col) of WINDOW_PX, no two alike, evenly however many are taken.

    The points are those of the additive recurrence R2 (M. Roberts, 2018).
    """
    rows = math.ceil(dataset.height / WINDOW_PX)
    cols = math.ceil(dataset.width / WINDOW_PX)
    ratio = 1.32471795724474602596
    seen: set[tuple[int, int]] = set()
    for index in range(4 * count):
        row = int((0.5 + index / ratio) % 1 * rows)
        col = int((0.5 + index / ratio**2) % 1 * cols)
        if (row, col) not in seen:
            seen.add((row, col))
            yield row, col
        if len(seen) >= min(count, rows * cols):
            return


def _square(dataset: DatasetReader, row: int, col: int) -> _Read:
    window = Window(
        row0=row * WINDOW_PX,
        col0=col * WINDOW_PX,
        row1=min((row + 1) * WINDOW_PX, dataset.height),
        col1=min((col + 1) * WINDOW_PX, dataset.width),
    )
    return _Read(window=window, shape=window.shape)


def _windows_with_data(dataset: DatasetReader, but: list[_Read]) -> Iterator[_Read]:
    """Windows in which the file stores something, those with much first, without those of `but`.

    An internal tile or strip without an offset is not stored at all. One of a single value is stored in few
    bytes, where the file is compressed.
    """
    done = {item.window for item in but}
    found = []
    for row, col in _places(dataset, MAX_CANDIDATES):
        item = _square(dataset, row, col)
        stored = _stored_bytes(dataset, item.window)
        if stored and item.window not in done:
            found.append((stored, item))
    most = max((stored for stored, _ in found), default=0)
    found.sort(key=lambda pair: pair[0] * 16 < most)  # stable: evenly spread within both groups
    for _, item in found[: MAX_WINDOWS - len(but)]:
        yield item


def _stored_bytes(dataset: DatasetReader, window: Window) -> int:
    """Compressed size of the internal tile in the middle of a window; 0: the file does not store it."""
    block_rows, block_cols = dataset.block_shapes[0]
    row = (window.row0 + window.row1) // 2 // block_rows
    col = (window.col0 + window.col1) // 2 // block_cols
    size = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
    return int(size or 0)


def _alpha_sample(
    dataset: DatasetReader, scene: Scene, reads: list[_Read]
) -> tuple[NDArray[Any] | None, bool]:
    """Values (n,) of the band that is tagged alpha, and whether the colours vary. None: no band is."""
    index = alpha_band(dataset)
    if index is None:
        return None, False
    red = _band_sample(dataset, scene.rgb_bands[0], reads)
    return _band_sample(dataset, index, reads), bool((red != red[:1]).any())


def _band_sample(dataset: DatasetReader, index: int, reads: list[_Read]) -> NDArray[Any]:
    """Values (n,) of one band; n is 0 where nothing is readable."""
    found = [np.empty(0, dtype=dataset.dtypes[index - 1])]
    for item in reads:
        with suppress(RasterioIOError):
            found.append(dataset.read(index, window=item.place, out_shape=item.shape).ravel())
    return np.concatenate(found)


def _read(dataset: DatasetReader, scene: Scene, item: _Read, *, even: bool = True) -> LookPart | None:
    """One part of a look. None: it is unreadable."""
    try:
        values = dataset.read(
            list(scene.rgb_bands), window=item.place, out_shape=(len(scene.rgb_bands), *item.shape)
        )
        valid = dataset_validity(dataset, values, window=item.place, out_shape=item.shape)
    except RasterioIOError as error:
        _log.warning("%s: part of the first look is unreadable: %s", scene.href, plain_message(error))
        _log.info("%s: %s", scene.href, gdal_message(error))
        return None
    return LookPart(
        window=item.window,
        values=values,
        valid=valid,
        band_valid=band_validity(values, dataset.nodata) & valid,
        even=even,
    )
