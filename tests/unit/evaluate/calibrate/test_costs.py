"""Seconds by a clock that only the models move: what is counted, on which blocks, and what comes of the
repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from prompt.fakes_gate import FakeGate
from prompt.fakes_prompt import FakePrompter
from prompt.fakes_verifier import FakeVerifier
from segment.fakes_segment import FakeSegmenter

from pipeline.evaluate.calibrate import costs
from pipeline.evaluate.calibrate.costs import MeasuredCosts, Spread, TimedModels, measure_costs
from pipeline.prompt.looks.gate import Look
from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, TilePrompts
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice
from pipeline.segment.segmenter import Embedding

QUERIES = ("tanks", "pools")
BOX = Prompt(box_xyxy=(1.0, 1.0, 5.0, 4.0))


class Clock:
    now = 0.0

    def read(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


class SlowGate(FakeGate):
    """2 s for a tile, 5 s for a block."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({})
        self._clock = clock

    async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
        self._clock.spend(2.0 if look.key.startswith("r") else 5.0)
        return await super().look(look, queries)


class SlowPrompter(FakePrompter):
    """6 s for a tile, and 1 s more for every tile asked before."""

    def __init__(self, clock: Clock, *, finds: bool) -> None:
        super().__init__({})
        self._clock = clock
        self._finds = finds

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        self._clock.spend(6.0 + len(self.asked))
        self._table = {(image.tile.tile_id, "tanks"): (BOX, BOX)} if self._finds else {}
        return await super().prompt(image, queries)


class SlowSegmenter(FakeSegmenter):
    """3 s for an encoding."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def embed(self, image: TileImage) -> Embedding:
        self._clock.spend(3.0)
        return super().embed(image)


class SlowVerifier(FakeVerifier):
    """0.5 s for a mask."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({})
        self._clock = clock

    async def verify(self, image: TileImage, query: str, masks: Sequence[MaskCrop]) -> list[float | None]:
        self._clock.spend(0.5 * len(masks))
        return await super().verify(image, query, masks)


class Reader:
    """Grey pixels; remembers what was read."""

    def __init__(self) -> None:
        self.read_blocks: list[BlockSpec] = []

    def read(self, block: BlockSpec) -> BlockImage:
        self.read_blocks.append(block)
        rgb = np.full((*block.read.shape, 3), 90, dtype=np.uint8)
        return BlockImage(block=block, rgb=rgb, valid=np.ones(block.read.shape, dtype=np.bool_))


def lattice(side: int) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=side, height=side)
    return TileLattice(grid=grid, tile_px=20, halo_px=2, block_tiles=2)


def blocks_of(cut: TileLattice) -> list[BlockSpec]:
    blocks = []
    for row in range(cut.n_block_rows):
        for col in range(cut.n_block_cols):
            tiles = tuple(cut.tiles_of_block(row, col))
            core = cut.block_core(row, col)
            read = type(core).around([tile.read for tile in tiles])
            blocks.append(BlockSpec(block_row=row, block_col=col, core=core, read=read, tiles=tiles))
    return blocks


def measure(
    monkeypatch: pytest.MonkeyPatch, side: int, *, finds: bool = True
) -> tuple[MeasuredCosts, SlowGate, SlowPrompter]:
    clock = Clock()
    monkeypatch.setattr(costs.time, "perf_counter", clock.read)
    gate = SlowGate(clock)
    prompter = SlowPrompter(clock, finds=finds)
    models = TimedModels(
        prompter=prompter,
        gate=gate,
        segmenter=SlowSegmenter(clock),
        verifier=SlowVerifier(clock),
        queries=QUERIES,
    )
    cut = lattice(side)
    return measure_costs(models, Reader(), blocks_of(cut), cut), gate, prompter


def test_seconds_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """96 px: 3 x 3 blocks of 2 x 2 tiles, 4 repetitions. Per block 4 tiles, 8 pairs, 8 masks; the first 4
    tiles warm up.
    """
    costs, _, _ = measure(monkeypatch, 96)
    assert costs.repeats == 4
    assert costs.look_s == {
        "tile": Spread(median=1.0, low=1.0, high=1.0),
        "parent": Spread(median=0.625, low=0.625, high=0.625),
    }
    asked = [sum(6.0 + before for before in range(first, first + 4)) for first in (4, 8, 12, 16)]
    assert asked == [46, 62, 78, 94]
    assert costs.prompter_s == Spread(median=70 / 8, low=46 / 8, high=94 / 8)
    assert costs.segmenter_s.median == 4 * 3.0 / 8
    assert costs.verifier_s == Spread(median=0.5, low=0.5, high=0.5)
    assert costs.masks_per_pair == 1.0
    ratios = [(seconds + 12 + 4) / (seconds + 12) for seconds in asked]
    assert costs.verifier_cost == Spread(median=(ratios[1] + ratios[2]) / 2, low=ratios[3], high=ratios[0])
    assert (costs.of_gate("parent").look_s, costs.of_gate("parent").prompter_s) == (0.625, 70 / 8)
    document = costs.document()
    assert document["look_s"]["tile"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert document["verifier_cost"]["high"] == round(ratios[0], 6)


def test_looks_and_answers_never_share_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """112 px: 4 x 4 blocks, those of the last row and column smaller. The fakes refuse a tile that comes
    twice.
    """
    costs, gate, prompter = measure(monkeypatch, 112)
    assert costs.repeats == 5
    looked = {look.key for look in gate.looks if look.key.startswith("r")}
    asked = {tile_id for tile_id, _ in prompter.asked}
    warm = {"r00006c00006"}
    assert looked & asked == warm
    assert len(looked - warm) == 5 * 4, "full blocks first"
    assert len([look for look in gate.looks if look.key.startswith("b")]) == 6


def test_a_world_without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    costs, _, _ = measure(monkeypatch, 96, finds=False)
    assert costs.verifier_s is None
    assert costs.document()["verifier_s"] is None
    assert costs.verifier_cost == Spread(median=1.0, low=1.0, high=1.0)
    assert costs.segmenter_s.median == 0.0


def test_a_spread_needs_values() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)
    with pytest.raises(ValueError, match="no median"):
        Spread.of([])
