"""Pack several queries about one tile into one sequence, on which the language model is trained.

1. `pack_tile` puts segments (a query and its answer) after the tile's 81 image tokens.
2. `segment_of` gives each reply token a weight, and the cell of the object that it is about.
3. `collate` pads the packs of a batch to one length and adds the image targets.
4. `attention_mask` and `image_positions` make every segment look as it would alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.forward import N_IMAGE_TOKENS
from pipeline.finetune.prompter.samples import (
    GRID,
    PROMPT_PREFIX,
    TileObjects,
    answer_numbers,
    cell_of,
    prompt_text,
    reply_text,
)
from pipeline.finetune.prompter.tokenizer import (
    NEXT_OBJECT,
    OBJECTS_CLOSE,
    OBJECTS_OPEN,
    cell_token_ids,
    number_token_ids,
)
from pipeline.finetune.prompter.training_queries import QuerySampler, TrainingQuery
from pipeline.finetune.prompter.vision import largest_last

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

DECISION_WEIGHT = 4.0
"""Weight of the token that says whether the tile holds an answer."""

CELL_WEIGHT = 3.0
"""Weight of the token that names the next object's cell, and of the mark that says whether there is one."""

NOWHERE = N_IMAGE_TOKENS
"""Cell of a token that is about the next object when none is left."""

MAX_RANK = 16
"""Number of ranks by which objects of a class are told apart; all later objects share the last."""

