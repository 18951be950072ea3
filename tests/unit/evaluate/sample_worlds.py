"""A benchmark of arrays, its evaluation context and records, for the tests of steps, results and pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import SourceError
from pipeline.evaluate.benchmark.benchmark import Sample, SampleImage, mask_digest
from pipeline.evaluate.benchmark.sample_records import SampleRecord, pack_mask
from pipeline.evaluate.benchmark.sample_steps import EvaluationContext
from pipeline.evaluate.figures.boundary import boundary_agreement, tolerance_px
from pipeline.run.config import build_preset, preset_tables
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus

SHAPE = (24, 32)


@dataclass(frozen=True)
class ArraySource:
    """An image or a mask that is already there; None does not decode."""

    array: np.ndarray | None
    shape: tuple[int, int] = SHAPE

    def size_hw(self) -> tuple[int, int]:
        return self.shape

    def read(self) -> Any:
        if self.array is None:
            raise SourceError("this picture is damaged")
        return self.array

    def digest(self) -> str:
        return mask_digest(self.read())


def rectangle(row0: int, col0: int, row1: int, col1: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row0:row1, col0:col1] = True
    return mask


def sample(name: str, mask: np.ndarray, *, query: str = "", refusal: str = "", **strata: str) -> Sample:
    return Sample(
        sample_id=name,
        query=query or f"where is {name}?",
        mask=ArraySource(mask),
        strata=strata,
        refusal=refusal,
    )


def image(name: str, samples: Sequence[Sample], *, damaged: bool = False) -> SampleImage:
    rgb = None if damaged else np.full((*SHAPE, 3), 80, np.uint8)
    return SampleImage(image_id=name, pixels=ArraySource(rgb), samples=tuple(samples))


def context(images: Sequence[SampleImage], out: Path, **changes: Any) -> EvaluationContext:
    preset = build_preset(preset_tables("embedded"))
    given: dict[str, Any] = {
        "images": tuple(images),
        "prompter": preset.prompter,
        "segmenter": preset.segmenter,
        "prompts_from": "truth",
        "masks_from": "truth",
        "side_px": None,
        "boundary_share": 0.0075,
        "out_dir": str(out),
        "fingerprint": "f" * 64,
    }
    return EvaluationContext(**{**given, **changes})


def record(name: str, true: np.ndarray, predicted: np.ndarray, **changes: Any) -> SampleRecord:
    """The record of an answer; FOUND with one box when something was predicted, else a rejection."""
    found = bool(predicted.any())
    given: dict[str, Any] = {
        "sample_id": name,
        "image_id": f"image of {name}",
        "query": f"where is {name}?",
        "strata": {"kind": "explicit"},
        "status": TileStatus.FOUND if found else TileStatus.EMPTY,
        "reason": Reason.NONE if found else Reason.PROMPTER,
        "prompts": (
            Prompt(box_xyxy=(1.0, 2.0, 9.5, 11.0), points_xy=((3.0, 4.0),), point_labels=(1,), label="a"),
        )
        if found
        else (),
        "height": SHAPE[0],
        "width": SHAPE[1],
        "true_px": int(true.sum()),
        "predicted_px": int(predicted.sum()),
        "common_px": int((true & predicted).sum()),
        "outline": boundary_agreement(true, predicted, tolerance_px(SHAPE)),
        "mask_scores": (0.75,) if found else (),
        "mask_png": pack_mask(predicted),
    }
    return SampleRecord(**{**given, **changes})
