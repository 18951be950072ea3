"""No prompt at all: the whole tile, for a mask model that is asked by the query itself.

The segmenting step hands tile and queries to the model, and puts the boxes of its masks in place of this
prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.prompt.prompter import same_for_all
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus


class WholePrompter:
    """A `Prompter` that passes every query on."""

    @property
    def model_id(self) -> str:
        """`whole`: nothing was loaded."""
        return "whole"

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Answer every query with the tile's read window as a box."""
        height, width = image.rgb.shape[:2]
        whole = Prompt(box_xyxy=(0.0, 0.0, float(width), float(height)))
        answer = TilePrompts(
            tile_id=image.tile.tile_id,
            query_index=0,
            status=TileStatus.FOUND,
            reason=Reason.NONE,
            prompts=(whole,),
        )
        return same_for_all(answer, len(queries))

    def close(self) -> None:
        """Do nothing: nothing was loaded."""
