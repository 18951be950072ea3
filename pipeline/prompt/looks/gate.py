"""The gate: a cheap look that may reject a tile before the prompter. Off by default.

1. A `Look` is one picture of a tile (`tile_look`) or a block (`parent_look`).
2. A `Gate` gives each query the probability that something is there. Below the threshold, all tiles of the
   look are EMPTY(gate).
3. A sample of what was rejected is examined in full (`in_audit`).
4. A look that fails rejects nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tiling import TileLattice, TileSpec

GateMode = Literal["off", "tile", "parent"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions:
    """The `[gate]` table. All of it changes the result."""

    mode: GateMode = "off"
    """`tile`: one look per tile. It saves nearly all decoding, and visual tokens if the profile's look has a
    smaller image; if not, a tile that passes shares its encoded image with the prompter. `parent`: one look
    per block, at 1/K of the resolution. It encodes one image instead of K * K, but loses small objects first.
    """
    threshold: float = 0.05
    """Tiles whose probability is below this are rejected. Choose it with jobs/calibrate_gate.py."""
    audit_share: float = 0.01
    """Share of the rejected (tile, query) pairs that are examined in full, to measure what the gate loses."""
    seed: int = 0
    """Seed of that sample."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or not 0 <= self.audit_share <= 1:
            raise ValueError(
                f"threshold and audit_share lie between 0 and 1, got {self.threshold} and {self.audit_share}"
            )

    @property
    def on(self) -> bool:
        return self.mode != "off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One picture, and the tiles that its answer is about."""

    key: str
    """The tile_id or block_id."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), red, green, blue; invalid pixels are 0."""
    tiles: tuple[TileSpec, ...]


class Gate(Protocol):
    """Judges looks. May be awaited for several looks at once.

    A look that fails gives None. The only exception is a ModelError: the engine died, and the gate can answer
    nothing more.
    """

    async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
        """Give each query, in order, the probability 0..1 that the picture answers it. None: not judged."""
        ...


def tile_look(image: TileImage) -> Look:
    """Make the look at a single tile."""
    return Look(key=image.tile.tile_id, rgb=image.rgb, tiles=(image.tile,))


def parent_look(image: BlockImage, lattice: TileLattice, tiles: Sequence[TileSpec]) -> Look:
    """Make the look at a whole block; `tiles` are the tiles of the block that its answer holds for.

    The canvas always covers K x K whole tiles and their halo, black where the block has no pixels. So the
    scale of the picture depends neither on the AOI nor on the border of the grid.
    """
    side = lattice.shard_px + 2 * lattice.halo_px
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    block = image.block
    row0 = block.read.row0 - (block.block_row * lattice.shard_px - lattice.halo_px)
    col0 = block.read.col0 - (block.block_col * lattice.shard_px - lattice.halo_px)
    height, width = block.read.shape
    canvas[row0 : row0 + height, col0 : col0 + width] = image.rgb
    return Look(key=block.block_id, rgb=canvas, tiles=tuple(tiles))


def in_audit(tile_id: str, query: str, options: GateOptions) -> bool:
    """Whether a rejected tile and query belong to the audit's sample: their hash is below `audit_share`.

    The hash depends on seed, tile and query alone, so a resumed run has the same sample. Its results count
    like any others.
    """
    digest = hashlib.blake2b(f"{options.seed}\0{tile_id}\0{query}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < options.audit_share * 2.0**64
