"""The nouns that pass between stages. They check themselves and do arithmetic on themselves, nothing more.

    grid      RunGrid, TileLattice, TileSpec, BlockSpec, Scene
    load      TileImage, BlockImage
    prompt    Prompt, TilePrompts
    segment   MaskCrop
    stitch    Fragment, TileRecord

Intervals are half-open. Pixel (row r, col c) is the square [c, c+1] x [r, r+1]. In every mask of validity
`True` = valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.geo.pixel_rules import check_tiling
from pipeline.geo.scene_pixels import ScenePixels

AffineTuple = tuple[float, float, float, float, float, float]
"""Six floats (a, b, c, d, e, f): x = a*col + b*row + c and y = d*col + e*row + f."""

SCORE_SCALE = 254
"""Published score byte = round(score * 254), so 255 stays free as fill."""

SCORE_Q_SCALE = 65535
"""Scores inside the merge are integers in 1/65535, so that sums do not depend on the order of addition."""


class TileStatus(StrEnum):
    """What became of one planned tile: planned = found + empty + failed."""

    FOUND = "found"
    EMPTY = "empty"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a tile is empty or failed. NONE belongs to `found` alone."""

    NONE = ""
    OUTSIDE_AOI = "outside_aoi"
    NODATA = "nodata"
    CLOUD = "cloud"
    GATE = "gate"
    PROMPTER = "prompter"
    VERIFIER = "verifier"
    UNREADABLE = "unreadable"
    MALFORMED = "malformed"
    MODEL_ERROR = "model_error"
    CRASHED = "crashed"
    TIMEOUT = "timeout"


def tile_id(tile_row: int, tile_col: int) -> str:
    """Name of the tile at a lattice position, as every file has it."""
    return f"r{tile_row:05d}c{tile_col:05d}"


