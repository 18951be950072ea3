"""BoxFigure from pairs of boxes how a checkpoint's boxes are wrong: by their margins, or by their frame.

1. `margin_estimates`: per side, the median over pairs of the distance from the predicted to the true side,
   outwards, as a share of the predicted width or height. A true side on the edge of its picture is left out:
   there the picture ends, and not the object.
2. `frame_scores`: boxes found at IoU 0.5 in every frame that the numbers could be in. The frame that finds
   most is the checkpoint's, if it finds more than the profile's in nearly all resamples.
3. `checked_gain`: box IoU without margins, with the published and with the estimated ones. Each half of the
   pictures is corrected by margins from the other half, so none is judged by its own.

All intervals are percentile bootstraps over pictures. Medians, because a few pairs are not of one object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.calibrate.box_pairs import AnswerBoxes, Boxes, BoxPairs, box_iou, matched
from pipeline.evaluate.figures.intervals import BootstrapOptions, bootstrap
from pipeline.evaluate.figures.metrics import Ratio
from pipeline.prompt.box_margins import GEOSEG, SIDES, BoxMargins, moved_box
from pipeline.prompt.profile import Frame

FOUND_IOU = 0.5
"""IoU from which a true box counts as found."""

EDGE_PX = 1.0
"""A true side as near as this to the edge of its picture lies on it."""

DRAWS = 1000
MIN_PAIRS = 30
"""Fewer pairs give no margins: their medians would follow single objects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxFigure:
    """A figure with its 95 % interval, and the number of pairs that it is from."""

    value: float
    low: float
    high: float
    n: int


def margins_needed(pairs: BoxPairs) -> dict[str, NDArray[np.float64]]:
    """Compute per side the share (n,) by which each predicted box falls short of its true one.

    NaN where the true side lies on the edge of its picture.
    """
    size = pairs.said[:, 2:] - pairs.said[:, :2]
    short = np.concatenate([pairs.said[:, :2] - pairs.true[:, :2], pairs.true[:, 2:] - pairs.said[:, 2:]], 1)
    share = short / np.tile(size, 2)
    far = np.concatenate([pairs.true[:, :2], pairs.size_wh - pairs.true[:, 2:]], 1) > EDGE_PX
    return {side: np.where(far[:, n], share[:, n], np.nan) for n, side in enumerate(SIDES)}


def margin_estimates(pairs: BoxPairs, *, seed: int = 0) -> dict[str, BoxFigure]:
    """BoxFigure the margin of every side, and GeoSeg's alpha (left and top) and beta (right and bottom)."""
    needed = margins_needed(pairs)
    pooled = {
        **needed,
        "alpha": np.concatenate([needed["left"], needed["top"]]),
        "beta": np.concatenate([needed["right"], needed["bottom"]]),
    }
    twice = np.tile(pairs.picture, 2)
    return {
        name: _median(values, pairs.picture if name in SIDES else twice, seed)
        for name, values in pooled.items()
    }


def _median(values: NDArray[np.float64], pictures: NDArray[np.int64], seed: int) -> BoxFigure:
    """Take the median and its bootstrap interval over pictures, NaN left out."""
    known = np.isfinite(values)
    values = values[known]
    if not len(values):
        return BoxFigure(value=float("nan"), low=float("nan"), high=float("nan"), n=0)
    _, place = np.unique(pictures[known], return_inverse=True)
    members = [values[place == picture] for picture in range(int(place.max()) + 1)]
    rng = np.random.default_rng(seed)
    drawn = [
        float(np.median(np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])))
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return BoxFigure(value=float(np.median(values)), low=float(low), high=float(high), n=len(values))


