"""Measure the seconds that gate, prompter, segmenter and verifier take, on blocks of a world.

1. `measure_costs` reads the largest blocks, two per repetition. A smallest block warms everything up before.
2. The gate looks at one block of the two. On the other the prompter answers, its answers are segmented, and
   the verifier looks at every mask.
3. `MeasuredCosts` holds the median and the range of the repetitions.

Blocks are timed one after another. On Ray they overlap, so a region takes less than the sum.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from pipeline.evaluate.calibrate.curves import Costs
from pipeline.load.reader import TileReader
from pipeline.prompt.looks.gate import Gate, GateMode, parent_look, tile_look
from pipeline.prompt.looks.verifier import Verifier
from pipeline.prompt.prompter import Prompter
from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tile_answers import MaskCrop, TilePrompts, TileStatus
from pipeline.schema.tiling import BlockSpec, TileLattice
from pipeline.segment.segmenter import Segmenter

REPEATS = 5
"""Repetitions, if the world has enough blocks."""

LOOKS: tuple[GateMode, ...] = ("tile", "parent")


@dataclass(frozen=True, kw_only=True)
class TimedModels:
    """The models to time. Gate and verifier share the prompter's engine, as in a local run."""

    prompter: Prompter
    gate: Gate
    segmenter: Segmenter
    verifier: Verifier
    queries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Median, smallest and largest value of the repetitions; `asdict` makes it JSON-ready."""

    median: float
    low: float
    """The smallest."""
    high: float
    """The largest."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values. Raises ValueError when there are none."""
        return cls(median=median(values), low=min(values), high=max(values))


@dataclass(frozen=True, kw_only=True)
class MeasuredCosts:
    """Seconds of every model, over the repetitions. A pair is a (tile, query) pair."""

    repeats: int
    look_s: dict[GateMode, Spread]
    """Seconds per pair."""
    prompter_s: Spread
    """Seconds per pair."""
    segmenter_s: Spread
    """Seconds per pair, whether something was found or not."""
    verifier_s: Spread | None
    """Seconds per mask. None: no timed block had a mask."""
    verifier_cost: Spread
    """With the verifier over without it: (prompter + segmenter + verifier) / (prompter + segmenter)."""
    masks_per_pair: float
    """Mean number of masks per pair, over all timed blocks."""

    def of_gate(self, look: GateMode) -> Costs:
        """Take the median seconds, from which the gate's curve is drawn."""
        return Costs(look_s=self.look_s[look].median, prompter_s=self.prompter_s.median)

    def document(self) -> dict[str, object]:
        """Make a JSON-ready copy, with seconds and ratios rounded to six digits."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class _Repetition:
    pairs: int
    look_s: dict[GateMode, float]
    prompter_s: float
    segmenter_s: float
    verifier_s: float
    masks: int

    @property
    def verifier_cost(self) -> float:
        without = self.prompter_s + self.segmenter_s
        return (without + self.verifier_s) / without


def measure_costs(
    models: TimedModels, reader: TileReader, blocks: Sequence[BlockSpec], lattice: TileLattice
) -> MeasuredCosts:
    """Time every model. Raises ModelError.

    `blocks`: at least one; if there are fewer than three, some are used twice.
    """
    # full blocks first: a parent look costs the same, however few tiles a block has
    ordered = sorted(blocks, key=lambda block: -len(block.tiles))
    repeats = min(REPEATS, max(1, (len(ordered) - 1) // 2))
    with asyncio.Runner() as loop:

        def timed(looked: BlockSpec, asked: BlockSpec) -> _Repetition:
            return _timed(models, lattice, loop, looked=reader.read(looked), asked=reader.read(asked))

        timed(ordered[-1], ordered[-1])
        rows = [
            timed(ordered[2 * place], ordered[min(2 * place + 1, len(ordered) - 1)])
            for place in range(repeats)
        ]
    per_mask = [row.verifier_s / row.masks for row in rows if row.masks]
    return MeasuredCosts(
        repeats=repeats,
        look_s={look: Spread.of([row.look_s[look] for row in rows]) for look in LOOKS},
        prompter_s=Spread.of([row.prompter_s / row.pairs for row in rows]),
        segmenter_s=Spread.of([row.segmenter_s / row.pairs for row in rows]),
        verifier_s=Spread.of(per_mask) if per_mask else None,
        verifier_cost=Spread.of([row.verifier_cost for row in rows]),
        masks_per_pair=sum(row.masks for row in rows) / sum(row.pairs for row in rows),
    )


def _timed(
    models: TimedModels, lattice: TileLattice, loop: asyncio.Runner, *, looked: BlockImage, asked: BlockImage
) -> _Repetition:
    """Time everything once: looks on one block, answers and masks on another.

    On the same block the prompter would find the gate's picture in the engine's caches.
    """
    queries = models.queries

    async def look_at_tiles() -> None:
        await asyncio.gather(
            *(models.gate.look(tile_look(looked.tile_image(tile)), queries) for tile in looked.block.tiles)
        )

    async def look_at_block() -> None:
        await models.gate.look(parent_look(looked, lattice, looked.block.tiles), queries)

    async def ask() -> list[list[TilePrompts]]:
        return list(
            await asyncio.gather(
                *(models.prompter.prompt(asked.tile_image(tile), queries) for tile in asked.block.tiles)
            )
        )

    looked_pairs = len(looked.block.tiles) * len(queries)
    tile_s, _ = _seconds(lambda: loop.run(look_at_tiles()))
    parent_s, _ = _seconds(lambda: loop.run(look_at_block()))
    prompter_s, answers = _seconds(lambda: loop.run(ask()))
    segmenter_s, masks = _seconds(lambda: _segment(models.segmenter, asked, answers))

    async def verify() -> None:
        await asyncio.gather(
            *(models.verifier.verify(view, queries[index], crops) for view, index, crops in masks)
        )

    verifier_s, _ = _seconds(lambda: loop.run(verify()))
    return _Repetition(
        pairs=len(asked.block.tiles) * len(queries),
        look_s={"tile": tile_s / looked_pairs, "parent": parent_s / looked_pairs},
        prompter_s=prompter_s,
        segmenter_s=segmenter_s,
        verifier_s=verifier_s if masks else 0.0,
        masks=sum(len(crops) for _, _, crops in masks),
    )


def _segment(
    segmenter: Segmenter, image: BlockImage, answers: Sequence[Sequence[TilePrompts]]
) -> list[tuple[TileImage, int, list[MaskCrop]]]:
    """Segment every answer that found something, with one encoding per tile: (tile, query index, masks)."""
    masks = []
    for tile, given in zip(image.block.tiles, answers, strict=True):
        view = image.tile_image(tile)
        embedding = None
        for answer in given:
            if answer.status is TileStatus.FOUND:
                embedding = embedding or segmenter.embed(view)
                masks.append((view, answer.query_index, segmenter.segment(embedding, answer.prompts)))
    return [row for row in masks if row[2]]


def _seconds[T](step: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = step()
    return time.perf_counter() - start, result


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return round(value, 6) if isinstance(value, float) else value
