"""Compute gIoU, cIoU, P@t and the rejection table, under four named scoring conventions.

1. `SampleCounts` counts for each sample the pixels of the true mask, of the predicted one, and of both. The
   predicted mask is the union of all masks of the answer.
2. A `Convention` settles the cases that the definitions leave open.
3. `segmentation_figures` computes every figure as a `Ratio` of two columns.
4. `rejection_figures` counts abstentions.

Definitions (Think2Seg-RS section 4.1, equations 4 to 6): gIoU = mean of |P & T| / |P | T|, cIoU = sum of |P &
T| over sum of |P | T|, P@t = share of samples whose IoU exceeds t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ConventionName = Literal["paper", "think2seg", "segearth-r1", "vision-reasoner"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""IoU thresholds of P@t."""


@dataclass(frozen=True, kw_only=True)
class SampleCounts:
    """Counts of n samples; all arrays are (n,)."""

    true_px: Ints
    """Pixels of the true mask; 0 = the target is empty."""
    predicted_px: Ints
    common_px: Ints
    """Pixels of both masks."""
    total_px: Ints
    """Pixels of the image."""
    abstained: Bool
    """The answer was "nothing here": an explicit, empty list, or a verifier that rejected every mask."""
    failed: Bool
    """There is no answer: the model failed, or reply or image could not be read."""

    def __post_init__(self) -> None:
        arrays = (self.true_px, self.predicted_px, self.common_px, self.total_px, self.abstained, self.failed)
        if len({array.shape for array in arrays}) != 1 or self.true_px.ndim != 1:
            raise ValueError(
                f"every column needs one entry per sample, got shapes {[array.shape for array in arrays]}"
            )
        if (self.common_px > np.minimum(self.true_px, self.predicted_px)).any() or (
            self.union_px > self.total_px
        ).any():
            raise ValueError(
                "common pixels lie in both masks and both masks lie in the image: "
                "the counts contradict each other"
            )
        if (self.predicted_px[self.abstained | self.failed] > 0).any():
            raise ValueError("an abstention or a failure has no predicted pixels")

    def __len__(self) -> int:
        return len(self.true_px)

    @property
    def union_px(self) -> Ints:
        return self.true_px + self.predicted_px - self.common_px

    @property
    def empty(self) -> Bool:
        """Mark samples without a target."""
        return np.equal(self.true_px, 0)

    @property
    def iou(self) -> Floats:
        """Compute equation 4 for each sample; NaN where both masks are empty."""
        union = self.union_px
        result: Floats = np.divide(self.common_px, union, out=np.full(len(union), np.nan), where=union > 0)
        return result

    def subset(self, chosen: Bool) -> SampleCounts:
        """Take the samples where `chosen` (n,) is True."""
        return SampleCounts(
            true_px=self.true_px[chosen],
            predicted_px=self.predicted_px[chosen],
            common_px=self.common_px[chosen],
            total_px=self.total_px[chosen],
            abstained=self.abstained[chosen],
            failed=self.failed[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A figure: sum(numerator) / sum(denominator) over samples."""

    numerator: Floats
    """(n,)"""
    denominator: Floats
    """(n,)"""

    @property
    def value(self) -> float:
        """Value of the figure; NaN where the denominator is 0: it is undefined for these samples."""
        below = float(self.denominator.sum())
        return float(self.numerator.sum()) / below if below else float("nan")

    @property
    def n(self) -> int:
        """Number of samples that count: those whose denominator is not 0."""
        return int((self.denominator > 0).sum())

    def subset(self, chosen: Bool) -> Ratio:
        return Ratio(numerator=self.numerator[chosen], denominator=self.denominator[chosen])


@dataclass(frozen=True, kw_only=True)
class Convention:
    """A rule for the cases that the definitions leave open."""

    name: ConventionName
    source: str
    """Origin of this convention, and how it differs from others."""
    both_empty: Literal["answered", "abstained", "always", "never"]
    """When a sample without true and predicted pixels (equation 4 is 0/0) scores 1: if there was an answer at
    all, if it was an explicit abstention, always, never.
    """
    ciou_false_alarms: bool
    """Whether predicted pixels on an empty target enter the union of cIoU."""
    hit_at_equal: bool
    """Whether P@t counts IoU >= t instead of IoU > t."""
    hit_among: Literal["all", "masks"]
    """Whether P@t is a share of all samples, or of those that were answered with masks."""
    iou_epsilon: float = 0.0
    """Number added to the union of a sample."""


CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            name="paper",
            source="Think2Seg-RS, equations 4 to 6 and section 3.2.2, taken literally",
            both_empty="answered",
            ciou_false_alarms=True,
            hit_at_equal=False,
            hit_among="all",
        ),
        Convention(
            name="think2seg",
            source="Think2Seg-RS, released evaluation: only [] rejects; empty targets stay out of cIoU; "
            "P@t: >=, among samples with a mask",
            both_empty="abstained",
            ciou_false_alarms=False,
            hit_at_equal=True,
            hit_among="masks",
        ),
        Convention(
            name="segearth-r1",
            source="SegEarth-R1, released evaluation: an empty mask on an empty target is 1, "
            "whatever was said; false alarms enter cIoU",
            both_empty="always",
            ciou_false_alarms=True,
            hit_at_equal=False,
            hit_among="all",
            iou_epsilon=1e-5,
        ),
        Convention(
            name="vision-reasoner",
            source="VisionReasoner, released evaluation: empty targets always score 0; "
            "it has no P@t, the paper's is shown",
            both_empty="never",
            ciou_false_alarms=True,
            hit_at_equal=False,
            hit_among="all",
        ),
    )
}
"""The conventions behind published numbers. `paper` is the default everywhere."""


def sample_scores(counts: SampleCounts, convention: Convention) -> Floats:
    """Compute the IoU (n,), 0..1, that a convention counts for gIoU."""
    union = counts.union_px
    scores = np.divide(
        counts.common_px, union + convention.iou_epsilon, out=np.zeros(len(union)), where=union > 0
    )
    rule = {
        "answered": ~counts.failed,
        "abstained": counts.abstained,
        "always": np.ones(len(union), bool),
        "never": np.zeros(len(union), bool),
    }
    return np.where(union == 0, rule[convention.both_empty].astype(np.float64), scores)


def segmentation_figures(counts: SampleCounts, convention: Convention) -> dict[str, Ratio]:
    """Compute `giou`, `giou_present` (only targets that are there), `ciou`, and `p@0.5` to `p@0.9`."""
    scores = sample_scores(counts, convention)
    ones = np.ones(len(counts))
    present = (~counts.empty).astype(np.float64)
    union = counts.union_px.astype(np.float64)
    if not convention.ciou_false_alarms:
        union = union * present
    figures = {
        "giou": Ratio(numerator=scores, denominator=ones),
        "giou_present": Ratio(numerator=scores * present, denominator=present),
        "ciou": Ratio(numerator=counts.common_px.astype(np.float64), denominator=union),
    }
    among = ones if convention.hit_among == "all" else (~counts.abstained & ~counts.failed).astype(np.float64)
    for threshold in THRESHOLDS:
        hit = scores >= threshold if convention.hit_at_equal else scores > threshold
        figures[f"p@{threshold}"] = Ratio(numerator=hit * among, denominator=among)
    return figures


def rejection_figures(counts: SampleCounts) -> dict[str, Ratio]:
    """Compute the shares of answers "nothing here" and of failures, which no convention changes.

    `rejection`: answers "nothing here" among empty targets. `false_rejection`: the same among targets that
    are there. `failure`: samples without an answer among all.
    """
    empty = counts.empty.astype(np.float64)
    said_no = counts.abstained.astype(np.float64)
    return {
        "rejection": Ratio(numerator=said_no * empty, denominator=empty),
        "false_rejection": Ratio(numerator=said_no * (1 - empty), denominator=1 - empty),
        "failure": Ratio(numerator=counts.failed.astype(np.float64), denominator=np.ones(len(counts))),
    }


@dataclass(frozen=True, kw_only=True)
class RejectionTable:
    """Think2Seg-RS table 2, and the same counts for targets that are there, which no paper reports."""

    n_empty: int
    true: int
    """Empty targets that were rejected."""
    n_present: int
    falsely_rejected: int
    """Targets that are there but were rejected."""
    failed_on_empty: int
    """Those among `false` that had no answer at all."""

    @property
    def false(self) -> int:
        """Empty targets that were not rejected: prompts were given, or the reply could not be read."""
        return self.n_empty - self.true


def rejection_table(counts: SampleCounts) -> RejectionTable:
    """Count the four outcomes of "is it there at all?"."""
    return RejectionTable(
        n_empty=int(counts.empty.sum()),
        true=int((counts.empty & counts.abstained).sum()),
        n_present=int((~counts.empty).sum()),
        falsely_rejected=int((~counts.empty & counts.abstained).sum()),
        failed_on_empty=int((counts.empty & counts.failed).sum()),
    )
