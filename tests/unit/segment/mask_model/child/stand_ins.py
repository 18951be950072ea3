"""Modules that stand for a model's repository: the names that its adapter calls, with the same signatures.

They show that every call of an adapter is made as the repository takes it, as far as it was read. Whether the
repository still is like that, and what weights answer, they cannot show.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.segment.mask_model.child import mask_child
from pipeline.segment.mask_model.child.mask_child import checked_answer, load_adapter, settled_options

FOLDER = Path(mask_child.__file__).parent
SHAPE = (32, 16)
"""Of the picture: 1024 px are a whole multiple of it."""

IMAGE = -200
REFER = -204


def set_modules(monkeypatch: pytest.MonkeyPatch, modules: dict[str, dict[str, Any]]) -> None:
    """Put modules with these attributes, and the packages that they lie in, before all others."""
    for name, attributes in modules.items():
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            whole = ".".join(parts[:length])
            if whole not in modules or length == len(parts):
                known = sys.modules.get(whole)
                made = (
                    known if known is not None and getattr(known, "stands_in", False) else ModuleType(whole)
                )
                made.stands_in = True  # type: ignore[attr-defined]
                made.__path__ = []
                monkeypatch.setitem(sys.modules, whole, made)
                if length > 1:
                    setattr(sys.modules[".".join(parts[: length - 1])], parts[length - 1], made)
        for key, value in attributes.items():
            setattr(sys.modules[name], key, value)


def adapter_of(name: str) -> Any:
    return load_adapter(str(FOLDER / f"{name}_adapter.py"))


def picture() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Red squares on grey, and where they are."""
    red = np.zeros(SHAPE, dtype=np.bool_)
    red[3:9, 2:7] = True
    red[20:30, 8:14] = True
    rgb = np.full((*SHAPE, 3), 90, dtype=np.uint8)
    rgb[red, 0] = 220
    return rgb, red


def asked(adapter: Any, query: str, **options: Any) -> tuple[NDArray[np.bool_], list[float], str]:
    """Load, prepare and answer as the child does."""
    model = adapter.load(settled_options(adapter, {"device": "cpu", **options}))
    rgb, _ = picture()
    return checked_answer(adapter.answer(model, adapter.prepare(model, rgb), query), SHAPE)


def reddish(pixels: torch.Tensor) -> torch.Tensor:
    """Logits (h, w) of normalised pixels (1, 3, h, w): above 0 where red is more than 150."""
    return pixels[0, 0] * 58.395 + 123.675 - 150


class Words:
    """A tokenizer of words; special tokens have ids of their own, and everything can be read back."""

    unk_token = "<unk>"
    pad_token = "<pad>"
    eos_token = "</s>"
    eos_token_id = 2
    bos_token_id = 1
    pad_token_id = 3

    def __init__(self) -> None:
        self.known = ["<unk>", "<s>", "</s>", "<pad>"]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens
        words = text.split()
        self.known += [word for word in words if word not in self.known]
        return [self.known.index(word) for word in words]

    def add_tokens(self, words: list[str]) -> int:
        self.known += words
        return len(words)

    def __call__(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        return SimpleNamespace(input_ids=self.encode(text, add_special_tokens=False))

    def decode(self, ids: Any, skip_special_tokens: bool) -> str:
        return " ".join(self.known[int(number)] for number in ids)


class AutoTokenizer:
    @staticmethod
    def from_pretrained(checkpoint: str, *, trust_remote_code: bool, **settings: Any) -> Words:
        assert trust_remote_code is False
        assert settings == {"model_max_length": 512, "padding_side": "right", "use_fast": False}
        return Words()


class ImageProcessor:
    """CLIP's or SigLIP's; it squashes to 4 x 4."""

    def __init__(self) -> None:
        self.size = {"shortest_edge": 64}

    @classmethod
    def from_pretrained(cls, place: str) -> ImageProcessor:
        return cls()

    def preprocess(self, rgb: NDArray[np.uint8], return_tensors: str) -> dict[str, torch.Tensor]:
        assert return_tensors == "pt"
        assert rgb.shape == (*SHAPE, 3)
        return {"pixel_values": torch.zeros((1, 3, 4, 4))}


class ResizeLongestSide:
    def __init__(self, side: int) -> None:
        self.factor = side // max(SHAPE)

    def apply_image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return rgb.repeat(self.factor, axis=0).repeat(self.factor, axis=1)


class Talk:
    """A conversation of LLaVA's form."""

    roles = ("USER", "ASSISTANT")

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    def copy(self) -> Talk:
        return Talk()

    def append_message(self, role: str, text: str) -> None:
        self.messages.append((role, text))

    def get_prompt(self) -> str:
        return " ".join(f"{role}: {text}" for role, text in self.messages)


def llava_modules(model_name: str, model_class: type) -> dict[str, dict[str, Any]]:
    """What LISA and PixelLM share: the repository's top folders are `model` and `utils`."""

    def tokenizer_image_token(prompt: str, tokenizer: Words, return_tensors: str) -> torch.Tensor:
        assert return_tensors == "pt"
        before, after = prompt.split("<image>")
        ids = [*tokenizer.encode(before, False), IMAGE, *tokenizer.encode(after, False)]
        return torch.tensor(ids)

    tokens = {"DEFAULT_IMAGE_TOKEN": "<image>", "DEFAULT_IM_START_TOKEN": "<im_start> "}
    return {
        f"model.{model_name}": {f"{model_name}ForCausalLM": model_class},
        "model.llava.conversation": {"conv_templates": {"llava_v1": Talk()}},
        "model.llava.mm_utils": {"tokenizer_image_token": tokenizer_image_token},
        "model.segment_anything.utils.transforms": {"ResizeLongestSide": ResizeLongestSide},
        "utils.utils": {**tokens, "DEFAULT_IM_END_TOKEN": " <im_end>", "IMAGE_TOKEN_INDEX": IMAGE},
        "transformers": {"AutoTokenizer": AutoTokenizer, "CLIPImageProcessor": ImageProcessor},
    }


class Weights:
    """What every loaded model answers to, in its own way."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(vision_tower="clip")
        self.moves: list[dict[str, Any]] = []
        self.trains = True

    def get_model(self) -> Weights:
        return self

    def initialize_vision_modules(self, config: Any) -> None:
        assert config is self.config

    def get_vision_tower(self) -> Weights:
        return Weights()

    def to(self, **where: Any) -> Weights:
        self.moves.append(where)
        return self

    def eval(self) -> Weights:
        self.trains = False
        return self
