"""How good is a prompter of the GRPO experiment on one of its measured folders?

1. `greedy_replies` answers every query once with transformers, without sampling. `sampled_replies` draws one
   reply per query at a temperature, as the training does: GRPO pays for what is sampled, while inference
   takes the most likely reply.
2. `answer_rows` reads each reply with the parser of inference, has the segmenter draw it, and counts pixels.
3. `figures` gives gIoU, gIoU over present targets, cIoU, rejection, false rejection
   (`pipeline.evaluate.figures.metrics`, convention `paper`) and the format rate (the reward's rule `paper`),
   with percentile bootstrap intervals. It resamples whole worlds, because the tiles of a world look alike.
   With fewer than FEWEST_WORLDS it resamples tiles, and the interval says nothing about other worlds.
4. `difference` resamples the same worlds for two prompters and gives the interval of second minus first.
   `by_format` says how much of that comes from queries whose first reply broke the format.

The figures are not to be mixed with those of `jobs/evaluate.py`: here, replies come from transformers instead
of vLLM, a malformed reply is not asked for again, and the segmenter sees only what belongs to the prompt
combination.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.figures.intervals import BootstrapOptions
from pipeline.evaluate.figures.metrics import (
    CONVENTIONS,
    Ratio,
    SampleCounts,
    rejection_figures,
    segmentation_figures,
)
from pipeline.finetune.grpo.grpo_data import TrainingSample
from pipeline.finetune.grpo.grpo_options import TrainingPreset
from pipeline.finetune.grpo.rewards import Contract, format_reward, read_reply, united
from pipeline.finetune.grpo.sampling import Reply, ReplySampler, Sampling
from pipeline.prompt.reply.frames import to_window
from pipeline.schema.imagery import TileImage
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.segmenter import Segmenter

Row = dict[str, Any]
"""One answered sample. Its keys: image, question, reply, complete, true_px, predicted_px, common_px,
total_px, abstained, failed, format.
"""

FIGURES = ("giou", "giou_present", "ciou", "rejection", "false_rejection", "format")

QUERIES_AT_ONCE = 64
"""Queries in one batch of the model."""

FEW_TOKENS = 72
"""Most replies are shorter. The others are asked for again, so that a batch does not wait for its longest
reply.
"""

FEWEST_WORLDS = 30
"""Fewer clusters give no interval worth its name."""

MOST_TOKENS = 320
"""Length of the longest reply. The longest right one in these worlds has about half as many tokens."""


def greedy_replies(preset: TrainingPreset, samples: Sequence[TrainingSample]) -> list[Reply]:
    """Answer every sample, in order: all with at most FEW_TOKENS, then again with MOST_TOKENS those that had
    not ended.
    """
    sampler = ReplySampler(_exact(preset))
    greedy = Sampling()
    replies = list(sampler.replies(samples, greedy, most_tokens=FEW_TOKENS, batch=QUERIES_AT_ONCE))
    unfinished = [place for place, (_, complete) in enumerate(replies) if not complete]
    longer = sampler.replies(
        [samples[place] for place in unfinished], greedy, most_tokens=MOST_TOKENS, batch=QUERIES_AT_ONCE
    )
    for place, reply in zip(unfinished, longer, strict=True):
        replies[place] = reply
    return replies


def sampled_replies(
    preset: TrainingPreset, samples: Sequence[TrainingSample], *, temperature: float, seed: int
) -> list[Reply]:
    """Draw one reply per sample, in order, of at most MOST_TOKENS. The preset gives top_p and top_k."""
    import torch

    sampler = ReplySampler(_exact(preset))
    torch.manual_seed(seed)
    sampling = replace(Sampling.of(preset.grpo), temperature=temperature)
    return list(sampler.replies(samples, sampling, most_tokens=MOST_TOKENS, batch=QUERIES_AT_ONCE))


def _exact(preset: TrainingPreset) -> TrainingPreset:
    """The same preset with products in float32, whatever it trains with."""
    return replace(preset, model=replace(preset.model, precision="float32"))


def answer_rows(
    samples: Sequence[TrainingSample], replies: Sequence[Reply], contract: Contract, segmenter: Segmenter
) -> Iterator[Row]:
    """Yield one row per sample, in order. Samples of one image that follow each other share its embedding."""
    embedded: tuple[Any, Any] = (None, None)
    for sample, (text, complete) in zip(samples, replies, strict=True):
        rgb = sample.rgb()
        shape = (int(rgb.shape[0]), int(rgb.shape[1]))
        parsed = read_reply(text, contract.profile, complete=complete)
        given = to_window(parsed.items, contract.profile.frame_wh, shape)
        prompts = [kept for prompt in given if (kept := contract.combination.keep(prompt)) is not None]
        predicted = np.zeros(shape, np.bool_)
        if prompts:
            if embedded[0] != sample.image:
                embedded = sample.image, segmenter.embed(_tile(rgb))
            predicted = united(segmenter.segment(embedded[1], prompts), shape)
        true = sample.truth(shape)
        yield {
            "image": sample.image.stem,
            "question": sample.query,
            "reply": text,
            "complete": complete,
            "true_px": int(true.sum()),
            "predicted_px": int(predicted.sum()),
            "common_px": int((true & predicted).sum()),
            "total_px": predicted.size,
            "abstained": parsed.absent,
            "failed": parsed.malformed,
            "format": format_reward(text, contract, complete=complete),
        }


def _tile(rgb: NDArray[np.uint8]) -> TileImage:
    window = Window(row0=0, col0=0, row1=rgb.shape[0], col1=rgb.shape[1])
    return TileImage(
        tile=TileSpec(tile_row=0, tile_col=0, core=window, read=window),
        rgb=rgb,
        valid=np.ones(rgb.shape[:2], np.bool_),
    )


def ratios(rows: Sequence[Row]) -> dict[str, Ratio]:
    """Every figure of FIGURES, by name."""
    columns = {
        name: np.asarray([row[name] for row in rows])
        for name in ("true_px", "predicted_px", "common_px", "total_px")
    }
    counts = SampleCounts(
        **columns,
        abstained=np.asarray([r["abstained"] for r in rows]),
        failed=np.asarray([r["failed"] for r in rows]),
    )
    shape = Ratio(
        numerator=np.asarray([row["format"] for row in rows], np.float64), denominator=np.ones(len(rows))
    )
    every = {
        **segmentation_figures(counts, CONVENTIONS["paper"]),
        **rejection_figures(counts),
        "format": shape,
    }
    return {name: every[name] for name in FIGURES}


def figures(rows: Sequence[Row], options: BootstrapOptions) -> dict[str, list[float]]:
    """Name -> [value, low, high], in percent."""
    chosen = ratios(rows)
    drawn = _resampled(chosen, rows, options)
    return {name: _interval(ratio.value, drawn[name], options) for name, ratio in chosen.items()}


def difference(
    first: Sequence[Row], second: Sequence[Row], options: BootstrapOptions
) -> dict[str, list[float]]:
    """Name -> [value, low, high] of second minus first, in percentage points, from the same resampled images.

    Raises ValueError when the two did not answer the same queries about the same images.
    """
    if [(row["image"], row["question"]) for row in first] != [
        (row["image"], row["question"]) for row in second
    ]:
        raise ValueError("a paired difference needs the same samples in the same order")
    before = ratios(first)
    after = ratios(second)
    drawn = _resampled(before, first, options), _resampled(after, second, options)
    return {
        name: _interval(after[name].value - before[name].value, drawn[1][name] - drawn[0][name], options)
        for name in FIGURES
    }


def by_format(first: Sequence[Row], second: Sequence[Row]) -> dict[str, tuple[int, float]]:
    """Split the difference in gIoU by the format of the first reply.

    Returns "broken" and "kept" -> (queries, percentage points). The points add up to those of `difference`.
    """
    before = ratios(first)["giou"]
    after = ratios(second)["giou"]
    gain = 100 * (after.numerator / after.denominator.sum() - before.numerator / before.denominator.sum())
    broken = np.asarray([row["format"] == 0 for row in first])
    return {
        name: (int(part.sum()), round(float(gain[part].sum()), 2))
        for name, part in (("broken", broken), ("kept", ~broken))
    }


def _resampled(
    chosen: Mapping[str, Ratio], rows: Sequence[Row], options: BootstrapOptions
) -> dict[str, NDArray[np.float64]]:
    """Figure -> (draws,) values. The draws depend only on the seed and on the number of worlds or images."""
    _, place = np.unique([world_of(row["image"]) for row in rows], return_inverse=True)
    if int(place.max()) + 1 < FEWEST_WORLDS:
        _, place = np.unique([row["image"] for row in rows], return_inverse=True)
    n = int(place.max()) + 1
    times = (
        np.random.default_rng(options.seed)
        .multinomial(n, np.full(n, 1 / n), size=options.draws)
        .astype(np.float64)
    )
    values = {}
    for name, ratio in chosen.items():
        above, below = (
            times @ np.bincount(place, part, minlength=n) for part in (ratio.numerator, ratio.denominator)
        )
        values[name] = np.divide(above, below, out=np.full(options.draws, np.nan), where=below > 0)
    return values


def world_of(image: str) -> str:
    """The seed of a tile's world: names such as 400000_3 and 51-r000c001 begin with it."""
    return image.split("_")[0].split("-")[0]


def _interval(value: float, drawn: NDArray[np.float64], options: BootstrapOptions) -> list[float]:
    tail = (1 - options.level) / 2
    known = drawn[np.isfinite(drawn)]
    low, high = np.quantile(known, (tail, 1 - tail)) if len(known) else (np.nan, np.nan)
    return [round(100 * float(number), 2) for number in (value, low, high)]
