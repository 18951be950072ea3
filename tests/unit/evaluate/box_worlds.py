"""Answers about pictures whose true boxes are known, and which are wrong in a known way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.benchmark.benchmark import Sample
from pipeline.evaluate.benchmark.sample_records import SampleRecord
from pipeline.evaluate.figures.boundary import BoundaryAgreement
from pipeline.schema.tile_answers import Reason, TileStatus

Answer = tuple[int, Sample, SampleRecord]
OUTLINE = BoundaryAgreement(true_px=0, true_near=0, predicted_px=0, predicted_near=0)


@dataclass(frozen=True)
class Painted:
    """A mask source of filled boxes, numbered 1..n."""

    boxes: tuple[tuple[int, int, int, int], ...]
    side: int

    def size_hw(self) -> tuple[int, int]:
        return self.side, self.side

    def objects(self) -> NDArray[np.int32]:
        labels = np.zeros((self.side, self.side), np.int32)
        for n, (x0, y0, x1, y1) in enumerate(self.boxes, start=1):
            labels[y0:y1, x0:x1] = n
        return labels

    def read(self) -> NDArray[np.bool_]:
        return self.objects() > 0

    def digest(self) -> str:
        return repr(self.boxes)


def answer(picture: int, mask: Painted, reply: str) -> Answer:
    sample = Sample(sample_id=f"{picture}", query="tanks", mask=mask, strata={})
    record = SampleRecord(
        sample_id=f"{picture}",
        image_id=f"{picture}",
        query="tanks",
        strata={},
        status=TileStatus.FOUND,
        reason=Reason.NONE,
        reply=reply,
        height=mask.side,
        width=mask.side,
        true_px=int(mask.read().sum()),
        outline=OUTLINE,
    )
    return picture, sample, record


def painted(n_pictures: int, side: int, seed: int = 0) -> list[Painted]:
    """Six boxes in each picture, one in each cell of a grid of 3 x 2, away from its edges."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(n_pictures):
        boxes = []
        for cell in range(6):
            wide, high = rng.integers(side // 10, side // 5, size=2)
            x0 = cell % 3 * side // 3 + int(rng.integers(side // 20, side // 10))
            y0 = cell // 3 * side // 2 + int(rng.integers(side // 20, side // 10))
            boxes.append((x0, y0, x0 + int(wide), y0 + int(high)))
        masks.append(Painted(tuple(boxes), side))
    return masks
