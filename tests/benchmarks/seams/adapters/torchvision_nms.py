"""Plain non-maximum suppression on boxes, `torchvision.ops.nms`; a kept box keeps its own mask.

Settings: `iou_threshold`.
"""

from __future__ import annotations

from typing import Any

import torch
from exchange import Outputs, TileMasks, answer
from torchvision.ops import nms

torch.set_num_threads(1)


def prepare(masks: TileMasks, settings: dict[str, Any]) -> tuple[TileMasks, float]:
    return masks, float(settings["iou_threshold"])


def merge(native: tuple[TileMasks, float]) -> tuple[bytes, ...]:
    masks, threshold = native
    kept = nms(torch.from_numpy(masks.box).float(), torch.from_numpy(masks.score).float(), threshold)
    return tuple(masks.wkb[i] for i in kept.tolist())


if __name__ == "__main__":
    answer(prepare, merge, lambda wkb: Outputs(wkb=wkb), ["torchvision", "torch", "numpy"])
