"""Blocks become pixels: one windowed read per scene and block, of which tiles are slices.

1. `CogReader.read` walks the scenes in order of priority: the first valid pixel wins.
2. `_read_scene` reads a scene on the grid's lattice pixel for pixel, any other through a `WarpedScene`.
3. Where the scene's quality mask hides the ground, the next scene may show it. What none of them shows is in
   `BlockImage.hidden`. A mask that cannot be read fails as its scene does.
4. A failing read is tried once more with a fresh handle. Then the block is read tile by tile, and tiles that
   still fail are in `BlockImage.unreadable`. A source that fails again and again is not asked any more
   (`source_breaker`).
5. `CogReader.read_rgb` reads a picture for people, whole or not at all.

Pixels without imagery are invalid and black. One reader serves one thread; it pickles without its open files.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from pipeline.errors import SourceError, TerraqueryError
from pipeline.files.gdal_text import gdal_message, plain_message
from pipeline.files.raster_access import href_kind, open_raster, raster_environment
from pipeline.files.traffic import traffic
from pipeline.load.canvas import Canvas, OwnPixels
from pipeline.load.collar import collar_on_window, collar_warped
from pipeline.load.mask_lattice import Marks
from pipeline.load.prepare_scenes import LoadOptions, SceneSource
from pipeline.load.quality import OpenMarks, open_marks, quality_source
from pipeline.load.source_breaker import GivenUpError, SourceBreaker
from pipeline.load.stretch import apply_stretch
from pipeline.load.validity import alpha_band, dataset_validity, opened_by
from pipeline.load.warped_scene import WarpedScene
from pipeline.schema.imagery import BlockImage, Scene
from pipeline.schema.tiling import BlockSpec, RunGrid, TileSpec, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_log = logging.getLogger(__name__)

RETRY_PAUSE_S = 1.0
"""Pause before a failed remote read is tried again; GDAL has retried single requests by then."""

READ_ERRORS = (RasterioError, TerraqueryError, OSError, MemoryError)
"""Errors of a read that are one tile's problem, not the run's."""


class TileReader(Protocol):
    """Reads windows of pixels with handles that stay open; hrefs are signed here and not before."""

    def read(self, block: BlockSpec) -> BlockImage:
        """Read pixels and validity over block.read.

        Unreadable imagery raises nothing: the result lists such tiles.
        """
        ...

    def left_behind(self) -> TileReader:
        """Give a fresh reader for the same imagery, when a read of this one does not come back."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Handle:
    dataset: DatasetReader
    warped: WarpedScene | None
    """The dataset on the run grid's lattice; None: it is on this lattice itself."""

    def close(self) -> None:
        if self.warped is not None:
            self.warped.close()
        self.dataset.close()


