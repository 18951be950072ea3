"""Compute the rewards of mask-only GRPO: R = l1 * format + l2 * IoU, with l1 = 1 and l2 = 2.

1. `read_candidate` parses a reply into items, an explicit `[]`, or malformed. Rule `paper` parses as
   inference does, rule `authors-code` with the strict parser of the released rewards.
2. `format_reward` judges only the text.
3. `iou_reward` compares the union of the segmenter's masks with the true mask. On an empty target an explicit
   `[]` earns 1, and everything else, even a malformed reply, 0.
4. `total_reward` weighs and adds both.

No box or point is supervised directly; only the overlap teaches. Source: Think2Seg-RS section 3.2.2, equation
3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.grpo.combinations import PromptCombination
from pipeline.prompt.profile import Profile
from pipeline.prompt.reply.parse import ParsedReply, parse_reply
from pipeline.prompt.reply.released_parser import (
    RefusedReplyError,
    ReleasedRule,
    parse_by,
    released_items,
    released_rule,
)
from pipeline.prompt.reply.reply_text import split_reply
from pipeline.schema.tile_answers import MaskCrop

RewardRule = Literal["paper", "authors-code"]

_TAGGED = re.compile(r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """How a reply is rewarded."""

    rule: RewardRule = "paper"
    """How replies are read and how their format is scored; see the module's story and `format_reward`."""
    format_weight: float = 1.0
    """Weight l1 of the format. 0: no such term."""
    iou_weight: float = 2.0
    """Weight l2 of the IoU."""

    def __post_init__(self) -> None:
        if self.format_weight < 0 or self.iou_weight <= 0:
            raise ValueError(
                f"iou_weight must be above 0 and format_weight not below, got {self.iou_weight} and "
                f"{self.format_weight}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What a reply must look like: the checkpoint's profile, the prompt combination and the reward rule."""

    profile: Profile
    combination: PromptCombination
    rule: RewardRule = "paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyScore:
    """The rewards of one reply before they are weighed, and what kind of reply it was."""

    format: float
    """Reward of the format, 0..1 (`paper`) or 0..2 (`authors-code`)."""
    iou: float
    """Reward of the overlap, 0..1."""
    absent: bool
    """The reply is an explicit `[]`."""
    malformed: bool
    n_items: int
    empty_target: bool
    """The true mask has no pixel."""


def total_reward(score: ReplyScore, options: RewardOptions) -> float:
    """Compute R of equation 3: at most l1 + l2, or 2 * l1 + l2 under `authors-code`."""
    return options.format_weight * score.format + options.iou_weight * score.iou


def read_reply(text: str, profile: Profile, *, complete: bool) -> ParsedReply:
    """Read a reply as inference does. `complete`: it ended by itself, not at the token limit."""
    return parse_reply(text, profile, finish_reason="stop" if complete else "length")


def format_reward(text: str, contract: Contract, *, complete: bool = True) -> float:
    """Score the format. `complete` as in `read_reply`.

    `paper` gives 0 or 1. For 1, `<think>` and `<answer>` must each occur once, in order, and the answer must
    be usable (`_usable_json`). `authors-code` gives 0, 1 or 2: like the released code it adds one reward for
    the tags and one for an answer that is `strictly_readable`.
    """
    if contract.rule == "authors-code":
        return float(_TAGGED.fullmatch(text) is not None) + float(strictly_readable(text, contract))
    return float(_well_tagged(text) and _usable_json(text, contract, complete=complete))


def _well_tagged(text: str) -> bool:
    return _TAGGED.fullmatch(text) is not None and all(text.count(tag) == 1 for tag in _TAGS)


def _usable_json(text: str, contract: Contract, *, complete: bool) -> bool:
    """Whether the answer is a JSON list of objects with exactly the combination's parts.

    The parser of inference finds the parts.
    """
    parsed = read_reply(text, contract.profile, complete=complete)
    if parsed.malformed or parsed.truncated or parsed.n_dropped:
        return False
    if not all(contract.combination.holds(item) for item in parsed.items):
        return False
    return any(_is_json_list(place.text) for place in split_reply(text)[1])


def _is_json_list(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def strictly_readable(text: str, contract: Contract) -> bool:
    """Whether the released training parser accepts the whole answer. It takes boxes and points anywhere."""
    try:
        released_items(text, _training_rule(contract))
    except RefusedReplyError:
        return False
    return True


def read_candidate(text: str, contract: Contract, *, complete: bool) -> ParsedReply:
    """Read a sampled reply by the contract's rule; see the module's story. `complete` as in `read_reply`.

    Under `paper` every item that could be read counts. Under `authors-code` a reply that the strict parser
    refuses earns no IoU.
    """
    if contract.rule == "authors-code":
        return parse_by(_training_rule(contract), text, finish_reason="stop" if complete else "length")
    return read_reply(text, contract.profile, complete=complete)


def _training_rule(contract: Contract) -> ReleasedRule:
    """Make the rule of the released rewards' parser, with the combination's numbers of points."""
    wanted = contract.combination
    return replace(
        released_rule(contract.profile, training=True), n_points=wanted.positive, n_negative=wanted.negative
    )


def united(masks: Sequence[MaskCrop], shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Union (H, W) of cropped masks. Without masks all pixels are False."""
    out = np.zeros(shape_hw, np.bool_)
    for crop in masks:
        height, width = crop.mask.shape
        out[crop.row0 : crop.row0 + height, crop.col0 : crop.col0 + width] |= crop.mask
    return out


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Compute the intersection over union of two masks (H, W); 1 when both are empty."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def iou_reward(parsed: ParsedReply, masks: Sequence[MaskCrop], truth: NDArray[np.bool_]) -> float:
    """Score the masks, 0..1. `masks`: drawn from the items of `parsed`. `truth`: (H, W), True = target."""
    if not truth.any():
        return float(parsed.absent)
    height, width = truth.shape
    return mask_iou(united(masks, (height, width)), truth) if parsed.items else 0.0


def score_reply(
    text: str,
    masks: Sequence[MaskCrop],
    truth: NDArray[np.bool_],
    contract: Contract,
    *,
    complete: bool = True,
) -> ReplyScore:
    """Compute both rewards of one reply. `masks`: drawn from the items that `read_candidate` returns."""
    parsed = read_candidate(text, contract, complete=complete)
    return ReplyScore(
        format=format_reward(text, contract, complete=complete),
        iou=iou_reward(parsed, masks, truth),
        absent=parsed.absent,
        malformed=parsed.malformed,
        n_items=len(parsed.items),
        empty_target=not truth.any(),
    )