def estimated_margins(pairs: BoxPairs, profile: str = "") -> BoxMargins | None:
    """Take the medians as margins, to three decimals. None: there are too few pairs."""
    needed = margins_needed(pairs)
    if min(int(np.isfinite(values).sum()) for values in needed.values()) < MIN_PAIRS:
        return None
    return BoxMargins(
        **{side: round(float(np.nanmedian(values)), 3) for side, values in needed.items()}, profile=profile
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameScore:
    """How well replies fit one frame."""

    frame: Frame
    recall: BoxFigure
    """Share of true boxes that are found at FOUND_IOU; its `n` counts true boxes."""
    better: float
    """Share of resamples in which it finds more than the profile's own frame."""
    n_pairs: int


def frame_scores(by_frame: Sequence[BoxPairs], own: Frame, *, seed: int = 0) -> list[FrameScore]:
    """Score frames; `by_frame`: the same answers, one at least, in every frame, the profile's `own` among
    them.
    """
    base = next(pairs for pairs in by_frame if pairs.frame == own)
    n_true = np.array([len(answer.true) for answer in base.answers], dtype=np.float64)
    groups = np.array([answer.picture for answer in base.answers], dtype=np.int64)
    hits = {pairs.frame: _found(pairs.answers) for pairs in by_frame}
    recalls = {f: Ratio(numerator=found, denominator=n_true) for f, found in hits.items()}
    options = BootstrapOptions(draws=DRAWS, seed=seed)
    intervals = bootstrap({str(frame): ratio for frame, ratio in recalls.items()}, groups, options)
    _, place = np.unique(groups, return_inverse=True)
    n_pictures = int(place.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_pictures, np.full(n_pictures, 1 / n_pictures), size=DRAWS)
    scores = []
    for pairs in by_frame:
        gain = np.bincount(place, weights=hits[pairs.frame] - hits[own], minlength=n_pictures)
        low, high = intervals[pairs.frame]
        estimate = BoxFigure(value=recalls[pairs.frame].value, low=low, high=high, n=int(n_true.sum()))
        better = float(((times @ gain) > 0).mean())
        scores.append(FrameScore(frame=pairs.frame, recall=estimate, better=better, n_pairs=len(pairs.said)))
    return scores


def best_frame(scores: Sequence[FrameScore], own: Frame) -> Frame:
    """Choose the checkpoint's frame: the profile's own, unless another finds more in 97.5 % of resamples."""
    best = max(scores, key=lambda score: (score.recall.value, score.frame == own))
    return best.frame if best.better >= 0.975 else own


def _found(answers: Sequence[AnswerBoxes]) -> NDArray[np.float64]:
    """Count the true boxes that each answer finds; (n,)."""
    counts = []
    for answer in answers:
        rows, cols = matched(answer.said, answer.true)
        ious = box_iou(answer.said, answer.true)[rows, cols] if len(rows) else np.zeros(0)
        counts.append(float((ious >= FOUND_IOU).sum()))
    return np.array(counts, dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """Box IoU of the pairs, and the share of true boxes found at FOUND_IOU, under one choice of margins."""

    name: str
    iou: BoxFigure
    recall: BoxFigure


def checked_gain(pairs: BoxPairs, *, seed: int = 0) -> list[Gain]:
    """Compare margins: `none`, `geoseg`, and `measured` by two-fold cross-fitting over pictures."""
    even = pairs.picture % 2 == 0
    folds = [estimated_margins(_part(pairs, chosen)) or BoxMargins() for chosen in (even, ~even)]

    def chosen(name: str, picture: int) -> BoxMargins:
        if name == "measured":
            return folds[1] if picture % 2 == 0 else folds[0]
        return GEOSEG if name == "geoseg" else BoxMargins()

    return [_gain(pairs, name, chosen, seed) for name in ("none", "geoseg", "measured")]


def _gain(pairs: BoxPairs, name: str, chosen: Callable[[str, int], BoxMargins], seed: int) -> Gain:
    said = np.array(
        [
            _moved(box, chosen(name, int(picture)), size)
            for box, picture, size in zip(pairs.said, pairs.picture, pairs.size_wh, strict=True)
        ]
    ).reshape(-1, 4)
    ious = paired_iou(said, pairs.true)
    answers = [
        AnswerBoxes(
            picture=answer.picture,
            size_wh=answer.size_wh,
            said=np.array(
                [_moved(b, chosen(name, answer.picture), np.array(answer.size_wh)) for b in answer.said]
            ).reshape(-1, 4),
            true=answer.true,
        )
        for answer in pairs.answers
    ]
    n_true = np.array([len(answer.true) for answer in answers], dtype=np.float64)
    recall = Ratio(numerator=_found(answers), denominator=n_true)
    options = BootstrapOptions(draws=DRAWS, seed=seed)
    mean = Ratio(numerator=ious, denominator=np.ones(len(ious)))
    ends = bootstrap({"iou": mean}, pairs.picture, options)["iou"]
    groups = np.array([answer.picture for answer in answers], dtype=np.int64)
    found = bootstrap({"recall": recall}, groups, options)["recall"]
    return Gain(
        name=name,
        iou=BoxFigure(value=mean.value, low=ends[0], high=ends[1], n=len(ious)),
        recall=BoxFigure(value=recall.value, low=found[0], high=found[1], n=int(n_true.sum())),
    )


def paired_iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Compute the IoU (n,) of boxes row by row."""
    if not len(first):
        return np.zeros(0)
    return np.array([box_iou(a[None], b[None])[0, 0] for a, b in zip(first, second, strict=True)])


def _moved(
    box: NDArray[np.float64], margins: BoxMargins, size_wh: NDArray[np.floating] | NDArray[np.integer]
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return moved_box((x0, y0, x1, y1), margins, (int(size_wh[1]), int(size_wh[0])))


def _part(pairs: BoxPairs, chosen: NDArray[np.bool_]) -> BoxPairs:
    return BoxPairs(
        frame=pairs.frame,
        said=pairs.said[chosen],
        true=pairs.true[chosen],
        picture=pairs.picture[chosen],
        size_wh=pairs.size_wh[chosen],
        answers=(),
    )
