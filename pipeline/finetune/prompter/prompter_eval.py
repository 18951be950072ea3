"""Evaluate a prompter tile by tile on unseen worlds, by its greedy replies.

1. `greedy_replies` decodes many (tile, query) pairs at once.
2. `read_answer` reads the boxes of a reply.
3. `AnswerTally` counts found and true boxes, and correct and wrong empty answers.
4. `evaluate` asks about every class and one stranger in every tile, in the given wordings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.forward import (
    Memory,
    fast_products,
    language_hidden,
    patches_of,
    rotary,
    vision_tokens,
)
from pipeline.finetune.prompter.packing import TokenTable, image_positions
from pipeline.finetune.prompter.prompter_data import TileStore
from pipeline.finetune.prompter.samples import prompt_text
from pipeline.finetune.prompter.training_queries import TrainingQuery
from pipeline.world.classes import CLASSES
from pipeline.world.queries import HELD_OUT, TRAIN_QUERIES

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

MAX_REPLY = 300
"""Tokens after which a reply is cut off."""

MATCH_IOU = 0.5


@dataclass(slots=True)
class AnswerTally:
    """Running counts of an evaluation."""

    objects: int = 0
    boxes: int = 0
    matched: int = 0
    present: int = 0
    """Number of (tile, query) pairs that have an answer."""
    missed_whole: int = 0
    """Replies to `present` pairs that say "nothing here"."""
    absent: int = 0
    rejected: int = 0
    """Replies to `absent` pairs that say "nothing here"."""
    malformed: int = 0

    def add(self, boxes: NDArray[np.float64] | None, truth: NDArray[np.floating]) -> None:
        """Count one reply. `boxes` (None: malformed) and `truth` are (n, 4)."""
        if boxes is None:
            self.malformed += 1
            boxes = np.zeros((0, 4))
        elif not len(boxes):
            self.missed_whole += len(truth) > 0
            self.rejected += len(truth) == 0
        self.present += len(truth) > 0
        self.absent += len(truth) == 0
        self.objects += len(truth)
        self.boxes += len(boxes)
        self.matched += count_matches(boxes, truth)

    def summary(self) -> dict[str, float]:
        """Compute recall and precision of boxes, right and wrong rejections, and the counts."""
        return {
            "recall": self.matched / max(self.objects, 1),
            "precision": self.matched / max(self.boxes, 1),
            "rejection": self.rejected / max(self.absent, 1),
            "false_rejection": self.missed_whole / max(self.present, 1),
            **asdict(self),
        }


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the IoU (n, m) of boxes (n, 4) and (m, 4), each x0, y0, x1, y1."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(-1) for box in (first, second)]
    result: NDArray[np.float64] = inter / np.maximum(area[0][:, None] + area[1][None] - inter, 1e-9)
    return result


def count_matches(boxes: NDArray[np.floating], truth: NDArray[np.floating]) -> int:
    """Count one-to-one matches with IoU >= MATCH_IOU, best first."""
    if not len(boxes) or not len(truth):
        return 0
    iou = box_iou(boxes, truth)
    count = 0
    while iou.max() >= MATCH_IOU:
        row, col = np.unravel_index(int(iou.argmax()), iou.shape)
        iou[row, :] = iou[:, col] = 0.0
        count += 1
    return count


def read_answer(reply: str) -> NDArray[np.float64] | None:
    """Read the boxes (n, 4) of a reply. None: it does not hold the contract's JSON."""
    found = re.search(r"<answer>(.*)</answer>", reply, re.DOTALL)
    if not found:
        return None
    try:
        items = json.loads(found.group(1))
        return np.asarray([item["bbox_2d"] for item in items], np.float64).reshape(-1, 4)
    except (ValueError, KeyError, TypeError):
        return None


def greedy_replies(
    model: Module, table: TokenTable, rgb: NDArray[np.uint8], asked: Sequence[tuple[int, str]]
) -> list[str]:
    """Decode greedy replies to `asked`: (index into rgb, query). rgb: (B, 252, 252, 3)."""
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode(), fast_products(device.type):
        images = vision_tokens(model.model.visual, patches_of(torch.from_numpy(rgb).to(device)))
        replies: list[str] = []
        for first in range(0, len(asked), 96):
            part = asked[first : first + 96]
            rows = torch.tensor([index for index, _ in part], device=device)
            prompts = [table.encode(prompt_text(query)) for _, query in part]
            ids = _decode(model, table, images[rows], prompts)
            replies.extend(str(table.tokenizer.decode(row, skip_special_tokens=True)) for row in ids)
    return replies


