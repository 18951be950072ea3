"""gIoU, cIoU, P@t and the rejection table of answered queries, under four named scoring conventions.

1. `SampleCounts` holds per sample the pixels of the true mask, the predicted one and both. A mask is the
   union of all masks of one answer.
2. A `Convention` settles what the definitions leave open.
3. `segmentation_figures` gives every figure as a `Ratio` of two columns.
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
    """One entry per sample, all arrays (n,)."""

    true_px: Ints
    """Pixels of the true mask; 0 = the target is empty."""
    predicted_px: Ints
    common_px: Ints
    """Pixels of both masks."""
    total_px: Ints
    """Pixels of the image."""
    abstained: Bool
    """The answer was that there is nothing: an explicit, empty list of prompts, or a verifier discarded every
    mask.
    """
    failed: Bool
    """There is no answer: the reply could not be read, the model failed, or the image could not be read."""

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
        """Samples without a target."""
        return np.equal(self.true_px, 0)

    @property
    def iou(self) -> Floats:
        """Equation 4 per sample; NaN where both masks are empty."""
        union = self.union_px
        result: Floats = np.divide(self.common_px, union, out=np.full(len(union), np.nan), where=union > 0)
        return result

    def subset(self, chosen: Bool) -> SampleCounts:
        """The samples where `chosen` (n,) is True."""
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
    """A figure as sum(numerator) / sum(denominator) over samples."""

    numerator: Floats
    """(n,)"""
    denominator: Floats
    """(n,)"""

    @property
    def value(self) -> float:
        """NaN where the denominator is 0: the figure does not exist for these samples."""
        below = float(self.denominator.sum())
        return float(self.numerator.sum()) / below if below else float("nan")

    @property
    def n(self) -> int:
        """Samples that count: those with a denominator."""
        return int((self.denominator > 0).sum())

    def subset(self, chosen: Bool) -> Ratio:
        return Ratio(numerator=self.numerator[chosen], denominator=self.denominator[chosen])


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How the open cases are scored."""

    name: ConventionName
    source: str
    """Where this convention comes from, and what sets it apart."""
    both_empty: Literal["answered", "abstained", "always", "never"]
    """Empty target, no predicted pixel (equation 4 is 0/0): scores 1 if there was an answer at all, if it was
    an explicit abstention, always, never.
    """
    ciou_false_alarms: bool
    """Whether predicted pixels on an empty target enter the union of cIoU."""
    hit_at_equal: bool
    """P@t counts IoU >= t instead of IoU > t."""
    hit_among: Literal["all", "masks"]
    """P@t is a share of all samples, or of those with an answer that is no rejection."""
    iou_epsilon: float = 0.0
    """Added to the union of one sample."""


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
"""Those that published numbers depend on. `paper` is the default everywhere."""


def sample_scores(counts: SampleCounts, convention: Convention) -> Floats:
    """(n,) IoU per sample as this convention counts it for gIoU, 0..1."""
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
    """`giou`, `giou_present` (targets that are there), `ciou`, and `p@0.5` to `p@0.9`."""
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
    """Shares of answers that say "nothing here", and of failures; no convention enters.

    `rejection`: among empty targets. `false_rejection`: among targets that are there. `failure`: share of all
    samples without an answer.
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
    """Think2Seg-RS table 2, and its mirror on targets that are there, which no paper reports."""

    n_empty: int
    true: int
    """Empty targets that were rejected."""
    n_present: int
    falsely_rejected: int
    """Targets that are there and were rejected."""
    failed_on_empty: int
    """Of the FALSE: those where there was no answer at all."""

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
