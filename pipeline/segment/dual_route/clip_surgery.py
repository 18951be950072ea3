"""Where in a picture CLIP sees a phrase: CLIP Surgery, computed from its paper with transformers' CLIP.

1. Architecture: a second path runs beside the vision tower from layer `start` on. In each layer its attention
   is consistent, softmax(s V V^T) V in place of softmax(s Q K^T) V, over what the original path gives that
   layer; its outputs are summed up, and it has no feed-forward part:
   y_start = x_start + A(x_start), y_(i+1) = y_i + A(x_i).
2. `patch_features`: y of the patches, through the last normalisation and projection, each of length 1.
3. Features: what an empty text has in common with every picture is redundant. The map is the product of the
   patches with (phrase - empty text), where the phrase is the mean over templates, of length 1.
4. `similarity` stretches it from its least to its largest value to 0..1.

So the largest value is always 1, whether or not the picture holds what the phrase names.

Source: Li et al., A closer look at the explainability of contrastive language-image pre-training, Pattern
Recognition 162, 2025 (arXiv 2304.05653). The last half of the layers has the second path, as there (6 of 12
in ViT-B/16). Its 85 templates are not copied: these are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

TEMPLATES = (
    "{}",
    "a photo of a {}.",
    "an aerial photo of a {}.",
    "a satellite image of a {}.",
    "a {} seen from above.",
    "a photo of many {}.",
)
"""Texts around a phrase; their mean is what is looked for."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of red, green and blue (0..1) with which CLIP was trained."""


class ClipSurgery:
    """Computes maps of similarity. It keeps the texts that it has encoded."""

    def __init__(
        self, model: str, *, revision: str | None = None, device: str = "cpu", image_px: int = 512
    ) -> None:
        """Load a CLIP with a vision transformer.

        Args:
            model: folder or hub id.
            revision: branch, tag or commit of a hub id; None: the main branch.
            device: where it runs.
            image_px: side to which pictures are squashed; rounded down to whole patches.

        Raises:
            ModelError: it does not load.
        """
        try:
            from transformers import AutoTokenizer, CLIPModel

            loaded = CLIPModel.from_pretrained(model, revision=revision, use_safetensors=True)
            self._model: Any = loaded.to(device).eval()
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                model, revision=revision, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"CLIP does not load from {model}: {error}") from error
        patch = int(self._model.config.vision_config.patch_size)
        self._side = max(image_px // patch, 1) * patch
        self._grid = self._side // patch
        self._device = device
        self._texts: dict[str, Tensor] = {}

    @property
    def grid(self) -> int:
        """Patches per side of a map."""
        return self._grid

    def similarity(self, rgb: NDArray[np.uint8], phrase: str) -> NDArray[np.float32]:
        """Map a phrase over a picture (H, W, 3): (grid, grid) from 0 to 1; all 0 where nothing differs."""
        import torch

        with torch.inference_mode():
            patches = patch_features(self._model, self._pixels(rgb))[0]
            found = patches @ (self._phrase(phrase) - self._text("")).to(patches.dtype)
        flat = found.float().cpu().numpy().reshape(self._grid, self._grid)
        low = float(flat.min())
        span = float(flat.max()) - low
        if span <= 0:
            return np.zeros((self._grid, self._grid), dtype=np.float32)
        stretched: NDArray[np.float32] = ((flat - low) / span).astype(np.float32)
        return stretched

    def _pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        import torch
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(rgb)).resize(
            (self._side, self._side), Image.Resampling.BICUBIC
        )
        values = (np.asarray(picture, dtype=np.float32) / 255 - np.array(MEAN)) / np.array(STD)
        return torch.from_numpy(values.astype(np.float32).transpose(2, 0, 1)[None]).to(self._device)

    def _phrase(self, phrase: str) -> Tensor:
        import torch

        return unit(torch.stack([self._text(template.format(phrase)) for template in TEMPLATES]).mean(dim=0))

    def _text(self, text: str) -> Tensor:
        """Encode a text, to length 1."""
        if text not in self._texts:
            longest = int(self._model.config.text_config.max_position_embeddings)
            tokens = self._tokenizer([text], truncation=True, max_length=longest, return_tensors="pt")
            wanted = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
            encoded = self._model.text_model(**{key: value.to(self._device) for key, value in wanted.items()})
            self._texts[text] = unit(self._model.text_projection(encoded.pooler_output)[0])
        return self._texts[text]


def patch_features(model: Any, pixels: Tensor, start: int | None = None) -> Tensor:
    """Compute features of the patches by the second path, each of length 1: (B, grid * grid, projection).

    Args:
        model: a transformers CLIPModel.
        pixels: (B, 3, side, side), normalised.
        start: first layer of the second path, from 0; None: it has the last half.
    """
    vision = model.vision_model
    layers = vision.encoder.layers
    start = len(layers) // 2 if start is None else start
    original = vision.pre_layrnorm(vision.embeddings(pixels, interpolate_pos_encoding=True))
    second = None
    for number, layer in enumerate(layers):
        if number >= start:
            added = consistent_attention(layer.self_attn, layer.layer_norm1(original))
            second = added + (original if second is None else second)
        original = layer(original, attention_mask=None)
    if second is None:
        second = original
    return unit(model.visual_projection(vision.post_layernorm(second[:, 1:])))


def consistent_attention(attention: Module, normed: Tensor) -> Tensor:
    """Attend by values alone, softmax(s V V^T) V, and project: (B, tokens, channels)."""
    import torch

    heads: Any = attention
    batch, tokens, channels = normed.shape
    values = heads.v_proj(normed).view(batch, tokens, heads.num_heads, heads.head_dim).transpose(1, 2)
    weights = torch.softmax(heads.scale * values @ values.transpose(-1, -2), dim=-1)
    mixed: Tensor = heads.out_proj((weights @ values).transpose(1, 2).reshape(batch, tokens, channels))
    return mixed


def unit(vectors: Tensor) -> Tensor:
    """Bring vectors (..., channels) to length 1."""
    return vectors / vectors.norm(dim=-1, keepdim=True)