def block_id(block_row: int, block_col: int) -> str:
    """Name of the block at a lattice position, as every file has it; also the stem of its record's file."""
    return f"b{block_row:05d}_{block_col:05d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A half-open rectangle of pixels of the run grid: rows [row0, row1), columns [col0, col1)."""

    row0: int
    col0: int
    row1: int
    col1: int

    def __post_init__(self) -> None:
        if self.row1 < self.row0 or self.col1 < self.col0:
            raise ValueError(
                "Window must not be inside out, "
                f"got rows [{self.row0}, {self.row1}), cols [{self.col0}, {self.col1})"
            )

    @property
    def height(self) -> int:
        return self.row1 - self.row0

    @property
    def width(self) -> int:
        return self.col1 - self.col0

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def area_px(self) -> int:
        return self.height * self.width

    @classmethod
    def around(cls, windows: Sequence[Window]) -> Window:
        """The smallest window that holds all of `windows` (at least one)."""
        row0 = min(w.row0 for w in windows)
        col0 = min(w.col0 for w in windows)
        return cls(row0=row0, col0=col0, row1=max(w.row1 for w in windows), col1=max(w.col1 for w in windows))

    def intersect(self, other: Window) -> Window | None:
        """The common rectangle. None: it has no pixel."""
        row0 = max(self.row0, other.row0)
        col0 = max(self.col0, other.col0)
        row1 = min(self.row1, other.row1)
        col1 = min(self.col1, other.col1)
        return Window(row0=row0, col0=col0, row1=row1, col1=col1) if row0 < row1 and col0 < col1 else None

    def slices_in(self, outer: Window) -> tuple[slice, slice]:
        """Numpy slices (rows, cols) that cut this window out of an array covering `outer`."""
        rows = slice(self.row0 - outer.row0, self.row1 - outer.row0)
        return rows, slice(self.col0 - outer.col0, self.col1 - outer.col0)

    def shifted(self, rows: int, cols: int) -> Window:
        return Window(
            row0=self.row0 + rows, col0=self.col0 + cols, row1=self.row1 + rows, col1=self.col1 + cols
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunGrid:
    """The lattice of `height` x `width` pixels that a run works and writes in, with its CRS and affine."""

    crs_wkt: str | None
    """WKT2 of the CRS; None for rasters without one (outputs then stay in pixel space)."""
    transform: AffineTuple
    """Affine that takes (col, row) pixel edges to CRS coordinates."""
    width: int
    height: int

    @property
    def window(self) -> Window:
        return Window(row0=0, col0=0, row1=self.height, col1=self.width)


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSpec:
    """One tile: its place in the lattice, the window the models see and the window it owns."""

    tile_row: int
    tile_col: int
    core: Window
    """Write window; cores partition the grid."""
    read: Window
    """Core grown by the halo, clipped to the grid."""

    @property
    def tile_id(self) -> str:
        return tile_id(self.tile_row, self.tile_col)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """K x K tiles: one read, one dataset row, one committed record, one Zarr shard, one writer."""

    block_row: int
    block_col: int
    core: Window
    """Union of the cores of ALL tiles of the block (also those outside the AOI): the Zarr shard's window."""
    read: Window
    """Bounding window of the read windows of `tiles`."""
    tiles: tuple[TileSpec, ...]
    """The tiles of this block that are looked at (inside AOI and footprint), row-major."""

    @property
    def block_id(self) -> str:
        return block_id(self.block_row, self.block_col)


@dataclass(frozen=True, kw_only=True, slots=True)
class TileLattice:
    """How a run grid is cut: tiles of `tile_px` with `halo_px` on each side, grouped in K x K blocks."""

    grid: RunGrid
    tile_px: int
    """Side of the read window, in pixels."""
    halo_px: int
    block_tiles: int
    """K: tiles per block side."""

    def __post_init__(self) -> None:
        check_tiling(self.tile_px, self.halo_px, self.block_tiles)

    @property
    def core_px(self) -> int:
        """Side of the write window: tile_px - 2 * halo_px."""
        return self.tile_px - 2 * self.halo_px

    @property
    def shard_px(self) -> int:
        """Side of a block's core window = Zarr shard: core_px * block_tiles."""
        return self.core_px * self.block_tiles

    @property
    def n_tile_rows(self) -> int:
        return -(-self.grid.height // self.core_px)

    @property
    def n_tile_cols(self) -> int:
        return -(-self.grid.width // self.core_px)

    @property
    def n_block_rows(self) -> int:
        return -(-self.n_tile_rows // self.block_tiles)

    @property
    def n_block_cols(self) -> int:
        return -(-self.n_tile_cols // self.block_tiles)

    def tile(self, tile_row: int, tile_col: int) -> TileSpec:
        """The tile at a lattice position; edge tiles have smaller cores."""
        if not (0 <= tile_row < self.n_tile_rows and 0 <= tile_col < self.n_tile_cols):
            raise IndexError(
                f"tile ({tile_row}, {tile_col}) lies outside the lattice "
                f"of {self.n_tile_rows} x {self.n_tile_cols}"
            )
        core = self._square(self.core_px, tile_row, tile_col)
        read = Window(
            row0=max(core.row0 - self.halo_px, 0),
            col0=max(core.col0 - self.halo_px, 0),
            row1=min(core.row1 + self.halo_px, self.grid.height),
            col1=min(core.col1 + self.halo_px, self.grid.width),
        )
        return TileSpec(tile_row=tile_row, tile_col=tile_col, core=core, read=read)

    def block_core(self, block_row: int, block_col: int) -> Window:
        """The window one block writes: its Zarr shard, clipped to the grid."""
        return self._square(self.shard_px, block_row, block_col)

    def tiles_of_block(self, block_row: int, block_col: int) -> Iterator[TileSpec]:
        """All tiles of a block, row-major."""
        k = self.block_tiles
        for tile_row in range(block_row * k, min((block_row + 1) * k, self.n_tile_rows)):
            for tile_col in range(block_col * k, min((block_col + 1) * k, self.n_tile_cols)):
                yield self.tile(tile_row, tile_col)

    def _square(self, side: int, row: int, col: int) -> Window:
        """The square number (row, col) of a raster of squares, clipped to the grid."""
        bottom = min((row + 1) * side, self.grid.height)
        right = min((col + 1) * side, self.grid.width)
        return Window(row0=row * side, col0=col * side, row1=bottom, col1=right)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One source raster, described by its header alone."""

    scene_id: str
    href: str
    """Path or URL as it may be shown; of a signed URL the part before `?`."""
    crs_wkt: str | None
    transform: AffineTuple
    width: int
    height: int
    count: int
    """Number of bands."""
    dtype: str
    """Numpy dtype name of the bands read."""
    rgb_bands: tuple[int, int, int]
    """1-based indexes of the red, green and blue band."""
    nodata: float | None
    identity: Mapping[str, str] = field(default_factory=dict)
    """What pins the content: size_bytes, mtime_ns, ctime_ns and sha256 of a file (sample_sha256 of a large
    one); size_bytes, etag and last_modified of an object."""
    access: str = field(default="", repr=False)
    """What follows `?` in the URL, such as a token. Needed to read, never stored or shown."""
    datetime: str | None = None
    """Acquisition time, RFC 3339, when the file says so."""
    bands: str = ""
    """Which bands red, green and blue are, by name, and who said so; for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileImage:
    """What the models see of one tile."""

    tile: TileSpec
    rgb: NDArray[np.uint8]
    """(H, W, 3) with (H, W) == tile.read.shape, channels red, green, blue; invalid pixels are 0."""
    valid: NDArray[np.bool_]
    """(H, W); True = imagery, False = nodata or outside every scene."""

    @property
    def core_valid(self) -> NDArray[np.bool_]:
        """Validity over the tile's core, (h, w); True = valid."""
        rows, cols = self.tile.core.slices_in(self.tile.read)
        return self.valid[rows, cols]


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockImage:
    """The pixels of one block, read once; tiles are slices of it."""

    block: BlockSpec
    rgb: NDArray[np.uint8]
    """(H, W, 3) over block.read."""
    valid: NDArray[np.bool_]
    """(H, W) over block.read; True = valid."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """tile_id -> error text, for tiles whose pixels could not be read."""
    scenes: ScenePixels = field(default_factory=ScenePixels)
    """Which scene gave each valid pixel of block.read."""

    def tile_image(self, tile: TileSpec) -> TileImage:
        rows, cols = tile.read.slices_in(self.block.read)
        return TileImage(tile=tile, rgb=self.rgb[rows, cols], valid=self.valid[rows, cols])


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Geometry for the segmenter, in continuous coordinates (x right, y down) of the tile's read window, 0 at
    its left and top edge."""

    box_xyxy: tuple[float, float, float, float] | None
    """x0 < x1 and y0 < y1, inside the window, except what the released parser gives in an evaluation. None:
    points alone."""
    points_xy: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    """1 = inside the object, 0 = outside; one per point."""
    label: str = ""
    """Free text from the reply or the prompt file; the query is kept apart."""
    feature_id: str = ""
    attributes: str = ""
    """This and the field before it: id and attributes (a JSON object) of the known location it is from."""

    def __post_init__(self) -> None:
        if self.box_xyxy is None and not self.points_xy:
            raise ValueError("a prompt needs a box or at least one point")
        if len(self.points_xy) != len(self.point_labels):
            n = len(self.points_xy)
            raise ValueError(f"{n} points need as many labels, got {len(self.point_labels)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TilePrompts:
    """A prompter's answer for one tile and one query: FOUND with prompts, EMPTY or FAILED."""

    tile_id: str
    query_index: int
    status: TileStatus
    reason: Reason
    prompts: tuple[Prompt, ...] = ()
    reply: str = ""
    """The model's text, verbatim (of the last attempt)."""
    rationale: str = ""
    """The text of the thinking block, if the reply has one."""
    error: str = ""
    n_dropped: int = 0
    """Items of the reply that could not be used (malformed, degenerate, duplicate)."""
    truncated_reply: bool = False
    """Whether the reply hit the token limit; its complete items were salvaged."""
    n_calls: int = 0
    """Model calls spent, retries included."""
    gate_p: float | None = None
    """A gate's probability that something is there. None: no gate judged."""
    audited: bool = False
    """Whether the gate rejected the tile and the audit's random sample asks the prompter all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskCrop:
    """One mask of a tile, cropped to its bounding box. A mask without pixels is not a MaskCrop."""

    row0: int
    """Top row of the crop in the tile's read window."""
    col0: int
    mask: NDArray[np.bool_]
    """(h, w); True = object."""
    score: float
    """The segmenter's own estimate of mask quality, 0..1."""
    prompt_index: int
    """Index into TilePrompts.prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """One local instance of one tile after flattening: integers only, so that sums never depend on order."""

    local: int
    """1..n, the value in the label image; ordered by smallest pixel of the read window."""
    prompt_index: int
    score_q: int
    """round(score * 65535)."""
    full_px: int
    """Pixels in the read window."""
    core_px: int
    """Pixels in the core; 0 = ghost (the neighbour owns all of it)."""
    anchor: int
    """Smallest global pixel index row * grid.width + col over its CORE pixels; -1 for a ghost."""
    window: Window
    """Bounding window of the whole fragment on the run grid."""
    censored: int
    """Bit set N=1, E=2, S=4, W=8 of borders of the read window that lie inside the grid: the mask or its
    box comes within 2 px of them."""
    margin: int
    """Pixels from the bounding window to the nearest border of the read window that lies inside the grid;
    2**31 - 1: there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileRecord:
    """One row of a block record: one tile and one query, with everything the merge needs."""

    tile: TileSpec
    query_index: int
    status: TileStatus
    reason: Reason
    error: str = ""
    reply: str = ""
    rationale: str = ""
    prompts: tuple[Prompt, ...] = ()
    n_dropped: int = 0
    truncated_reply: bool = False
    n_calls: int = 0
    valid_px: int = 0
    """Valid pixels of the core."""
    labels: NDArray[np.uint16] | None = None
    """(H, W) over tile.read, 0 = background, 1..n = Fragment.local; None when nothing was found."""
    fragments: tuple[Fragment, ...] = ()
    gate_p: float | None = None
    audited: bool = False
    verified: tuple[float | None, ...] = ()
    """Per prompt, a verifier's probability that its mask is right (None: not judged). Empty: no verifier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRecord:
    """The committed result of one block. Its presence on disk means the block is done."""

    block_id: str
    fingerprint: str
    """The run's fingerprint; a record with another one is foreign."""
    tiles: tuple[TileRecord, ...]
    valid: Mapping[str, NDArray[np.bool_]]
    """tile_id -> (h, w) validity over tile.core; all tiles of the record have an entry."""
    scenes: Mapping[str, ScenePixels] = field(default_factory=dict)
    """tile_id -> which scene gave each valid pixel of tile.core; tiles of unknown scenes have no entry."""
    n_embeddings: int = 0
    """Image encodings spent on this block."""
    elapsed_s: float = 0.0
