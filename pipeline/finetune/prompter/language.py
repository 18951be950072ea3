"""Trains the language model to answer: several queries about one tile packed into one sequence.

1. `pack_tile`: prefix, the tile's 81 image tokens, then query-and-answer segments. A segment sees the
   prefix, the image and itself, never another segment, and its positions start right after the image: exactly
   what it would see alone.
2. `collate`: packs -> arrays; the additive mask follows from the segment numbers (`attention_mask`).
3. `language_loss`: cross entropy on the reply tokens. A number's target is spread over its neighbours (sigma
   SIGMA_PX), because 41 is nearly right where 42 is; the token that says some or none weighs DECISION_WEIGHT,
   the cell that opens an object CELL_WEIGHT.
4. The image tokens are told, after layer TAP, through heads that are dropped later, which cell they are, and,
   where an object has its point in the cell, the six absolute numbers of the answer (in the vocabulary of
   numbers itself) and how many of its class come before it. The reply then has only to look up and copy.
5. The reply is told where to look: after layer POINTER_TAP, each token that says something about an object
   must point, through one bilinear form that is dropped later, at the cell of that object's point, or at none
   where the list ends. In the next layer one attention head per key/value head must look there. Enumerating
   in order is what number tokens alone teach last: they reward a right cell only once it has become a right
   number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.forward import N_IMAGE_TOKENS, Probe, fast_products, language_hidden, rotary
from pipeline.finetune.prompter.samples import (
    GRID,
    PROMPT_PREFIX,
    TileTruth,
    answer_numbers,
    cell_of,
    prompt_text,
    reply_text,
)
from pipeline.finetune.prompter.tokenizer import (
    MAX_NUMBER,
    NEXT_OBJECT,
    OBJECTS_CLOSE,
    OBJECTS_OPEN,
    cell_token_ids,
    number_token_ids,
)
from pipeline.finetune.prompter.training_queries import Query, QuerySampler
from pipeline.finetune.prompter.vision import largest_last

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

SIGMA_PX = 1.2
"""Spread of a number's target, px."""

DECISION_WEIGHT = 4.0
"""Weight of the token that says whether the tile holds an answer."""

CELL_WEIGHT = 3.0
"""Weight of the token that says in which cell the next object is, and of the list mark that says whether
there is one.
"""

TAP = 1
"""The layer after which image tokens must know where they are."""

POINTER_TAP = 2
"""The layer after which reply tokens must know which cell they speak of; two layers are left to fetch its
numbers.
"""

NOWHERE = N_IMAGE_TOKENS
"""The pointer's target where no object is left."""

MAX_RANK = 16
"""Ranks of an object within its class from here on are one."""

TEXT_BUDGET = 352
"""Usual number of text tokens of one packed tile after the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTable:
    """Ids of what packing needs, looked up once."""

    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    image: int
    end: int
    pad: int
    numbers: NDArray[np.int64]
    """(MAX_NUMBER + 1,)"""
    decisions: frozenset[int]
    """` some` and ` none`."""
    list_marks: frozenset[int]
    """What follows an object: the comma before the next one, or the end of the list."""
    opens: int
    """The bracket before the first object."""
    cells: NDArray[np.int64]
    """(81,)"""

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
    """The text part of one packed tile, flat."""

    ids: list[int]
    segment: list[int]
    """Number of the segment of each token, from 1."""
    position: list[int]
    """From 0 at each segment's start."""
    weight: list[float]
    """Weight of predicting this token from the one before it; 0 for prompts."""
    cell: list[int]
    """Raster index of the cell of the object that this token speaks of, NOWHERE, or -1 where it speaks of
    none.
    """


def segment_of(table: TokenTable, query: Query, truth: TileTruth) -> tuple[list[int], list[float], list[int]]:
    """Token ids, weights and cells of one query with its true answer."""
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
    """Cell that each token of a reply speaks of; `cells` are those of its objects in order, then NOWHERE.

    The decision and the opening bracket speak of the first object, a cell and a number of their own, a list
    mark of the next one; other tokens of none (-1).
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
    truth: TileTruth,
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
    packs: Sequence[Pack], truths: Sequence[TileTruth], *, pad: int, multiple: int = 16
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
    """(B, T) segments -> additive (B, 1, P + T, P + T), P = prefix and image: causal, and no segment sees
    another.
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
    """(3, P) positions (time, row, column) of `n_before` prefix tokens and the image after them."""
    text = np.tile(np.arange(n_before), (3, 1))
    row, col = np.divmod(np.arange(N_IMAGE_TOKENS), GRID)
    image = np.stack([np.zeros_like(row), row, col]) + n_before
    return np.concatenate([text, image], axis=1)


