"""Any SAM in ONNX as a `Segmenter`: SAM, MobileSAM, EdgeSAM, SAM2. One image encoding per tile.

1. The constructor finds encoder and decoder (`sam_export`) and loads both.
2. `embed` makes the tile a square of the encoder's size (`tensors.square_pixels`), and encodes it.
3. `segment` decodes prompts of one length together where the decoder takes several, else one by one. A prompt
   without a box gets a point that is none, as SAM was trained with.
4. A decoder that gives several masks leaves the choice to us. Of three, the best by predicted IoU is taken.
   Of four, the first is for prompts of more than two points, and the best of the others for fewer. This is
   the rule of Segment Anything's own export (`select_masks`).
5. Small logits become cropped masks (`tensors.crop_masks`). The predicted IoU is the score.
6. `propose` takes all of a prompt's masks; of four, those but the first. An export made for one mask gives
   one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.kept_embeddings import code_identity, torch_identity
from pipeline.segment.proposals import EverythingOptions, Proposals, sound_masks
from pipeline.segment.sam_export import DECODERS, find_export, open_session
from pipeline.segment.segmenter import Embedding, Sam2Options
from pipeline.segment.tensors import crop_masks, prompt_groups, prompt_tensors, square_pixels

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
NO_POINT = -1.0
"""Label of a point that is none."""


class OnnxSegmenter:
    """A `Segmenter` over one export. See the module's docstring."""

    def __init__(self, options: Sam2Options, *, tile_px: int = 0) -> None:
        """Load both graphs.

        Of `options` the folder `checkpoint`, `device`, `prompt_batch` and `mask_threshold` count. `tile_px`:
        as in `Sam2Segmenter`. Raises InputError for a folder that holds no export, ModelError for a device
        that onnxruntime does not have.
        """
        self._options = options
        self._tile_px = tile_px
        self._export = find_export(export_folder(options.checkpoint))
        device = find_provider(options.device)
        threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
        self._encoder = open_session(self._export.encoder, device=device, threads=threads)
        self._decoder = open_session(self._export.decoder, device=device, threads=threads)
        self._image_input = self._encoder.get_inputs()[0].name
        self._encoded = [output.name for output in self._encoder.get_outputs()]
        self._model_id = _model_id(self._export.encoder, self._export.decoder)
        self._n_embeddings = 0
        self._n_decodings = 0
        self._n_prompts = 0

    @property
    def model_id(self) -> str:
        """Name of the folder, with the start of the SHA-256 of both files."""
        return self._model_id

    @property
    def n_embeddings(self) -> int:
        return self._n_embeddings

    def usage(self) -> dict[str, int]:
        """Count since it was loaded, as `Sam2Segmenter.usage` does."""
        return {
            "embeddings": self._n_embeddings,
            "decodings": self._n_decodings,
            "decoded_prompts": self._n_prompts,
        }

    def embed(self, image: TileImage) -> Embedding:
        """Encode a tile. Raises ModelError when the model call fails."""
        pixels = square_pixels(
            [image.rgb], square_px=self.square_of(image), image_px=self._export.image_px, device="cpu"
        ).numpy()
        given = _called(self._encoder, None, {self._image_input: pixels}, "image encoder")
        self._n_embeddings += 1
        names = self._encoded if self._export.family == "sam2" else ["image_embeddings"]
        return self._embedding(image, dict(zip(names, given, strict=True)))

    def _embedding(self, image: TileImage, features: dict[str, Floats]) -> Embedding:
        height, width = image.rgb.shape[:2]
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=self.square_of(image),
            valid=image.valid,
            features=features,
        )

    def square_of(self, image: TileImage) -> int:
        """Side in pixels of the square that a tile is padded to."""
        return int(max(self._tile_px, *image.rgb.shape[:2]))

    def encoder_identity(self) -> dict[str, object]:
        """Everything that an encoding follows from but the pixels."""
        import onnxruntime

        return {
            "kind": "sam-onnx",
            "encoder": _sha256(self._export.encoder),
            "image_px": self._export.image_px,
            "onnxruntime": onnxruntime.__version__,
            "provider": self._encoder.get_providers()[0],
            "code": code_identity("onnx_segmenter", "tensors", "sam_export"),
            **torch_identity("cpu"),
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
        }

    def tensors_of(self, embedding: Embedding) -> dict[str, Tensor]:
        """The encoder's outputs by names."""
        import torch

        features = embedding.features
        assert isinstance(features, dict), "an embedding belongs to the segmenter that made it"
        return {name: torch.from_numpy(values) for name, values in features.items()}

    def embedding_of(self, image: TileImage, stored: Mapping[str, Tensor]) -> Embedding:
        """Make an embedding of outputs that were stored."""
        return self._embedding(image, {name: tensor.numpy() for name, tensor in stored.items()})

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Decode prompts, in order: one mask for each that has a valid pixel above the threshold.

        Raises ModelError when the model call fails.
        """
        self._n_decodings += 1
        self._n_prompts += len(prompts)
        most = self._options.prompt_batch if self._export.decodes_many else 1
        masks: list[MaskCrop] = []
        for members in prompt_groups(prompts, most):
            masks += self._decode(embedding, prompts, members)
        return sorted(masks, key=lambda mask: mask.prompt_index)

    def propose(self, embedding: Embedding, prompts: Sequence[Prompt], rules: EverythingOptions) -> Proposals:
        """Decode every mask that the prompts may mean, and give the sound ones. Raises ModelError."""
        import torch

        self._n_decodings += 1
        self._n_prompts += len(prompts)
        most = self._options.prompt_batch if self._export.decodes_many else 1
        found = Proposals()
        for members in prompt_groups(prompts, most):
            points, kinds = self._tokens(embedding, [prompts[index] for index in members])
            logits, scores = self._logits(embedding, points, kinds)
            first = 1 if scores.shape[1] == 4 else 0
            sound = sound_masks(
                torch.from_numpy(logits[:, first:]),
                torch.from_numpy(scores[:, first:]),
                prompt_indices=members,
                embedding=embedding,
                threshold=self._options.mask_threshold,
                rules=rules,
            )
            found = found.with_more(sound)
        return found

    def feature_map(self, embedding: Embedding) -> Floats:
        """What the encoder gives, (C, h, h)."""
        features = embedding.features
        assert isinstance(features, dict), "an embedding belongs to the segmenter that made it"
        name = "image_embed" if self._export.family == "sam2" else "image_embeddings"
        coarse: Floats = features[name][0]
        return coarse

    def _decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], members: Sequence[int]
    ) -> list[MaskCrop]:
        import torch

        points, kinds = self._tokens(embedding, [prompts[index] for index in members])
        every, each = self._logits(embedding, points, kinds)
        best = best_masks(each, points.shape[1])
        rows = np.arange(len(points))
        logits = np.ascontiguousarray(every[rows, best])
        scores = each[rows, best]
        crops = crop_masks(
            torch.from_numpy(logits), self._options.mask_threshold, embedding.valid, embedding.square_px
        )
        return [
            MaskCrop(row0=crop.row0, col0=crop.col0, mask=crop.mask, score=float(score), prompt_index=index)
            for index, crop, score in zip(members, crops, scores.clip(0, 1), strict=True)
            if crop is not None
        ]

    def _tokens(self, embedding: Embedding, chosen: Sequence[Prompt]) -> tuple[Floats, Floats]:
        """(N, K, 2) points and (N, K) kinds of N prompts of one length."""
        xy, labels = prompt_tensors(chosen, self._export.image_px / embedding.square_px, "cpu")
        points = xy.numpy()
        kinds = labels.numpy().astype(np.float32)
        if chosen[0].box_xyxy is None and self._export.family != "sam2":  # a sam2 graph adds it itself
            points = np.concatenate([points, np.zeros_like(points[:, :1])], axis=1)
            kinds = np.concatenate([kinds, np.full_like(kinds[:, :1], NO_POINT)], axis=1)
        return points, kinds

    def _logits(self, embedding: Embedding, points: Floats, kinds: Floats) -> tuple[Floats, Floats]:
        """(N, M, L, L) logits and (N, M) scores of N prompts."""
        features = embedding.features
        assert isinstance(features, dict), "an embedding belongs to the segmenter that made it"
        side = self._export.image_px // 4
        every: dict[str, Any] = features | {
            "point_coords": points,
            "point_labels": kinds,
            "mask_input": np.zeros((len(points), 1, side, side), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.ones(2, np.float32),  # the enlarged mask is not wanted
        }
        taken, given = DECODERS[self._export.family]
        scores, logits = _called(
            self._decoder, list(given), {name: every[name] for name in taken}, "mask decoder"
        )
        return logits, scores


def best_masks(scores: Floats, n_points: int) -> NDArray[np.intp]:
    """Choose one of each prompt's masks by their scores (N, M): step 4 of the module's story.

    `n_points`: of each prompt, with the two of its box and with one that is none.
    """
    if scores.shape[1] == 4 and n_points > 2:
        return np.zeros(len(scores), dtype=np.intp)
    first = 1 if scores.shape[1] == 4 else 0
    best: NDArray[np.intp] = first + scores[:, first:].argmax(axis=1)
    return best


def export_folder(checkpoint: str) -> Path:
    """The folder that a checkpoint names; ~ is the user's own."""
    return Path(checkpoint).expanduser()


def find_provider(device: str) -> str:
    """Find what onnxruntime runs on, cpu or cuda. Raises ModelError for a device that it does not have."""
    if device == "cpu":
        return device
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    if not has_cuda:
        came = f"an onnxruntime with {', '.join(onnxruntime.get_available_providers())}"
        remedy = 'set device = "auto" under [segmenter]'
        raise ModelError(
            f"segmenter.device = {device!r} needs a GPU and onnxruntime-gpu. Got: {came}. To fix: {remedy}."
        )
    return device


def _called(session: Any, outputs: list[str] | None, inputs: dict[str, Any], what: str) -> list[Floats]:
    try:
        given: list[Floats] = session.run(outputs, inputs)
    except Exception as error:
        raise ModelError(f"the {what} failed: {type(error).__name__}: {str(error)[:300]}") from error
    return given


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _model_id(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{paths[0].resolve().parent.name}#{digest.hexdigest()[:12]}"
