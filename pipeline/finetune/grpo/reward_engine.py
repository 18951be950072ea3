"""Score replies by segmenting from their prompts. Every image of a batch is encoded once.

1. `RewardEngine.score` groups replies by image and reads each by the contract's rule.
2. Items become prompts in pixels of the image that the segmenter sees. All prompts of an image are decoded
   together, equal ones only once.
3. `score_reply` compares the masks of each reply with the truth of its query.

`reward_functions` makes two functions for TRL, which weighs and logs each by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.grpo.grpo_data import TrainingSample
from pipeline.finetune.grpo.rewards import Contract, ReplyScore, format_reward, read_candidate, score_reply
from pipeline.prompt.reply.frames import to_window
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One reply to one sample's query."""

    sample: TrainingSample
    reply: str
    complete: bool = True
    """Whether the reply ended by itself, not at the token limit."""


class RewardEngine:
    """Scores replies; see the module's story. It keeps the segmenter, and nothing of a batch."""

    def __init__(
        self, segmenter: Segmenter, contract: Contract, *, image_px: tuple[int, int] | None = None
    ) -> None:
        """Keep the segmenter and the contract.

        `image_px`: (width, height) to which image and mask are squashed first. None: their own size.
        """
        self._segmenter = segmenter
        self._contract = contract
        self._image_px = image_px

    @property
    def contract(self) -> Contract:
        return self._contract

    @property
    def n_embeddings(self) -> int:
        """Number of image encodings so far."""
        return self._segmenter.n_embeddings

    def score(self, candidates: Sequence[Candidate]) -> list[ReplyScore]:
        """Score the candidates; returns one score each, in order.

        Raises ModelError when the segmenter fails, SourceError when a file does not decode.
        """
        members: dict[str, list[int]] = {}
        for index, candidate in enumerate(candidates):
            members.setdefault(str(candidate.sample.image), []).append(index)
        scores: dict[int, ReplyScore] = {}
        for indexes in members.values():
            scores.update(zip(indexes, self._score_image([candidates[i] for i in indexes]), strict=True))
        return [scores[index] for index in range(len(candidates))]

    def _score_image(self, candidates: Sequence[Candidate]) -> list[ReplyScore]:
        """Score candidates of one image, in order."""
        contract = self._contract
        rgb = candidates[0].sample.rgb(self._image_px, contract.profile.resampling)
        height, width = rgb.shape[:2]
        prompts = [self._prompts(candidate, (height, width)) for candidate in candidates]
        masks = self._masks(rgb, [prompt for group in prompts for prompt in group])
        truths = {
            sample: sample.truth((height, width)) for sample in {candidate.sample for candidate in candidates}
        }
        scores = []
        for candidate, group in zip(candidates, prompts, strict=True):
            drawn = [masks[prompt] for prompt in group if prompt in masks]
            scores.append(
                score_reply(
                    candidate.reply, drawn, truths[candidate.sample], contract, complete=candidate.complete
                )
            )
        return scores

    def _prompts(self, candidate: Candidate, shape_hw: tuple[int, int]) -> list[Prompt]:
        profile = self._contract.profile
        combination = self._contract.combination
        parsed = read_candidate(candidate.reply, self._contract, complete=candidate.complete)
        given = to_window(parsed.items, profile.frame_wh, shape_hw)
        return [kept for prompt in given if (kept := combination.keep(prompt)) is not None]

    def _masks(self, rgb: NDArray[np.uint8], prompts: Sequence[Prompt]) -> dict[Prompt, MaskCrop]:
        """Segment prompts; those that draw nothing are left out. Without prompts nothing is encoded."""
        if not prompts:
            return {}
        height, width = rgb.shape[:2]
        window = Window(row0=0, col0=0, row1=height, col1=width)
        tile = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
        embedding = self._segmenter.embed(
            TileImage(tile=tile, rgb=rgb, valid=np.ones((height, width), np.bool_))
        )
        different = list(dict.fromkeys(prompts))
        return {different[mask.prompt_index]: mask for mask in self._segmenter.segment(embedding, different)}


def reward_functions(
    engine: RewardEngine, samples: Sequence[TrainingSample], eos_ids: frozenset[int]
) -> list[Callable[..., list[float]]]:
    """Wrap `format_reward` and `iou_reward` for TRL.

    TRL passes the completions, their token ids, and the dataset's column `sample`. A completion whose last
    token is not in `eos_ids` hit the token limit. The second function also logs `reply_metrics`.
    """

    def candidates(
        completions: list[Any], completion_ids: list[list[int]], sample: list[int]
    ) -> list[Candidate]:
        texts = [completion[0]["content"] for completion in completions]
        ended = [bool(ids) and ids[-1] in eos_ids for ids in completion_ids]
        rows = zip(sample, texts, ended, strict=True)
        return [Candidate(sample=samples[number], reply=text, complete=whole) for number, text, whole in rows]

    def judge_format(
        completions: list[Any], completion_ids: list[list[int]], sample: list[int], **_: Any
    ) -> list[float]:
        asked = candidates(completions, completion_ids, sample)
        return [format_reward(one.reply, engine.contract, complete=one.complete) for one in asked]

    def judge_iou(
        completions: list[Any],
        completion_ids: list[list[int]],
        sample: list[int],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        before = engine.n_embeddings
        scores = engine.score(candidates(completions, completion_ids, sample))
        for name, value in reply_metrics(scores).items():
            log_metric(name, value)
        log_metric("embeddings", float(engine.n_embeddings - before))
        return [score.iou for score in scores]

    judge_format.__name__ = "format"
    judge_iou.__name__ = "iou"
    return [judge_format, judge_iou]


def reply_metrics(scores: Sequence[ReplyScore]) -> dict[str, float]:
    """Compute means over a batch; a mean over no replies is left out.

    They are: rejecting replies (overall, on empty and on present targets), malformed replies, IoU on present
    targets, items per reply.
    """
    empty = [score.absent for score in scores if score.empty_target]
    present = [score for score in scores if not score.empty_target]
    shares: dict[str, list[float] | list[bool] | list[int]] = {
        "rejection": [score.absent for score in scores],
        "rejection_of_absent": empty,
        "rejection_of_present": [score.absent for score in present],
        "malformed": [score.malformed for score in scores],
        "iou_present": [score.iou for score in present],
        "items": [score.n_items for score in scores],
    }
    return {name: float(np.mean(values)) for name, values in shares.items() if len(values)}