def make_language_heads(width: int) -> Any:
    """Heads on the image tokens inside the language model; dropped after training."""
    import torch

    return torch.nn.ModuleDict({
        "row": torch.nn.Linear(width, GRID),
        "col": torch.nn.Linear(width, GRID),
        "numbers": torch.nn.Linear(width, 6 * width),
        "rank": torch.nn.Linear(width, MAX_RANK),
        "point_from": torch.nn.Linear(width, width, bias=False),
        "point_to": torch.nn.Linear(width, width, bias=False),
        "point_nowhere": torch.nn.Linear(width, 1),
    })  # fmt: skip


class LanguageObjective:
    """The loss of the module story for a model and its tokenizer. `compiled`: every new length of a batch
    costs a compilation.
    """

    def __init__(self, model: Any, heads: Any, table: TokenTable, *, compiled: bool = False) -> None:
        import torch

        self.model = model
        self.heads = heads
        self.table = table
        self.device = next(model.parameters()).device
        self._language_hidden = torch.compile(language_hidden, dynamic=False) if compiled else language_hidden
        self._prefix = torch.tensor(table.prefix, device=self.device)
        self._positions = torch.from_numpy(image_positions(len(table.prefix))).to(self.device)
        self._numbers = torch.from_numpy(table.numbers).to(self.device)
        value = torch.arange(MAX_NUMBER + 1, device=self.device)
        spread = torch.exp(-0.5 * ((value[:, None] - value[None, :]) / SIGMA_PX) ** 2)
        self._spread = spread / spread.sum(1, keepdim=True)
        place = torch.full((model.config.text_config.vocab_size,), -1, device=self.device)
        place[self._numbers] = value
        self._value_of = place
        self._is_cell = torch.zeros(len(place), dtype=torch.bool, device=self.device)
        self._is_cell[torch.from_numpy(table.cells).to(self.device)] = True

    def __call__(self, tokens: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, float]]:
        """tokens: (B, 81, width) from the vision tower."""
        import torch

        text = self.model.model.language_model
        table = text.embed_tokens.weight
        count = len(tokens)
        before = table[self._prefix].expand(count, -1, -1)
        n_prefix = before.shape[1] + N_IMAGE_TOKENS
        follows = int(self._positions.max()) + 1
        positions = torch.cat(
            [self._positions[:, None].expand(-1, count, -1), (batch.position + follows).expand(3, -1, -1)],
            dim=2,
        )
        mask = attention_mask(batch.segment, n_prefix)
        with fast_products(tokens.device.type):
            embeds = torch.cat([before, tokens.to(before.dtype), table[batch.ids]], dim=1)
            probe = Probe(after=(TAP, POINTER_TAP), attention_of=min(POINTER_TAP + 1, len(text.layers) - 1))
            hidden = self._language_hidden(
                text, embeds, angles=rotary(text, positions), mask=mask, probe=probe
            )
        replies = slice(n_prefix - 1, -1)
        cells = slice(before.shape[1], n_prefix)
        reply, parts = self._reply_loss(hidden[:, replies], batch, table)
        image, image_parts = self._image_loss(probe.states[0][:, cells].float(), batch, table)
        deep = probe.states[-1].float()
        pointer, pointed = self._pointer_loss(deep[:, replies], deep[:, cells], batch)
        assert probe.attention is not None
        look = self._look_loss(probe.attention[:, :, replies, cells], batch)
        parts |= {
            **image_parts,
            "pointer": float(pointer.detach()),
            "pointed": pointed,
            "look": float(look.detach()),
        }
        return reply + 0.5 * image + 0.5 * pointer + 0.25 * look, parts

    def _look_loss(self, attention: Tensor, batch: PackedBatch) -> Tensor:
        """How far the looking heads are from the cell spoken of: mean of -log of the attention it gets.
        attention: (B, heads, T, 81).
        """
        here = (batch.cell >= 0) & (batch.cell < NOWHERE)
        looking = attention[
            :,
            :: self.model.config.text_config.num_attention_heads
            // self.model.config.text_config.num_key_value_heads,
        ]
        target = batch.cell.clamp(0, NOWHERE - 1)[:, None, :, None].expand(-1, looking.shape[1], -1, 1)
        seen = looking.gather(3, target)[..., 0].transpose(1, 2)[here]
        result: Tensor = -(seen.float() + 1e-6).log().mean() if len(seen) else attention.sum() * 0.0
        return result

    def _pointer_loss(self, speaking: Tensor, image: Tensor, batch: PackedBatch) -> tuple[Tensor, float]:
        """Cross entropy of pointing, and the share of right cells. speaking: (B, T, d), one place before its
        token; image: (B, 81, d).
        """
        import torch
        from torch.nn import functional

        speaks = batch.cell >= 0
        asked = self.heads["point_from"](speaking)
        score = asked @ self.heads["point_to"](image).transpose(1, 2) * asked.shape[-1] ** -0.5
        logits = torch.cat([score, self.heads["point_nowhere"](speaking)], dim=-1)[speaks]
        target = batch.cell[speaks]
        return functional.cross_entropy(logits, target), float((logits.argmax(-1) == target).float().mean())

    def _reply_loss(
        self, hidden: Tensor, batch: PackedBatch, table: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        import torch
        from torch.nn import functional

        asked = batch.weight > 0
        target = batch.ids[asked]
        weight = batch.weight[asked]
        with fast_products(hidden.device.type):
            logits = functional.linear(hidden[asked], table)
        logp = torch.log_softmax(logits.float(), dim=-1)
        value = self._value_of[target]
        loss = -logp.gather(1, target[:, None])[:, 0]
        is_number = value >= 0
        soft = -(self._spread[value[is_number]] * logp[is_number][:, self._numbers]).sum(1)
        loss = torch.where(is_number, torch.zeros_like(loss).masked_scatter(is_number, soft), loss)
        decided = weight == DECISION_WEIGHT
        with torch.no_grad():
            guess = logp[:, self._numbers].argmax(1)
            off = (guess[is_number] - value[is_number]).abs().float()
            right = (logp.argmax(1) == target)[decided].float()
            parts = {
                "number": float(soft.mean()),
                "px": float(off.mean()),
                "near": float((off <= 4).float().mean()),
            }
            parts |= {
                "decide": float(loss[decided].mean()),
                "right": float(right.mean()),
                "next": float((logp.argmax(1) == target)[self._is_cell[target]].float().mean()),
                "words": float(loss[~is_number & ~decided].mean()),
            }
        return (loss * weight).sum() / weight.sum(), parts

    def _image_loss(
        self, tapped: Tensor, batch: PackedBatch, table: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        import torch
        from torch.nn import functional

        cells = torch.arange(N_IMAGE_TOKENS, device=tapped.device).expand(len(tapped), -1)
        where = functional.cross_entropy(self.heads["row"](tapped).flatten(0, 1), (cells // GRID).flatten())
        where = where + functional.cross_entropy(
            self.heads["col"](tapped).flatten(0, 1), (cells % GRID).flatten()
        )
        if not len(batch.cell_index):
            return where, {}
        peak = tapped[batch.cell_index[:, 0], batch.cell_index[:, 1]]
        logits = self.heads["numbers"](peak).view(-1, 6, peak.shape[1]) @ table[self._numbers].T.float()
        numbers = -(self._spread[batch.cell_numbers] * torch.log_softmax(logits, -1)).sum(-1).mean()
        rank = functional.cross_entropy(self.heads["rank"](peak), batch.cell_rank)
        off = (logits.argmax(-1) - batch.cell_numbers).abs().float().mean()
        parts = {"cell": where, "aux": numbers, "aux_px": off, "rank": rank}
        return where + numbers + 0.5 * rank, {name: float(value.detach()) for name, value in parts.items()}
