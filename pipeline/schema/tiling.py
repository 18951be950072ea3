"""The run grid and how it is cut: windows, tiles, blocks.

Intervals are half-open. Pixel (row r, col c) is the square [c, c+1] x [r, r+1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.geo.pixel_rules import check_tiling

AffineTuple = tuple[float, float, float, float, float, float]
"""Six floats (a, b, c, d, e, f): x = a*col + b*row + c and y = d*col + e*row + f."""


def tile_id(tile_row: int, tile_col: int) -> str:
    """Name of the tile at a lattice position, as every file has it."""
    return f"r{tile_row:05d}c{tile_col:05d}"


def block_id(block_row: int, block_col: int) -> str:
    """Name of the block at a lattice position, as every file has it; also the stem of its record's file."""
    return f"b{block_row:05d}_{block_col:05d}"


def block_place(block_id: str) -> tuple[int, int]:
    """(block_row, block_col) of the block with this name."""
    row, col = block_id.removeprefix("b").split("_")
    return int(row), int(col)


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

    def tiles_reading(self, window: Window) -> tuple[slice, slice]:
        """Slices (tile rows, tile columns) of the tiles whose read windows share a pixel with `window`."""
        if not window.area_px:
            return slice(0, 0), slice(0, 0)

        def reach(first: int, stop: int, n_tiles: int) -> slice:
            low = max((first - self.halo_px) // self.core_px, 0)
            return slice(min(low, n_tiles), min(-(-(stop + self.halo_px) // self.core_px), n_tiles))

        rows = reach(window.row0, window.row1, self.n_tile_rows)
        return rows, reach(window.col0, window.col1, self.n_tile_cols)

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
