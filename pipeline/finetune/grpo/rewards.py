"""Rewards of mask-only GRPO: R = l1 * format + l2 * IoU, l1 = 1, l2 = 2 (Think2Seg-RS section 3.2.2, equation
3). Pure functions.

1. `read_candidate` reads a completion by the rule's parser: items, an explicit `[]`, or malformed. Under
   `paper` that is the parser of inference (`read_reply`); under `authors-code` the strict one of the released
   rewards, all of a reply or nothing, with boxes and points wherever they lie (`parse_by`).
2. `format_reward` judges the text alone. Rule `paper` gives 1 or 0: the tags `<think>` and `<answer>` once
   each and in order, and inside the answer a JSON list of which every item can be used and has exactly the
   parts of the prompt combination. Rule `authors-code` gives 0, 1 or 2, since the released code has two
   separate rewards of one point: one for the tags, one when its strict parser accepts the answer
   (`strictly_readable`).
3. `iou_reward` judges the masks that the segmenter drew from the answer, united over its items, against the
   true mask. On an empty target it is 1 for a written-out `[]` and 0 for all else; a malformed reply never
   counts as an abstention. A reply that the strict parser refuses has no IoU at all, where the paper's rule
   pays for what could be read.
4. `total_reward` weighs both.

No mask ever supervises a box or a point; the only teacher is the overlap after segmentation.
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
from pipeline.schema import MaskCrop

RewardRule = Literal["paper", "authors-code"]

_TAGGED = re.compile(r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """How a reply is paid."""

    rule: RewardRule = "paper"
    """Whose definition of the format: see the module's story."""
    format_weight: float = 1.0
    """l1; 0 trains without the format term."""
    iou_weight: float = 2.0
    """l2."""

    def __post_init__(self) -> None:
        if self.format_weight < 0 or self.iou_weight <= 0:
            raise ValueError(
                f"iou_weight must be above 0 and format_weight not below, got {self.iou_weight} and "
                f"{self.format_weight}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What a reply must look like: the checkpoint's profile, the prompt combination, and the rule it is
    judged by.
    """

    profile: Profile
    combination: PromptCombination
    rule: RewardRule = "paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyScore:
    """What one reply earned, before weighing."""

    format: float
    """0..1 (`paper`) or 0..2 (`authors-code`)."""
    iou: float
    """0..1"""
    absent: bool
    """The reply is a written-out `[]`."""
    malformed: bool
    n_items: int
    empty_target: bool
    """The true mask has no pixel."""


def total_reward(score: ReplyScore, options: RewardOptions) -> float:
    """R of equation 3: at most l1 + l2, or 2 * l1 + l2 under `authors-code`."""
    return options.format_weight * score.format + options.iou_weight * score.iou


def read_reply(text: str, profile: Profile, *, complete: bool) -> ParsedReply:
    """The reply as inference reads it. `complete`: it ended by itself, not at the token limit."""
    return parse_reply(text, profile, finish_reason="stop" if complete else "length")


def format_reward(text: str, contract: Contract, *, complete: bool = True) -> float:
    """0 or 1 under `paper`; 0, 1 or 2 under `authors-code`. `complete` as in `read_reply`."""
    if contract.rule == "authors-code":
        return float(_TAGGED.fullmatch(text) is not None) + float(strictly_readable(text, contract))
    return float(_well_tagged(text) and _usable_json(text, contract, complete=complete))


def _well_tagged(text: str) -> bool:
    return _TAGGED.fullmatch(text) is not None and all(text.count(tag) == 1 for tag in _TAGS)


def _usable_json(text: str, contract: Contract, *, complete: bool) -> bool:
    """The answer is a JSON list of objects, and the parser of inference uses every one of them as the
    combination has it.
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
    """Whether the released training parser accepts an answer, all of it or nothing."""
    try:
        released_items(text, _training_rule(contract))
    except RefusedReplyError:
        return False
    return True


def read_candidate(text: str, contract: Contract, *, complete: bool) -> ParsedReply:
    """A sampled reply as its rule reads it; see the module's story. `complete` as in `read_reply`."""
    if contract.rule == "authors-code":
        return parse_by(_training_rule(contract), text, finish_reason="stop" if complete else "length")
    return read_reply(text, contract.profile, complete=complete)


def _training_rule(contract: Contract) -> ReleasedRule:
    """The parser of the released rewards, for the points of the combination."""
    wanted = contract.combination
    return replace(
        released_rule(contract.profile, training=True), n_points=wanted.positive, n_negative=wanted.negative
    )


def united(masks: Sequence[MaskCrop], shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) union of cropped masks; all False for none."""
    out = np.zeros(shape_hw, np.bool_)
    for crop in masks:
        height, width = crop.mask.shape
        out[crop.row0 : crop.row0 + height, crop.col0 : crop.col0 + width] |= crop.mask
    return out


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two (H, W) masks; 1 when both are empty."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def iou_reward(parsed: ParsedReply, masks: Sequence[MaskCrop], truth: NDArray[np.bool_]) -> float:
    """0..1. `masks`: what the segmenter drew from the items of `parsed`; `truth`: (H, W), True = target."""
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
    """Both rewards of one reply. `masks` as in `iou_reward`: what was drawn from the items of
    `read_candidate`.
    """
    parsed = read_candidate(text, contract, complete=complete)
    return ReplyScore(
        format=format_reward(text, contract, complete=complete),
        iou=iou_reward(parsed, masks, truth),
        absent=parsed.absent,
        malformed=parsed.malformed,
        n_items=len(parsed.items),
        empty_target=not truth.any(),
    )
