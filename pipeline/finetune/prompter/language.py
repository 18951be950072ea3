"""Compute the loss of the language model, which learns to answer packed queries (packing.py) about vision
tokens.

1. `_reply_loss`: cross entropy of the reply tokens. A number's target is spread over its neighbours. The word
   some or none, and the cell that opens an object, weigh more.
2. `_image_loss`, after layer TAP: each image token predicts its cell, and the numbers of an object whose
   point lies in it.
3. `_pointer_loss`, after layer POINTER_TAP: each reply token about an object points at the cell of its point;
   at the end of the list, nowhere.
4. `_look_loss`: in the next layer, one attention head per key/value head looks at that cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.finetune.prompter.forward import N_IMAGE_TOKENS, Probe, fast_products, language_hidden, rotary
from pipeline.finetune.prompter.packing import (
    DECISION_WEIGHT,
    MAX_RANK,
    NOWHERE,
    PackedBatch,
    TokenTable,
    attention_mask,
    image_positions,
)
from pipeline.finetune.prompter.samples import GRID
from pipeline.finetune.prompter.tokenizer import MAX_NUMBER

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, ModuleDict

SIGMA_PX = 1.2
"""Spread of a number's target in pixels, as 41 is nearly right where 42 is right."""

TAP = 1
"""Layer after which image tokens must know where they are."""

POINTER_TAP = 2
"""Layer after which reply tokens must know the cell that they are about. Two layers are left to fetch its
numbers.
"""


def make_language_heads(width: int) -> ModuleDict:
    """Make the heads on tokens inside the language model. They are dropped after training."""
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
    """The loss of the module's story, for a model and its tokenizer.

    `compiled`: compile the language model. Every new length of a batch then costs a compilation.
    """

    def __init__(
        self, model: Module, heads: ModuleDict, table: TokenTable, *, compiled: bool = False
    ) -> None:
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
        """Compute loss and parts. tokens: (B, 81, width) from the vision tower."""
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
        """Compute the mean of -log of the looking heads' attention to the cell that a token is about.

        attention: (B, heads, T, 81).
        """
        here = (batch.cell >= 0) & (batch.cell < NOWHERE)
        config = self.model.config.text_config
        looking = attention[:, :: config.num_attention_heads // config.num_key_value_heads]
        target = batch.cell.clamp(0, NOWHERE - 1)[:, None, :, None].expand(-1, looking.shape[1], -1, 1)
        seen = looking.gather(3, target)[..., 0].transpose(1, 2)[here]
        result: Tensor = -(seen.float() + 1e-6).log().mean() if len(seen) else attention.sum() * 0.0
        return result

    def _pointer_loss(self, speaking: Tensor, image: Tensor, batch: PackedBatch) -> tuple[Tensor, float]:
        """Compute the cross entropy of pointing, and the share of cells that are right.

        Number tokens reward the right cell only once it leads to the right number. With them alone, the
        order of objects is learned last.

        speaking: (B, T, d), one place before its token; image: (B, 81, d).
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
        """Compute the loss of what image tokens predict, and its parts.

        Each predicts row and column of its cell. If an object has its point there, it also predicts the six
        numbers of the answer (in the vocabulary of numbers) and how many objects of the class come before.
        The reply then only has to look this up and copy it.
        """
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