def _decode(model: Module, table: TokenTable, images: Tensor, prompts: list[list[int]]) -> list[list[int]]:
    """Decode the token ids of each reply, without the end token."""
    import torch

    text = model.model.language_model
    device = images.device
    embeddings = text.embed_tokens.weight
    count = len(prompts)
    longest = max(len(prompt) for prompt in prompts)
    start = torch.from_numpy(image_positions(len(table.prefix))).to(device)
    follows = int(start.max()) + 1
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    ids = torch.tensor([prompt + [table.pad] * (longest - len(prompt)) for prompt in prompts], device=device)
    before = embeddings[torch.tensor(table.prefix, device=device)].expand(count, -1, -1)
    embeds = torch.cat([before, images.to(before.dtype), embeddings[ids]], dim=1)
    seen = embeds.shape[1] - longest
    positions = torch.cat(
        [
            start[:, None].expand(-1, count, -1),
            (torch.arange(longest, device=device) + follows).expand(3, count, -1),
        ],
        2,
    )
    usable = torch.cat(
        [
            torch.ones(count, seen, device=device),
            (torch.arange(longest, device=device) < lengths[:, None]).float(),
        ],
        1,
    )
    side = embeds.shape[1]
    causal = torch.full((side, side), -1e9, device=device).triu(1)
    mask = causal + ((usable - 1) * 1e9)[:, None, None]
    memory = Memory(keys=[], values=[])
    hidden = language_hidden(text, embeds, angles=rotary(text, positions), mask=mask, memory=memory)
    last = hidden[torch.arange(count, device=device), seen + lengths - 1]
    replies: list[list[int]] = [[] for _ in range(count)]
    rows = torch.arange(count, device=device)
    for step in range(MAX_REPLY):
        token = (last.float() @ embeddings.float().T).argmax(1)
        going = (token != table.end).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(token):
            rows, token, usable = rows[going], token[going], usable[going]
            memory.keys = [key[going] for key in memory.keys]
            memory.values = [value[going] for value in memory.values]
        for row, chosen in zip(rows.tolist(), token.tolist(), strict=True):
            replies[row].append(chosen)
        usable = torch.cat([usable, torch.ones(len(rows), 1, device=device)], 1)
        place = (lengths[rows] + follows + step)[None, :, None].expand(3, -1, 1)
        mask = ((usable - 1) * 1e9)[:, None, None]
        hidden = language_hidden(
            text, embeddings[token][:, None], angles=rotary(text, place), mask=mask, memory=memory
        )
        last = hidden[:, 0]
    return replies


def wordings(held_out: bool) -> list[list[str]]:
    """List the wordings of every class, then those about strangers: trained ones, or held-out ones."""
    listed = HELD_OUT if held_out else TRAIN_QUERIES
    return [[query.query for query in listed if query.class_name == name] for name in (*CLASSES, "")]


Answerer = Callable[[NDArray[np.uint8], Sequence[tuple[int, str]]], list[str]]
"""Function (images, asked) -> replies, as `greedy_replies`."""


def evaluate(
    answer: Answerer, store: TileStore, *, n_tiles: int, held_out: bool, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Tally replies about the first `n_tiles` tiles: `all`, and by class (`stranger`: no world has it)."""
    rng = np.random.default_rng(seed)
    texts = wordings(held_out)
    names = (*CLASSES, "stranger")
    tallies = {name: AnswerTally() for name in ("all", *names)}
    for first in range(0, n_tiles, 32):
        indexes = range(first, min(first + 32, n_tiles))
        kinds = [kind for _ in indexes for kind in range(len(names))]
        queries = [
            TrainingQuery(text=str(rng.choice(texts[kind])), class_id=kind if kind < len(CLASSES) else -1)
            for kind in kinds
        ]
        asked = [(row // len(names), query.text) for row, query in enumerate(queries)]
        replies = answer(np.stack([store.rgb(index) for index in indexes]), asked)
        for (row, _), query, reply in zip(asked, queries, replies, strict=True):
            truth = store.truth(first + row)
            boxes = truth.boxes_xyxy[truth.class_ids == query.class_id]
            for name in ("all", names[query.class_id]):
                tallies[name].add(read_answer(reply), boxes)
    return {name: tally.summary() for name, tally in tallies.items()}
