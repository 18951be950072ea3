"""The contract of segmenters: encode a tile once, then decode any number of prompts.

`embed` and `segment` are separate calls, so all queries of a tile share one image encoding (a run reports
`n_embeddings`). Masks are returned cropped to their bounding boxes (`MaskCrop`). Embeddings stay in the
process that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec
from pipeline.segment.proposals import EverythingOptions, Proposals

Dtype = Literal["float32", "bfloat16", "float16"]

HOW_IT_RUNS = frozenset({"device", "prompt_batch"})
"""Options left out of every fingerprint. `prompt_batch` bounds memory. `device` changes results by rounding
alone, as another model of GPU would; and with `auto` a run may be resumed on a machine with other devices.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """What `embed` keeps of a tile until its prompts are decoded. Only its segmenter looks inside."""

    tile: TileSpec
    shape_px: tuple[int, int]
    """(height, width) of the tile's read window."""
    square_px: int
    """Side of the square, anchored at the window's top left corner, that the features cover."""
    valid: NDArray[np.bool_]
    """(H, W); True = imagery. Masks never include invalid pixels."""
    features: object
    """Tensors on the segmenter's device, or the objects of an oracle."""


class Segmenter(Protocol):
    """Turns an image and prompts into masks. Between calls it keeps weights and a counter, no tile."""

    @property
    def model_id(self) -> str:
        """Names architecture and weights, for run.json."""

    @property
    def n_embeddings(self) -> int:
        """Image encodings so far."""

    def embed(self, image: TileImage) -> Embedding:
        """Encode a tile, in exactly one image encoding. Raises ModelError when the model call fails."""

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Decode one mask per prompt, in prompt order. A mask without a valid pixel is left out.

        A mask's `prompt_index` is the prompt's position in `prompts`. Raises ModelError when the model call
        fails.
        """


@runtime_checkable
class BatchSegmenter(Segmenter, Protocol):
    """A segmenter that encodes several tiles in one call."""

    def embed_many(self, images: Sequence[TileImage]) -> list[Embedding]:
        """Encode tiles, in their order; each counts as one encoding. Raises ModelError."""


@runtime_checkable
class ProposingSegmenter(Segmenter, Protocol):
    """A segmenter that can also be asked for everything. All that ship can."""

    def propose(self, embedding: Embedding, prompts: Sequence[Prompt], rules: EverythingOptions) -> Proposals:
        """Decode all masks that each prompt may mean, and give those that pass `sound_masks`, with stability.

        Several may be of one prompt, and repeat each other (`sift`). Raises ModelError as `segment` does.
        """

    def feature_map(self, embedding: Embedding) -> NDArray[np.float32]:
        """The embedding's coarse features, (C, h, h) over its square. An oracle has none: C = 0."""


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
    revision: str | None = None
    """Revision of a hub id; ignored for files. None: its main branch."""
    device: str = "auto"
    """auto (cuda when there is one), cpu, cuda, cuda:1, ..."""
    image_px: int | None = None
    """Side in pixels of the square that the model sees; None: the config's own."""
    prompt_batch: int = 64
    """Prompts decoded at a time. Bounds memory; does not change results."""
    tile_batch: int = 1
    """Tiles of a block that are encoded in one call, for a GPU. It may change results by rounding."""
    mask_threshold: float = 0.0
    """Logits above it are object; 0 is a probability of one half."""
    dtype: Dtype = "float32"
    """Arithmetic of encoder and decoder; thresholds are always applied in float32."""

    def __post_init__(self) -> None:
        for name in ("prompt_batch", "tile_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.image_px is not None and (self.image_px < 64 or self.image_px % 32):
            raise ValueError(f"image_px must be a multiple of 32 and at least 64, got {self.image_px}")

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint."""
        every = {key: value for key, value in asdict(self).items() if key not in HOW_IT_RUNS}
        if every["revision"] is None:
            del every["revision"]
        if every["tile_batch"] == 1:
            del every["tile_batch"]
        return every
