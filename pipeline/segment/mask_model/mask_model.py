"""The contract of models that give masks themselves: a tile and its queries in, one answer per query out.

Such a model stands in place of a prompter and a segmenter. It is asked once per tile, with all queries that
need an answer, so it may encode the picture once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TileStatus


def _no_masks() -> NDArray[np.bool_]:
    return np.zeros((0, 0, 0), dtype=np.bool_)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskAnswer:
    """What a mask model says to one query about one tile: masks, "nothing here", or why nothing was said."""

    status: TileStatus
    reason: Reason
    masks: NDArray[np.bool_] = field(default_factory=_no_masks)
    """(N, H, W) over the tile's read window; True = object. N = 0 unless FOUND."""
    scores: tuple[float, ...] = ()
    """N numbers in 0..1: how sure the model is of each mask."""
    text: str = ""
    """What the model wrote beside its masks."""
    error: str = ""

    def __post_init__(self) -> None:
        if (self.status is TileStatus.FOUND) != bool(len(self.masks)):
            raise ValueError(f"only what is found has masks, got {self.status} and {len(self.masks)}")
        if len(self.scores) != len(self.masks):
            raise ValueError(f"{len(self.masks)} masks need as many scores, got {len(self.scores)}")


def masks_or_nothing(masks: NDArray[np.bool_], scores: Sequence[float], text: str = "") -> MaskAnswer:
    """Make an answer of masks (N, H, W). Those without a pixel are left out; EMPTY(prompter) where none is
    left.
    """
    kept = [place for place, mask in enumerate(masks) if mask.any()]
    if not kept:
        return MaskAnswer(status=TileStatus.EMPTY, reason=Reason.PROMPTER, text=text)
    return MaskAnswer(
        status=TileStatus.FOUND,
        reason=Reason.NONE,
        masks=masks[kept],
        scores=tuple(float(scores[place]) for place in kept),
        text=text,
    )


def no_answer(reason: Reason, error: str) -> MaskAnswer:
    """Make a FAILED answer."""
    return MaskAnswer(status=TileStatus.FAILED, reason=reason, error=error)


class MaskModel(Protocol):
    """Answers queries about one tile with masks. Between calls it keeps weights and a counter, no tile."""

    @property
    def model_id(self) -> str:
        """Names what answers."""
        ...

    @property
    def n_embeddings(self) -> int:
        """Pictures looked at so far."""
        ...

    @property
    def one_mask(self) -> bool:
        """Whether the mask of a query holds all of its objects, which are to be told apart."""
        ...

    def answer(self, image: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        """Answer every query, in order. What goes wrong is a FAILED answer, of one query or of all."""
        ...

    def close(self) -> None:
        """Release memory and processes. May be called twice."""
        ...
