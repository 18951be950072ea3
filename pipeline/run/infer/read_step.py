"""The first step: blocks become pixels, and no read holds up or ends more than its own tile.

1. A block is read at once, with one window per scene.
2. A read that does not come back is left behind with its reader, and a fresh one reads tile by tile. A tile
   that does not come back either is FAILED(timeout).
3. Reading is journalled, because a damaged file can take the process down with it (`attempts`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.load.reader import CogReader, TileReader
from pipeline.load.source_breaker import SourceBreaker
from pipeline.run.infer.attempts import Attempt, SetAside
from pipeline.run.infer.deadlines import Hand, OverdueError
from pipeline.run.infer.step_rules import late_text
from pipeline.run.infer.steps import RunContext
from pipeline.schema.imagery import BlockImage, ScenePixels
from pipeline.schema.tile_answers import Reason
from pipeline.schema.tiling import BlockSpec, TileSpec

MOST_LEFT_BEHIND = 16
"""Reads that one process may leave behind; each keeps a thread and open files. Then it must start afresh."""


class ReadStep:
    """Reads the pixels of blocks, with one window per scene. Keeps datasets open between blocks."""

    def __init__(self, context: RunContext, reader: TileReader | None = None) -> None:
        limits = context.config.limits
        self._limits = limits
        self._reader = reader or CogReader(
            context.scene_sources,
            context.lattice.grid,
            options=context.config.load,
            breaker=SourceBreaker(limits.source_failures, limits.source_pause_s),
        )
        self._journal = context.journal
        self._hand = Hand("reader")

    def read(self, block: BlockSpec) -> BlockImage:
        """Read the pixels of a block. Tiles that are set aside are unreadable, with their reason.

        Raises a retryable SourceError when only a fresh process can go on.
        """
        attempt = self._journal.begin(block.block_id, "read")
        image = self._read(block, attempt)
        attempt.end()
        return image

    def _read(self, block: BlockSpec, attempt: Attempt) -> BlockImage:
        if attempt.careful or attempt.verdict(block.tiles[0].tile_id) is not None:
            return self._read_tiles(block, attempt)
        try:
            return self._in_time(block, self._limits.block_s)
        except OverdueError:
            return self._read_tiles(block, attempt)

    def _read_tiles(self, block: BlockSpec, attempt: Attempt) -> BlockImage:
        """Read a block tile by tile."""
        picture = _TileByTile(block)
        for tile in block.tiles:
            why = attempt.verdict(tile.tile_id)
            if why is not None:
                picture.leave_out(tile, why)
                continue
            alone = BlockSpec(
                block_row=block.block_row,
                block_col=block.block_col,
                core=tile.core,
                read=tile.read,
                tiles=(tile,),
            )
            with attempt.working_on(tile.tile_id):
                try:
                    picture.paste(self._in_time(alone, self._limits.tile_s))
                except OverdueError as late:
                    why = SetAside(reason=Reason.TIMEOUT, error=late_text("reading", late.limit_s))
                    if self._hand.left_behind >= MOST_LEFT_BEHIND:
                        attempt.set_aside(tile.tile_id, why)
                        raise SourceError(
                            f"{self._hand.left_behind} reads did not come back; only a fresh process can go "
                            "on",
                            retryable=True,
                        ) from late
                    picture.leave_out(tile, why)
        return picture.image()

    def _in_time(self, block: BlockSpec, limit_s: float) -> BlockImage:
        """Read, or leave the reader behind and raise OverdueError."""
        reader = self._reader
        try:
            return self._hand.call(lambda: reader.read(block), limit_s)
        except OverdueError:
            self._reader = reader.left_behind()
            raise


class _TileByTile:
    """The pixels of a block, put together from those of its tiles."""

    def __init__(self, block: BlockSpec) -> None:
        self._block = block
        self._rgb = np.zeros((*block.read.shape, 3), dtype=np.uint8)
        self._valid = np.zeros(block.read.shape, dtype=np.bool_)
        self._hidden = np.zeros(block.read.shape, dtype=np.bool_)
        self._scene = np.full(block.read.shape, -1, dtype=np.int64)
        """Place in the run's list of scenes; -1: not known."""
        self._unreadable: dict[str, str] = {}
        self._unread_for: dict[str, str] = {}

    def leave_out(self, tile: TileSpec, why: SetAside) -> None:
        self._unreadable[tile.tile_id] = why.error
        self._unread_for[tile.tile_id] = why.reason.value

    def paste(self, part: BlockImage) -> None:
        """Add the pixels of a tile. Where it overlaps others, they saw the same."""
        slices = part.block.read.slices_in(self._block.read)
        new = part.valid & ~self._valid[slices]
        self._rgb[slices][new] = part.rgb[new]
        self._valid[slices] |= part.valid
        if part.hidden is not None:
            self._hidden[slices] |= part.hidden
        if part.scenes.numbers:
            numbers = np.asarray(part.scenes.numbers, dtype=np.int64)
            which = 0 if part.scenes.image is None else part.scenes.image[new].astype(np.int64) - 1
            self._scene[slices][new] = numbers[which]
        self._unreadable |= part.unreadable
        self._unread_for |= part.unread_for

    def image(self) -> BlockImage:
        hidden = self._hidden & ~self._valid
        return BlockImage(
            block=self._block,
            rgb=self._rgb,
            valid=self._valid,
            unreadable=self._unreadable,
            unread_for=self._unread_for,
            scenes=self._scenes(),
            hidden=hidden if hidden.any() else None,
        )

    def _scenes(self) -> ScenePixels:
        numbers = np.unique(self._scene[self._scene >= 0])
        image: NDArray[np.uint16] | None = None
        if numbers.size > 1:
            image = np.zeros(self._scene.shape, dtype=np.uint16)
            known = self._scene >= 0
            image[known] = 1 + np.searchsorted(numbers, self._scene[known]).astype(np.uint16)
        return ScenePixels(numbers=tuple(int(n) for n in numbers), image=image)
