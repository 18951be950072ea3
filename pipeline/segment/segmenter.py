"""The segmenter's contract: encode a tile once, decode as many prompts from it as there are.

`embed` and `segment` are separate calls so that all prompts of all queries of a tile share one image
encoding; `n_embeddings` counts encodings and is what a run reports. Nothing dense leaves a segmenter: masks
come back cropped to their bounding boxes (`MaskCrop`), embeddings stay in the process that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import MaskCrop, Prompt, TileImage, TileSpec

Dtype = Literal["float32", "bfloat16", "float16"]

HOW_IT_RUNS = frozenset({"device", "prompt_batch"})
"""Options that no fingerprint holds. `prompt_batch` bounds memory. `device` moves results by rounding alone,
as another model of GPU does that no option names; `auto`, the default, already means whatever the machine has
that a run is resumed on.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """What `embed` keeps of a tile until its prompts are decoded. Opaque to everyone but the segmenter that
    made it.
    """

    tile: TileSpec
    shape_px: tuple[int, int]
    """(height, width) of the tile's read window."""
    square_px: int
    """Side of the square, anchored at the window's top left corner, that the features cover."""
    valid: NDArray[np.bool_]
    """(H, W); True = imagery. Masks never include invalid pixels."""
    features: Any
    """The maker's own: tensors on its device, or an oracle tile."""


class Segmenter(Protocol):
    """Image + prompts -> masks. Implementations hold weights and a counter, nothing of one tile."""

    @property
    def model_id(self) -> str:
        """Names architecture and weights, for run.json."""

    @property
    def n_embeddings(self) -> int:
        """Image encodings so far."""

    def embed(self, image: TileImage) -> Embedding:
        """Encode a tile: exactly one image encoding. Raises ModelError when the model call fails."""

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """One mask per prompt, in prompt order; a prompt whose mask has no valid pixel has no entry.

        `prompt_index` of a mask is the prompt's position in `prompts`. Raises ModelError when the model call
        fails.
        """


@dataclass(frozen=True, kw_only=True)
class Sam2Options:
    """Which SAM2, and how it is run."""

    config: str = ""
    """A config of the sam2 package (configs/sam2.1/sam2.1_hiera_s.yaml) or a local YAML file. Empty:
    config.yaml beside the checkpoint, or, for a hub id, the one that belongs to it.
    """
    checkpoint: str = ""
    """A local .safetensors or .pt file, or a hub id such as facebook/sam2.1-hiera-small. Empty: the embedded
    weights.
    """
    device: str = "auto"
    """auto (cuda when there is one), cpu, cuda, cuda:1, ..."""
    image_px: int | None = None
    """Side of the square the model sees; None = the config's own."""
    prompt_batch: int = 64
    """Prompts decoded at a time: bounds memory, does not change results."""
    mask_threshold: float = 0.0
    """Logits above it are object. 0 = probability one half."""
    dtype: Dtype = "float32"
    """Arithmetic of encoder and decoder; thresholds are always applied in float32."""

    def __post_init__(self) -> None:
        if self.prompt_batch < 1:
            raise ValueError(f"prompt_batch must be at least 1, got {self.prompt_batch}")
        if self.image_px is not None and (self.image_px < 64 or self.image_px % 32):
            raise ValueError(f"image_px must be a multiple of 32 and at least 64, got {self.image_px}")

    def result_parameters(self) -> dict[str, Any]:
        """All of it that can change a result, for a fingerprint."""
        return {key: value for key, value in asdict(self).items() if key not in HOW_IT_RUNS}
