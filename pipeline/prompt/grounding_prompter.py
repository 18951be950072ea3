"""Grounding DINO finds boxes of what a phrase names; any segmenter draws them. Together: Grounded SAM.

1. `phrase_of` writes a query as the model was trained to read it: in lower case, with a full stop.
2. The picture and the phrase go through transformers' model together, one query at a time.
3. Boxes above `box_threshold` are the prompts, clipped to the tile. No box: EMPTY(prompter).

S. Liu et al., "Grounding DINO" (arXiv:2303.05499); T. Ren et al., "Grounded SAM" (arXiv:2401.14159). Both
thresholds are those of transformers. This project has not run it with weights.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundingOptions:
    """The `[prompter.grounding]` table: how Grounding DINO looks."""

    box_threshold: float = 0.25
    """Least score of a box."""
    text_threshold: float = 0.25
    """Least score of a word that a box is said to show; it names the box, and does not choose it."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; ignored for folders. A run puts the commit here."""
    device: str = "auto"
    """auto (cuda when there is one), cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        if not (0 <= self.box_threshold <= 1 and 0 <= self.text_threshold <= 1):
            given = f"{self.box_threshold} and {self.text_threshold}"
            raise ValueError(f"box_threshold and text_threshold are scores from 0 to 1, got {given}")

    def result_parameters(self) -> dict[str, object]:
        """What can change a result, for a fingerprint."""
        return {name: value for name, value in asdict(self).items() if name != "device"}


def check_grounding(model: str) -> None:
    """Check that a local folder holds a Grounding DINO. A hub id passes. Raises InputError."""
    folder = Path(model)
    if not folder.exists() and not folder.is_absolute() and model.count("/") == 1:
        return
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = f"{error!r}"
    if kind != "grounding-dino":
        raise InputError(
            "prompter.model must be the folder of a Grounding DINO for transformers, or a hub id",
            came=f"{model}: {kind}",
            remedy="name the folder with its config.json, or e.g. IDEA-Research/grounding-dino-base",
        )


def phrase_of(query: str) -> str:
    """Write a query as the model reads phrases: lower case, one phrase, a full stop at its end."""
    return query.strip().rstrip(".?!").replace(".", " ").lower() + "."


class GroundingPrompter:
    """A `Prompter` over transformers' Grounding DINO. It looks at one picture at a time."""

    def __init__(self, model: str, options: GroundingOptions) -> None:
        """Load model and processor. Raises ModelError."""
        import torch

        device = options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

            loaded: Any = GroundingDinoForObjectDetection.from_pretrained(
                model, revision=options.revision, use_safetensors=True
            )
            self._model: Any = loaded.to(device).eval()
            self._processor: Any = GroundingDinoProcessor.from_pretrained(model, revision=options.revision)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise ModelError(f"Grounding DINO does not load from {model}: {error}") from error
        self._device = device
        self._options = options
        self._name = Path(model).name
        self._turn = asyncio.Lock()

    @property
    def model_id(self) -> str:
        """The checkpoint's name."""
        return self._name

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Look for each query in turn, beside the event loop. An error with one is its FAILED answer."""
        async with self._turn:
            return [
                await asyncio.to_thread(self._answer, image, index, query)
                for index, query in enumerate(queries)
            ]

    def close(self) -> None:
        """Do nothing: the weights go with the object."""

    def _answer(self, image: TileImage, index: int, query: str) -> TilePrompts:
        try:
            boxes, scores = self.find(image.rgb, query)
        except Exception as error:
            return TilePrompts(
                tile_id=image.tile.tile_id,
                query_index=index,
                status=TileStatus.FAILED,
                reason=Reason.MODEL_ERROR,
                error=f"{type(error).__name__}: {error}",
                n_calls=1,
            )
        prompts = tuple(
            Prompt(box_xyxy=(box[0], box[1], box[2], box[3]))
            for box in boxes.tolist()
            if box[0] < box[2] and box[1] < box[3]
        )
        said = ", ".join(f"{score:.3f}" for score in scores)
        return TilePrompts(
            tile_id=image.tile.tile_id,
            query_index=index,
            status=TileStatus.FOUND if prompts else TileStatus.EMPTY,
            reason=Reason.NONE if prompts else Reason.PROMPTER,
            prompts=prompts,
            reply=f"{len(boxes)} boxes" + (f", scores {said}" if said else ""),
            n_dropped=len(boxes) - len(prompts),
            n_calls=1,
        )

    def find(self, rgb: NDArray[np.uint8], query: str) -> tuple[NDArray[np.float64], list[float]]:
        """Find boxes in a picture (H, W, 3). Returns (N, 4) x0, y0, x1, y1 inside it, and N scores, best
        first.
        """
        import torch
        from PIL import Image

        height, width = rgb.shape[:2]
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        inputs = self._processor(images=picture, text=phrase_of(query), return_tensors="pt")
        inputs = inputs.to(self._device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        (found,) = self._processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=self._options.box_threshold,
            text_threshold=self._options.text_threshold,
            target_sizes=[(height, width)],
        )
        scores = found["scores"].float().cpu().numpy()
        order = np.argsort(-scores, kind="stable")
        boxes = found["boxes"].double().cpu().numpy().reshape(-1, 4)[order]
        boxes = np.clip(boxes, 0.0, np.array([width, height, width, height], dtype=np.float64))
        return boxes, [float(score) for score in scores[order]]