TEXT_BUDGET = 352
"""Usual number of text tokens of one packed tile after the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTable:
    """Ids of the tokens that packing needs, looked up once."""

    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    image: int
    end: int
    pad: int
    numbers: NDArray[np.int64]
    """Ids of the integers, (MAX_NUMBER + 1,)."""
    decisions: frozenset[int]
    """Ids of ` some` and ` none`."""
    list_marks: frozenset[int]
    """Ids that follow an object: the comma before the next one, and the end of the list."""
    opens: int
    """Id of the bracket before the first object."""
    cells: NDArray[np.int64]
    """Ids of the tokens that open an object in each cell, (81,)."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenTable:
        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

        return cls(
            tokenizer=tokenizer,
            prefix=ids(PROMPT_PREFIX),
            image=ids("<|image_pad|>")[0],
            end=ids("<|im_end|>")[0],
            pad=ids("<|endoftext|>")[0],
            numbers=number_token_ids(tokenizer),
            decisions=frozenset((ids(" some")[0], ids(" none")[0])),
            list_marks=frozenset((ids(NEXT_OBJECT)[0], ids(OBJECTS_CLOSE)[0])),
            opens=ids(OBJECTS_OPEN)[0],
            cells=cell_token_ids(tokenizer),
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """The text tokens of one packed tile, all segments in one list."""

    ids: list[int]
    segment: list[int]
    """Number of the segment of each token, from 1."""
    position: list[int]
    """Position within the segment, from 0."""
    weight: list[float]
    """Weight of predicting this token from the one before it; 0 for prompts."""
    cell: list[int]
    """Raster index of the cell of the object that this token is about; NOWHERE, or -1: about no object."""


def segment_of(
    table: TokenTable, query: TrainingQuery, truth: TileObjects
) -> tuple[list[int], list[float], list[int]]:
    """Make token ids, weights and cells of one query with its true answer."""
    chosen = truth.class_ids == query.class_id
    numbers = answer_numbers(truth.points_xy[chosen], truth.boxes_xyxy[chosen])
    prompt = table.encode(prompt_text(query.text))
    reply = [*table.encode(reply_text(query.subject, numbers)), table.end]
    heavy = table.list_marks | frozenset(table.cells.tolist())
    weights = [
        DECISION_WEIGHT if token in table.decisions else CELL_WEIGHT if token in heavy else 1.0
        for token in reply
    ]
    cells = spoken_cells(table, reply, [*cell_of(truth.points_xy[chosen]).tolist(), NOWHERE])
    return prompt + reply, [0.0] * len(prompt) + weights, [-1] * len(prompt) + cells


def spoken_cells(table: TokenTable, reply: Sequence[int], cells: Sequence[int]) -> list[int]:
    """Find the cell that each token of a reply is about. `cells`: those of its objects, then NOWHERE.

    The decision and the opening bracket are about the first object, a cell and a number about their own, a
    list mark about the next. Other tokens are about none (-1).
    """
    numbers = frozenset(table.numbers.tolist())
    of_next = table.list_marks | table.decisions | frozenset((table.opens, *table.cells.tolist()))
    spoken = []
    said = 0
    for token in reply:
        speaks = token in numbers or token in of_next
        spoken.append(cells[said // 6] if speaks else -1)
        said += token in numbers
    return spoken


def pack_tile(
    table: TokenTable,
    sampler: QuerySampler,
    truth: TileObjects,
    *,
    rng: np.random.Generator,
    budget: int = TEXT_BUDGET,
) -> Pack:
    """Queries until `budget` tokens are full; one that does not fit ends the pack (the first may overrun
    it).
    """
    pack = Pack(ids=[], segment=[], position=[], weight=[], cell=[])
    unclear = np.flatnonzero(truth.coverage.any(axis=(0, 1))).tolist()
    for number in range(1, 100):
        ids, weights, cells = segment_of(
            table, sampler.for_tile(truth.class_ids, rng, unclear=unclear), truth
        )
        if len(pack.ids) + len(ids) > budget and number > 1:
            break
        pack.ids.extend(ids)
        pack.weight.extend(weights)
        pack.cell.extend(cells)
        pack.segment.extend([number] * len(ids))
        pack.position.extend(range(len(ids)))
    return pack


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedBatch:
    """Text of a batch after prefix and image, padded to one length T, and the image targets."""

    ids: Tensor
    """(B, T) int64"""
    segment: Tensor
    """(B, T) int64, 0 = padding"""
    position: Tensor
    """(B, T) int64"""
    weight: Tensor
    """(B, T) float32"""
    cell: Tensor
    """(B, T) int64, -1 = none"""
    cell_numbers: Tensor
    """(M, 6) int64 absolute numbers of the M objects that own a peak cell"""
    cell_rank: Tensor
    """(M,) int64"""
    cell_index: Tensor
    """(M, 2) int64: row of the batch, raster index of the cell"""


def collate(
    packs: Sequence[Pack], truths: Sequence[TileObjects], *, pad: int, multiple: int = 16
) -> PackedBatch:
    """Pad packs to one length, a multiple of `multiple`, and collect the image targets."""
    import torch

    longest = max(len(pack.ids) for pack in packs)
    longest = -(-longest // multiple) * multiple
    blank = {"ids": pad, "segment": 0, "position": 0, "cell": -1}
    arrays = {name: np.full((len(packs), longest), value, np.int64) for name, value in blank.items()}
    weight = np.zeros((len(packs), longest), np.float32)
    for row, pack in enumerate(packs):
        for name, array in arrays.items():
            array[row, : len(pack.ids)] = getattr(pack, name)
        weight[row, : len(pack.ids)] = pack.weight
    numbers = []
    ranks = []
    index = []
    for row, truth in enumerate(truths):
        owner = {int(cell_of(truth.points_xy[k : k + 1])[0]): k for k in largest_last(truth)}
        values = answer_numbers(truth.points_xy, truth.boxes_xyxy)
        for cell, k in owner.items():
            numbers.append(values[k])
            ranks.append(min(int((truth.class_ids[:k] == truth.class_ids[k]).sum()), MAX_RANK - 1))
            index.append((row, cell))
    return PackedBatch(
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
        weight=torch.from_numpy(weight),
        cell_numbers=torch.from_numpy(np.asarray(numbers, np.int64).reshape(-1, 6)),
        cell_rank=torch.from_numpy(np.asarray(ranks, np.int64)),
        cell_index=torch.from_numpy(np.asarray(index, np.int64).reshape(-1, 2)),
    )


def attention_mask(segment: Tensor, n_prefix: int) -> Tensor:
    """Make the additive mask (B, 1, P + T, P + T) of segments (B, T); P counts prefix and image.

    It is causal. A segment sees the prefix, the image and itself, never another segment.
    """
    import torch

    whole = torch.cat([segment.new_zeros(len(segment), n_prefix), segment], dim=1)
    side = whole.shape[1]
    order = torch.arange(side, device=segment.device)
    causal = order[:, None] >= order[None, :]
    same = (whole[:, :, None] == whole[:, None, :]) | (order < n_prefix)[None, None, :]
    allowed = causal & same
    return torch.zeros(allowed.shape, device=segment.device).masked_fill_(~allowed, -1e9)[:, None]


def image_positions(n_before: int) -> NDArray[np.int64]:
    """Make the positions (3, P) (time, row, column) of `n_before` prefix tokens and the image after them."""
    text = np.tile(np.arange(n_before), (3, 1))
    row, col = np.divmod(np.arange(N_IMAGE_TOKENS), GRID)
    image = np.stack([np.zeros_like(row), row, col]) + n_before
    return np.concatenate([text, image], axis=1)
