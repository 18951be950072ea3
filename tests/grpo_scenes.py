"""A drawn image with one target, a prompter small enough to train in a test, and data folders of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.finetune.prompter.prompter_model import PrompterShape, build_model, export_checkpoint
from pipeline.finetune.prompter.tokenizer import load_tokenizer

SHIPPED = Path(__file__).parents[1] / "pipeline/models/embedded-prompter"
TINY = PrompterShape(
    vision_width=64, vision_depth=2, vision_mlp=96, text_width=64, text_depth=2, text_mlp=96, text_kv_heads=1
)
TINY_PX = 56
"""Side of the image the tiny prompter sees: four visual tokens."""

PROFILE = """
name = "tiny"
image_px = [56, 56]
resampling = "bilinear"
frame = "image_px"
max_tokens = 40
system = ""
user = "Find: {query}"
[parser]
box_keys = ["bbox_2d"]
points_keys = ["positive_points"]
required = ["bbox_2d"]
n_points = 1
"""

PRESENT = "storage tanks"
ABSENT = "where could one land a small plane or a helicopter?"
"""Of another length than PRESENT, so that a batch of both is padded."""

Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, half-open."""

TARGET: Rectangle = (40, 60, 120, 150)


def scene(size: int = 256) -> NDArray[np.uint8]:
    """(size, size, 3): TARGET bright on a dark ground."""
    rgb = np.full((size, size, 3), (60, 80, 50), np.uint8)
    x0, y0, x1, y1 = TARGET
    rgb[y0:y1, x0:x1] = (230, 228, 220)
    return rgb


def mask_of(*rectangles: Rectangle, size: int = 256) -> NDArray[np.bool_]:
    out = np.zeros((size, size), np.bool_)
    for x0, y0, x1, y1 in rectangles:
        out[y0:y1, x0:x1] = True
    return out


def write_data(
    folder: Path, rows: Sequence[tuple[str, NDArray[np.bool_] | None]], rgb: NDArray[np.uint8] | None = None
) -> Path:
    """A data folder with one image and a row per (query, mask)."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    Image.fromarray(scene() if rgb is None else rgb).save(folder / "images/a.png")
    lines = []
    for number, (query, mask) in enumerate(rows):
        if mask is not None:
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"masks/{number}.png")
        name = None if mask is None else f"masks/{number}.png"
        lines.append(
            {
                "image": "images/a.png",
                "mask": name,
                "question": query,
                "thought": "Yes." if name else "No.",
            }
        )
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_tiny_prompter(folder: Path) -> Path:
    """A checkpoint of random weights with the shipped tokenizer, for images of TINY_PX, and its profile
    beside it (tiny.toml).
    """
    tokenizer = load_tokenizer(SHIPPED)
    export_checkpoint(build_model(TINY, tokenizer, seed=0), tokenizer, folder, card="# card\n")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"min_pixels": TINY_PX**2, "max_pixels": TINY_PX**2}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder.parent / "tiny.toml").write_text(PROFILE)
    return folder
