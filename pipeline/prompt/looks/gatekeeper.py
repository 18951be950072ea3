"""Ask the gate before the prompter: it decides which queries the prompter is asked about a tile.

1. `look_at_block` takes the one look of mode `parent`. In mode `tile`, `examine` looks at each tile itself.
2. `examine` asks the prompter the queries that passed, and the rejected ones that the audit's sample holds.
   The others are EMPTY(gate). Every answer carries the gate's probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.prompt.looks.gate import Gate, GateOptions, in_audit, parent_look, tile_look
from pipeline.prompt.prompter import Prompter
from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tile_answers import Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import TileLattice, TileSpec

Probabilities = Sequence[float | None]
"""Per query, in order; None: not judged."""


class Gatekeeper:
    """A gate with its options and a run's queries."""

    def __init__(self, gate: Gate, options: GateOptions, queries: Sequence[str]) -> None:
        self._gate = gate
        self._options = options
        self._queries = queries

    async def look_at_block(
        self, image: BlockImage, lattice: TileLattice, tiles: Sequence[TileSpec]
    ) -> Probabilities | None:
        """Judge all `tiles` of a block at once. None: the mode is not `parent`, or there are no tiles."""
        if self._options.mode != "parent" or not tiles:
            return None
        return await self._gate.look(parent_look(image, lattice, tiles), self._queries)

    async def examine(
        self, prompter: Prompter, image: TileImage, shared: Probabilities | None
    ) -> list[TilePrompts]:
        """Answer every query, in order. `shared`: the result of `look_at_block` for this tile's block."""
        probabilities = await self._gate.look(tile_look(image), self._queries) if shared is None else shared
        tile_id = image.tile.tile_id
        rejected = [p is not None and p < self._options.threshold for p in probabilities]
        audited = [
            no and in_audit(tile_id, query, self._options)
            for no, query in zip(rejected, self._queries, strict=True)
        ]
        asked = [index for index in range(len(self._queries)) if not rejected[index] or audited[index]]
        given = await prompter.prompt(image, [self._queries[index] for index in asked]) if asked else []
        answers = {
            index: replace(answer, query_index=index) for index, answer in zip(asked, given, strict=True)
        }
        return [
            replace(
                answers.get(index) or _rejection(tile_id, index),
                gate_p=probabilities[index],
                audited=audited[index],
            )
            for index in range(len(self._queries))
        ]


def _rejection(tile_id: str, index: int) -> TilePrompts:
    return TilePrompts(tile_id=tile_id, query_index=index, status=TileStatus.EMPTY, reason=Reason.GATE)