class CogReader:
    """`TileReader` over GeoTIFFs and COGs, local or remote."""

    def __init__(
        self,
        sources: Sequence[SceneSource],
        grid: RunGrid,
        *,
        options: LoadOptions | None = None,
        breaker: SourceBreaker | None = None,
    ) -> None:
        """`sources`: in order of priority, from `prepare_scenes`. `breaker`: knows which are not worth
        asking; None: all are. Opens nothing yet.
        """
        self._breaker = breaker or SourceBreaker(0, 1.0)
        self._at_work: Scene | None = None
        self._sources = tuple(sources)
        self._grid = grid
        self._options = options or LoadOptions()
        self._handles: OrderedDict[int, _Handle] = OrderedDict()
        self._masks: OrderedDict[int, OpenMarks] = OrderedDict()
        self._close_at_the_end()

    def __getstate__(self) -> dict[str, object]:
        kept = {key: value for key, value in self.__dict__.items() if key != "_closing"}
        return {**kept, "_handles": OrderedDict(), "_masks": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._close_at_the_end()

    def close(self) -> None:
        """Close all files. The reader may go on reading; it opens them again."""
        _close_all(self._handles, self._masks)

    def _close_at_the_end(self) -> None:
        """Have files closed with the reader, and before Python ends: GDAL closes a remote file by calling
        Python, and a process that is past its end would die of it.
        """
        self._closing = weakref.finalize(self, _close_all, self._handles, self._masks)

    def left_behind(self) -> CogReader:
        """Give a fresh reader. The scene whose read does not come back has failed. Nobody closes its files:
        the read is at work in them.
        """
        self._closing.detach()
        if self._at_work is not None:
            self._breaker.hung(self._at_work)
        return CogReader(self._sources, self._grid, options=self._options, breaker=self._breaker)

    def read(self, block: BlockSpec) -> BlockImage:
        """Read `block.read` from all scenes; see `TileReader.read`."""
        canvas = Canvas(block.read)
        unreadable: dict[str, str] = {}
        for index in range(len(self._sources)):
            window = block.read.intersect(self._sources[index].window)
            if window is None:
                continue
            if canvas.is_full(window):
                continue
            if failure := self._sources[index].scene.failure:
                unreadable |= _failed_tiles(block, self._sources[index], canvas, failure)
                continue
            try:
                pixels = self._read_twice(index, window)
            except READ_ERRORS as error:
                _log.warning(
                    "block %s: %s; reading its tiles one by one", block.block_id, plain_message(error)
                )
                _log.info("block %s: %s", block.block_id, _raw(error))
                unreadable |= self._read_tiles(index, block, canvas)
                continue
            canvas.fill(window, pixels, number=index)
        return BlockImage(
            block=block,
            rgb=canvas.rgb,
            valid=canvas.valid,
            unreadable=unreadable,
            scenes=canvas.scenes(),
            hidden=canvas.hidden(),
        )

    def read_rgb(self, window: Window) -> NDArray[np.uint8]:
        """Read a picture (h, w, 3) of a window. Raises SourceError unless all of it can be read."""
        canvas = Canvas(window)
        for index, source in enumerate(self._sources):
            part = window.intersect(source.window)
            if part is None or canvas.is_full(part):
                continue
            if source.scene.failure:
                raise SourceError(f"{source.scene.scene_id}: {source.scene.failure}")
            try:
                canvas.fill(part, self._read_twice(index, part), number=index)
            except READ_ERRORS as error:
                raise SourceError(f"{source.scene.scene_id}: {plain_message(error)}") from error
        return canvas.rgb

    def _read_tiles(self, index: int, block: BlockSpec, canvas: Canvas) -> dict[str, str]:
        """Fill the canvas tile by tile; returns tile_id -> error.

        One failing scene is enough: filling the tile from the next one would silently change the imagery.
        """
        failed: dict[str, str] = {}
        self._drop(index)
        for tile in block.tiles:
            window = _missing(tile, self._sources[index], canvas)
            if window is None:
                continue
            try:
                pixels = self._read_scene(index, window, patient=False)
            except READ_ERRORS as error:
                self._drop(index)
                scene = self._sources[index].scene
                name = scene.scene_id if scene.band_files else scene.href  # the error names the band's file
                failed[tile.tile_id] = f"{name}: {plain_message(error)}"
                _log.info("tile %s: %s: %s", tile.tile_id, name, _raw(error))
                continue
            canvas.fill(window, pixels, number=index)
        self._drop(index)
        return failed

    def _read_twice(self, index: int, window: Window) -> OwnPixels:
        try:
            return self._read_scene(index, window)
        except GivenUpError:
            raise
        except READ_ERRORS as error:
            href = self._sources[index].scene.href
            _log.info("reading %s once more after: %s", href, _raw(error))
            self._drop(index)
            if href_kind(href) != "local":
                time.sleep(RETRY_PAUSE_S)
            return self._read_scene(index, window)

    def _read_scene(self, index: int, window: Window, *, patient: bool = True) -> OwnPixels:
        """Read a window of the run grid from one scene and its mask, unless the scene was given up."""
        scene = self._sources[index].scene
        trial = self._breaker.let_through(scene)
        self._at_work = scene
        try:
            pixels = self._own_pixels(index, window, patient=patient and not trial)
        except READ_ERRORS as error:
            self._breaker.failed(scene, error)
            raise
        finally:
            self._at_work = None
        self._breaker.succeeded(scene)
        return pixels

    def _own_pixels(self, index: int, window: Window, *, patient: bool) -> OwnPixels:
        source = self._sources[index]
        with raster_environment(source.scene, patient=patient):
            handle = self._handle(index)
            if handle.warped is None:
                values, valid = _read_stored(handle.dataset, source, window)
            else:
                values, valid = _read_warped(handle.warped, source, window)
            if source.collar is not None and handle.warped is not None:
                valid &= ~collar_warped(source.collar, source.scene, self._grid, window, values)
        hidden = None
        if source.scene.quality is not None and valid.any():
            marks = self._marks(index, window, patient=patient)
            valid &= ~marks.lacking
            hidden = valid & marks.hidden
            valid &= ~marks.hidden
        rgb = apply_stretch(values, source.stretch)
        if not valid.all():
            np.multiply(rgb, valid[..., None], out=rgb)  # black; less than half the time of an index
        return OwnPixels(rgb=rgb, valid=valid, hidden=hidden)

    def _marks(self, index: int, window: Window, *, patient: bool) -> Marks:
        """What a scene's mask says of a window of the run grid."""
        scene = self._sources[index].scene
        with raster_environment(quality_source(scene), patient=patient):
            traffic.add("files_hits" if index in self._masks else "files_misses")
            if index not in self._masks:
                while len(self._masks) >= self._options.open_files:
                    self._masks.popitem(last=False)[1].close()
                self._masks[index] = open_marks(scene, self._grid)
            self._masks.move_to_end(index)
            return self._masks[index].marks(window)

    def _handle(self, index: int) -> _Handle:
        """Open a scene's dataset, or find it open; call this inside its raster environment.

        The least recently used is closed first. Opening one per read doubles bytes and decoding.
        """
        if index in self._handles:
            self._handles.move_to_end(index)
            traffic.add("files_hits")
            return self._handles[index]
        while len(self._handles) >= self._options.open_files:
            self._handles.popitem(last=False)[1].close()
        traffic.add("files_misses")
        source = self._sources[index]
        dataset = open_planned(source)
        try:
            warped = None if source.offset_rc is not None else self._warped(dataset, source)
        except BaseException:
            dataset.close()
            raise
        self._handles[index] = _Handle(dataset=dataset, warped=warped)
        return self._handles[index]

    def _warped(self, dataset: DatasetReader, source: SceneSource) -> WarpedScene:
        """Alpha is added only where no validity would survive the warp. The transform is the plan's, and may
        put the scene on another turn of the globe than its file does.
        """
        assert source.scene.crs_wkt is not None
        carries_validity = alpha_band(dataset) is not None or dataset.nodata is not None
        return WarpedScene(
            dataset,
            source.scene.crs_wkt,
            self._grid,
            Resampling[self._options.resampling],
            add_alpha=not carries_validity,
            src_transform=Affine(*source.scene.transform),
        )

    def _drop(self, index: int) -> None:
        for files in (self._handles, self._masks):
            file = files.pop(index, None)
            if file is not None:
                file.close()


def _close_all(*open_files: OrderedDict[int, Any]) -> None:
    for files in open_files:
        while files:
            files.popitem()[1].close()


def _missing(tile: TileSpec, source: SceneSource, canvas: Canvas) -> Window | None:
    """The part of a tile that a scene is to fill. None: it covers none, or earlier scenes have filled it."""
    window = tile.read.intersect(source.window)
    return None if window is None or canvas.is_full(window) else window


def _failed_tiles(block: BlockSpec, source: SceneSource, canvas: Canvas, failure: str) -> dict[str, str]:
    """Tiles that need a scene which cannot be read: tile_id -> error."""
    return {
        tile.tile_id: f"{source.scene.scene_id}: {failure}"
        for tile in block.tiles
        if _missing(tile, source, canvas) is not None
    }


def open_planned(source: SceneSource) -> DatasetReader:
    """Open a scene as `open_raster` does, with the validity that was settled for it."""
    dataset = open_raster(source.scene)
    if not source.validity.rewritten:
        return dataset
    with dataset:
        return opened_by(dataset, source.validity)


def _read_stored(
    dataset: DatasetReader, source: SceneSource, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read stored values (3, h, w) and validity (h, w) of a scene on the run grid's lattice."""
    assert source.offset_rc is not None
    own = window.shifted(-source.offset_rc[0], -source.offset_rc[1])
    where = RasterWindow(own.col0, own.row0, own.width, own.height)
    pixels = np.empty((*window.shape, 3), dtype=source.scene.dtype)  # 8-bit pictures stay as they lie here
    values = dataset.read(list(source.scene.rgb_bands), window=where, out=np.moveaxis(pixels, -1, 0))
    valid = dataset_validity(dataset, values, window=where)
    if source.collar is not None:
        valid &= ~collar_on_window(source.collar, own, values)
    return values, valid


def _read_warped(
    warped: WarpedScene, source: SceneSource, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read resampled values (3, h, w) and validity (h, w) of a scene on another lattice."""
    values = np.zeros((3, *window.shape), dtype=source.scene.dtype)
    valid = np.zeros(window.shape, dtype=np.bool_)
    for part in warped.parts(window):
        rows, cols = part.piece.slices_in(window)
        found = part.dataset.read(list(source.scene.rgb_bands), window=part.where)
        values[:, rows, cols] = found
        valid[rows, cols] = dataset_validity(part.dataset, found, window=part.where)
    return values, valid


def _raw(error: BaseException) -> str:
    return f"{type(error).__name__}: {gdal_message(error)}"
