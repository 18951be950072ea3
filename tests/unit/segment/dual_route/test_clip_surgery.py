"""CLIP Surgery on a CLIP of random weights, beside the paper's equations written out with numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from segment.dual_route.tiny_phrases import write_clip

from pipeline.errors import ModelError
from pipeline.segment.dual_route.clip_surgery import MEAN, STD, TEMPLATES, ClipSurgery, patch_features

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder).double().eval()


def pixels(seed: int = 0) -> Any:
    import torch

    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 3, 32, 32)))


def layer_norm(x: Floats, layer: Any) -> Floats:
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    weight, bias = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))
    normed: Floats = (x - mean) / np.sqrt(variance + layer.eps) * weight + bias
    return normed


def linear(x: Floats, layer: Any) -> Floats:
    found: Floats = x @ layer.weight.detach().numpy().T
    return found if layer.bias is None else found + layer.bias.detach().numpy()


def consistent(x: Floats, layer: Any) -> Floats:
    """softmax(s V V^T) V of one layer, for tokens (n, channels)."""
    attention = layer.self_attn
    values = linear(layer_norm(x, layer.layer_norm1), attention.v_proj)
    heads = []
    for part in np.split(values, attention.num_heads, axis=1):
        scores = part @ part.T / np.sqrt(part.shape[1])
        weights = np.exp(scores - scores.max(1, keepdims=True))
        heads.append(weights / weights.sum(1, keepdims=True) @ part)
    return linear(np.concatenate(heads, axis=1), attention.out_proj)


def oracle(model: Any, start: int) -> Floats:
    """y of the patches from the original path's own hidden states, normalised and projected."""
    vision = model.vision_model
    states = [
        state[0].detach().numpy()
        for state in vision(pixels(), output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
    ]
    layers = list(vision.encoder.layers)
    second = states[start]
    for number in range(start, len(layers)):
        second = second + consistent(states[number], layers[number])
    found = linear(layer_norm(second[1:], vision.post_layernorm), model.visual_projection)
    result: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("start", [0, 2, 3])
def test_the_second_path_is_that_of_the_paper(model: Any, start: int) -> None:
    import torch

    with torch.inference_mode():
        got = patch_features(model, pixels(), start=start)[0].numpy()
    assert got.shape == (16, 32)
    np.testing.assert_allclose(got, oracle(model, start), atol=1e-9)


def test_the_last_half_of_the_layers_has_it(model: Any) -> None:
    import torch

    with torch.inference_mode():
        assert torch.equal(patch_features(model, pixels()), patch_features(model, pixels(), start=2))
        plain = patch_features(model, pixels(), start=4)[0]
        hidden = model.vision_model(pixels()).last_hidden_state
        expected = model.visual_projection(model.vision_model.post_layernorm(hidden[:, 1:]))[0]
        assert torch.allclose(plain, expected / expected.norm(dim=-1, keepdim=True))


def test_the_map_is_of_the_phrase_less_the_empty_text(folder: Path) -> None:
    """By hand from transformers' own features: patches times (mean of templates - empty text), stretched."""
    import torch
    from PIL import Image
    from transformers import AutoTokenizer, CLIPModel

    rgb = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    surgery = ClipSurgery(str(folder), image_px=39)
    assert surgery.grid == 4
    got = surgery.similarity(rgb, "storage tank")
    assert (got.shape, float(got.min()), float(got.max())) == ((4, 4), 0.0, 1.0)

    plain = CLIPModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    seen = np.asarray(Image.fromarray(rgb).resize((32, 32), Image.Resampling.BICUBIC)) / 255.0
    values = torch.from_numpy(((seen - MEAN) / STD).transpose(2, 0, 1)[None]).float()
    with torch.inference_mode():
        texts = []
        for text in ("", *(template.format("storage tank") for template in TEMPLATES)):
            found = plain.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output[0]
            texts.append((found / found.norm()).numpy())
        patches = patch_features(plain, values)[0].numpy()
    phrase = np.mean(texts[1:], axis=0)
    raw = patches @ (phrase / np.linalg.norm(phrase) - texts[0])
    np.testing.assert_allclose(got.ravel(), (raw - raw.min()) / (raw.max() - raw.min()), atol=2e-5)


def test_no_difference_is_no_map(folder: Path) -> None:
    surgery = ClipSurgery(str(folder), image_px=8)
    assert surgery.grid == 1
    assert surgery.similarity(np.zeros((20, 20, 3), np.uint8), "tank").tolist() == [[0.0]]


def test_a_folder_without_a_clip_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="CLIP does not load"):
        ClipSurgery(str(tmp_path))
