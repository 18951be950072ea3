"""SAM2 as a `Segmenter`: any config, any checkpoint, one image encoding per tile.

1. The constructor finds config and weights (`sam2_model`) and loads them once.
2. `embed` prepares the tile on the device (`tensors.square_pixels`) and encodes it; `embed_many` takes
   several tiles in one call.
3. `segment` groups the prompts by their number of points and decodes each group in batches of `prompt_batch`.
   A batch that does not fit into memory is decoded as two halves.
4. Logits become cropped masks on the device (`tensors.crop_masks`). The predicted IoU is the score.
5. `propose` decodes in the same batches, to three masks a prompt where the config says that the model was
   trained for several (`multimask_output_in_sam`), else to one.

With equal weights masks and scores are those of SAM2's own `SAM2ImagePredictor` (tested).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.kept_embeddings import code_identity, torch_identity
from pipeline.segment.proposals import EverythingOptions, Proposals, sound_masks
from pipeline.segment.sam2_model import (
    build_architecture,
    find_weights,
    is_hub_weights,
    load_weights,
    resolve_config,
)
from pipeline.segment.segmenter import Embedding, Sam2Options
from pipeline.segment.tensors import autocast, crop_masks, prompt_groups, prompt_tensors, square_pixels

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True, kw_only=True, slots=True)
class Sam2Features:
    """Encoder outputs of one tile, on the device."""

    coarse: Tensor
    """(1, C, h, w) image embedding."""
    fine: tuple[Tensor, ...]
    """High-resolution features for the decoder, finest first; empty where the config does not use them."""


class Sam2Segmenter:
    """A `Segmenter` over one SAM2 checkpoint. See the module's docstring."""

    def __init__(self, options: Sam2Options, *, tile_px: int = 0) -> None:
        """Load config and weights.

        `tile_px`: side of the run's full tile, to which smaller ones are padded; 0: each tile is padded to
        its own longer side. Raises ModelError when config and weights do not load or do not belong together.
        """
        self._options = options
        self._tile_px = tile_px
        self._device = find_device(options.device)
        began = time.monotonic()
        config = resolve_config(options.config, options.checkpoint)
        weights = find_weights(options.checkpoint, options.revision)
        model = build_architecture(config, options.image_px)
        load_weights(model, weights)
        try:
            self._model = model.to(self._device).eval().requires_grad_(False)
        except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
            raise ModelError(
                f"SAM2 could not be moved to segmenter.device = {self._device!r}: {error}"
            ) from error
        self._weights_sha256 = _sha256(weights)
        self._model_id = _model_id(options.checkpoint, weights, self._weights_sha256)
        self._n_embeddings = 0
        self._n_decodings = 0
        self._n_prompts = 0
        self._load_times = {"weights": time.monotonic() - began}

    @property
    def model_id(self) -> str:
        """Name of the weights (hub id, or folder and file), with the start of their SHA-256."""
        return self._model_id

    @property
    def n_embeddings(self) -> int:
        return self._n_embeddings

    @property
    def network(self) -> Module:
        """SAM2Base in evaluation mode, on its device."""
        return self._model

    def usage(self) -> dict[str, int]:
        """Count since it was loaded: encodings of images, how often prompts were decoded from one (once for
        each query with prompts), and these prompts.
        """
        return {
            "embeddings": self._n_embeddings,
            "decodings": self._n_decodings,
            "decoded_prompts": self._n_prompts,
        }

    def load_times(self) -> dict[str, float]:
        """Seconds for `weights` (code of the libraries, model and weights), and for `first_run`, the first
        encoding, once there was one.
        """
        return dict(self._load_times)

    def embed(self, image: TileImage) -> Embedding:
        """Encode a tile. Raises ModelError when the device fails."""
        return self.embed_many([image])[0]

    def embed_many(self, images: Sequence[TileImage]) -> list[Embedding]:
        """Encode several tiles, in one call where their squares agree. Raises ModelError."""
        squares = [self.square_of(image) for image in images]
        made: dict[int, Embedding] = {}
        for square_px in sorted(set(squares)):
            members = [i for i, side in enumerate(squares) if side == square_px]
            encoded = self._encode([images[i] for i in members], square_px)
            for i, features in zip(members, encoded, strict=True):
                image = images[i]
                height, width = image.rgb.shape[:2]
                made[i] = Embedding(
                    tile=image.tile,
                    shape_px=(height, width),
                    square_px=square_px,
                    valid=image.valid,
                    features=features,
                )
        return [made[i] for i in range(len(images))]

    def square_of(self, image: TileImage) -> int:
        """Side in pixels of the square that a tile is padded to."""
        return int(max(self._tile_px, *image.rgb.shape[:2]))

    def encoder_identity(self) -> dict[str, object]:
        """Everything that an encoding follows from but the pixels."""
        config = resolve_config(self._options.config, self._options.checkpoint)
        return {
            "kind": "sam2",
            "weights": self._weights_sha256,
            "config": hashlib.sha256(config.read_bytes()).hexdigest(),
            "image_px": self._model.image_size,
            "dtype": self._options.dtype,
            "tile_batch": self._options.tile_batch,
            "code": code_identity("sam2_segmenter", "tensors", "sam2_model"),
            "sam2": version("sam2"),
            **torch_identity(self._device),
        }

    def tensors_of(self, embedding: Embedding) -> dict[str, Tensor]:
        """The encoder's outputs by names."""
        features = embedding.features
        assert isinstance(features, Sam2Features), "an embedding belongs to the segmenter that made it"
        fine = {f"fine{number}": level for number, level in enumerate(features.fine)}
        return {"coarse": features.coarse, **fine}

    def embedding_of(self, image: TileImage, stored: Mapping[str, Tensor]) -> Embedding:
        """Make an embedding of outputs that were stored. Raises KeyError for other names."""
        height, width = image.rgb.shape[:2]
        fine = tuple(stored[f"fine{number}"].to(self._device) for number in range(len(stored) - 1))
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=self.square_of(image),
            valid=image.valid,
            features=Sam2Features(coarse=stored["coarse"].to(self._device), fine=fine),
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Decode prompts, in order: one mask for each that has a valid pixel above the threshold.

        Raises ModelError. It is retryable after an error of CUDA itself, which only a fresh process clears.
        """

        def decode(chosen: Sequence[int]) -> list[MaskCrop]:
            return self._decode(embedding, prompts, chosen)

        masks = [mask for part in self._decoded(prompts, decode) for mask in part]
        return sorted(masks, key=lambda mask: mask.prompt_index)

    def propose(self, embedding: Embedding, prompts: Sequence[Prompt], rules: EverythingOptions) -> Proposals:
        """Decode every mask that the prompts may mean, and give the sound ones. Raises ModelError."""

        def decode(chosen: Sequence[int]) -> Proposals:
            several = bool(self._model.multimask_output_in_sam)
            logits, scores = self._logits(embedding, [prompts[i] for i in chosen], several=several)
            return sound_masks(
                logits,
                scores,
                prompt_indices=chosen,
                embedding=embedding,
                threshold=self._options.mask_threshold,
                rules=rules,
            )

        found = Proposals()
        for part in self._decoded(prompts, decode):
            found = found.with_more(part)
        return found

    def feature_map(self, embedding: Embedding) -> NDArray[np.float32]:
        """The coarsest level of the encoder, (C, h, h)."""
        features = embedding.features
        assert isinstance(features, Sam2Features), "an embedding belongs to the segmenter that made it"
        coarse: NDArray[np.float32] = features.coarse[0].float().cpu().numpy()
        return coarse

    def _decoded[T](self, prompts: Sequence[Prompt], decode: Callable[[Sequence[int]], T]) -> Iterator[T]:
        """Decode all prompts in batches, and one that does not fit into memory in two halves. Raises
        ModelError when a half fails too.
        """
        self._n_decodings += 1
        self._n_prompts += len(prompts)
        for members in prompt_groups(prompts, self._options.prompt_batch):
            try:
                yield decode(members)
                continue
            except RuntimeError as error:
                if len(members) < 2 or not _is_memory(error):
                    raise _failed("mask decoder", error) from error
            # The error keeps the memory of the failed call alive, so the halves wait until it is gone.
            half = len(members) // 2
            try:
                yield decode(members[:half])
                yield decode(members[half:])
            except RuntimeError as error:
                raise _failed("mask decoder", error) from error

    def _encode(self, images: Sequence[TileImage], square_px: int) -> list[Sam2Features]:
        import torch

        model = self._model
        began = time.monotonic()
        try:
            with torch.inference_mode(), autocast(self._device, self._options.dtype):
                tiles = [image.rgb for image in images]
                pixels = square_pixels(
                    tiles, square_px=square_px, image_px=model.image_size, device=self._device
                )
                levels = model.forward_image(pixels)["backbone_fpn"][-model.num_feature_levels :]
                coarse = levels[-1]
                if model.directly_add_no_mem_embed:
                    coarse = coarse + model.no_mem_embed.view(1, -1, 1, 1)
                if not self._n_embeddings and coarse.is_cuda:
                    torch.cuda.synchronize(coarse.device)  # the first run is timed
        except RuntimeError as error:
            raise _failed("image encoder", error) from error
        self._n_embeddings += len(images)
        self._load_times.setdefault("first_run", time.monotonic() - began)
        return [
            Sam2Features(coarse=coarse[i : i + 1], fine=tuple(level[i : i + 1] for level in levels[:-1]))
            for i in range(len(images))
        ]

    def _decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], chosen: Sequence[int]
    ) -> list[MaskCrop]:
        """Decode one batch, to one mask a prompt. Raises RuntimeError, as torch does."""
        logits, each = self._logits(embedding, [prompts[i] for i in chosen], several=False)
        scores = each[:, 0].clamp(0, 1).cpu().numpy()
        crops = crop_masks(logits[:, 0], self._options.mask_threshold, embedding.valid, embedding.square_px)
        return [
            MaskCrop(row0=crop.row0, col0=crop.col0, mask=crop.mask, score=float(score), prompt_index=index)
            for index, crop, score in zip(chosen, crops, scores, strict=True)
            if crop is not None
        ]

    def _logits(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, several: bool
    ) -> tuple[Tensor, Tensor]:
        """(N, M, L, L) logits and (N, M) predicted IoUs, float32; M is 3 for `several`, else 1. Raises
        RuntimeError, as torch does.
        """
        import torch

        model = self._model
        features = embedding.features
        assert isinstance(features, Sam2Features), "an embedding belongs to the segmenter that made it"
        with torch.inference_mode(), autocast(self._device, self._options.dtype):
            scale = model.image_size / embedding.square_px
            points = prompt_tensors(prompts, scale, self._device)
            sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=None)
            logits, scores, _, _ = model.sam_mask_decoder(
                image_embeddings=features.coarse,
                image_pe=model.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=several,
                repeat_image=True,
                high_res_features=list(features.fine),
            )
        return logits.float(), scores.float()


def find_device(wanted: str) -> str:
    """Find the torch device that `Sam2Options.device` names. Raises ModelError for a GPU that is not there.

    Imports torch. Only `auto` may start CUDA.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    # The count comes from the driver's library, not from CUDA: an engine may still be forked from here.
    n_gpus = torch.cuda.device_count()
    number = wanted.removeprefix("cuda").removeprefix(":") or "0"
    if wanted.startswith("cuda") and not (number.isdecimal() and int(number) < n_gpus):
        came = f"{n_gpus} GPU{'s' * (n_gpus != 1)} that torch {torch.__version__} can use"
        remedy = 'set device = "auto" under [segmenter], or run where that GPU is'
        raise ModelError(
            f"segmenter.device = {wanted!r} needs that GPU in this machine. Got: {came}. To fix: {remedy}."
        )
    return wanted


def _is_memory(error: RuntimeError) -> bool:
    return "out of memory" in str(error).lower()


def _failed(part: str, error: RuntimeError) -> ModelError:
    memory = _is_memory(error)
    remedy = "; lower prompt_batch or use a smaller model" if memory else ""
    return ModelError(
        f"SAM2's {part} failed: {error}{remedy}", retryable=not memory and "CUDA error" in str(error)
    )


def _sha256(weights: Path) -> str:
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _model_id(checkpoint: str, weights: Path, digest: str) -> str:
    name = checkpoint if is_hub_weights(checkpoint) else f"{weights.resolve().parent.name}/{weights.name}"
    return f"{name}#{digest[:12]}"
