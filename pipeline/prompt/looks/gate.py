"""The gate: a cheap look that may reject a tile before the prompter. Off by default.

1. A `Look` is one picture and the tiles it speaks for: a tile's own read window (`tile_look`), or all K x K
   tiles of a block in one picture of a tile's size (`parent_look`), so that one image encoding speaks for K *
   K tiles.
2. A `Gate` gives each query the probability that something in the picture answers it. Below the threshold
   all tiles of the look are rejected for that query: EMPTY(gate), the probability recorded.
3. Of what was rejected a sample is examined in full all the same (`in_audit`), because nobody else would
   notice what a gate loses. Membership is a hash of seed, tile and query: as good as random, and the same
   when a run is resumed. Results of audited tiles are results like any others.
4. A look that fails rejects nothing: the gate may lose time, never a tile.

What a look saves. It reads one image and decodes one token (`Decision`). `tile`: where the profile gives the
look a smaller image, the visual tokens and nearly all of the decoding. Where the image size is fixed (the
embedded checkpoint), only the decoding: its image is encoded as if the prompter were asked, and a tile that
passes shares that encoding with the prompter through the engine's caches. `parent`: K * K - 1 of K * K image
encodings, at a resolution K times lower, so that small objects are lost first.

Left out: gates of another architecture (an image classifier of a tenth of the cost); they fit the same
Protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import BlockImage, TileImage, TileLattice, TileSpec

GateMode = Literal["off", "tile", "parent"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions:
    """The `[gate]` table. All of it changes the result."""

    mode: GateMode = "off"
    """`tile`: every tile for itself. `parent`: one look per block, at 1/K of the resolution."""
    threshold: float = 0.05
    """Looks with a smaller probability are rejected. Choose it with jobs/calibrate_gate.py."""
    audit_share: float = 0.01
    """Share of rejected (tile, query) pairs that is examined in full, to measure what the gate loses."""
    seed: int = 0
    """Of the audit's sample."""

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
    """tile_id or block_id."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), red, green, blue; invalid pixels are 0."""
    tiles: tuple[TileSpec, ...]


class Gate(Protocol):
    """Judges looks. May be awaited for several looks at once.

    The only exception is a ModelError, which means that this gate cannot answer any more (its engine died). A
    look that fails otherwise is None.
    """

    async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
        """Per query, in order: the probability 0..1 that something in the picture answers it; None: not
        judged.
        """
        ...


def tile_look(image: TileImage) -> Look:
    """A tile's own pixels."""
    return Look(key=image.tile.tile_id, rgb=image.rgb, tiles=(image.tile,))


def parent_look(image: BlockImage, lattice: TileLattice, tiles: Sequence[TileSpec]) -> Look:
    """A block's pixels on a canvas of always the same ground size, black where the block has none.

    The canvas covers K x K whole tiles and their halo, so that the scale of the picture never depends on the
    AOI or on the border of the grid. `tiles`: those of the block that the look speaks for.
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
    """Whether a rejected tile and query belong to the audit's sample: a hash below `audit_share`."""
    digest = hashlib.blake2b(f"{options.seed}\0{tile_id}\0{query}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < options.audit_share * 2.0**64
