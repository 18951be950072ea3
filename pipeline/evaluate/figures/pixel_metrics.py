"""Compute GeoSeg's seven pixel metrics: IoU, Dice, accuracy, precision, recall, specificity and boundary F.

Each is computed for every sample and averaged over samples. A metric that is 0/0 for a sample counts as 1 if
the answer is right, else as 0; `pixel_metrics` lists these cases.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.figures.metrics import Floats, Ints, Ratio, SampleCounts

PIXEL_METRICS = ("iou", "dice", "accuracy", "precision", "recall", "specificity", "boundary_f")
"""Names, in the order of GeoSeg's table 1."""


def pixel_metrics(counts: SampleCounts, boundary: Mapping[str, Ints]) -> dict[str, Ratio]:
    """Compute the seven metrics, as means over samples.

    GeoSeg names the metrics (section 5.1) but never released the script. Its table shows how it averaged.
    Were pixels pooled over the benchmark, Dice would be 2 IoU / (1 + IoU) = 72.1 at its IoU of 56.4. It
    reports 64.2, which only a mean over samples can give.

    Where a metric is 0/0 on a sample:
        IoU, Dice      both masks empty: 1, whatever was said
        precision      nothing predicted: 1 if nothing is there, else 0
        recall         nothing there: 1 if nothing was predicted, else 0
        specificity    the target fills the image: 1
        boundary F     no outline in either mask, each being empty or the whole image: 1 if they are equal;
                       an outline in one alone: 0

    Args:
        counts: n samples.
        boundary: arrays (n,) `true_px`, `true_near`, `predicted_px`, `predicted_near` of `BoundaryAgreement`.
    """
    common = counts.common_px
    predicted = counts.predicted_px
    true = counts.true_px
    total = counts.total_px
    union = counts.union_px
    neither = (union == 0).astype(np.float64)
    negatives = total - true
    values = {
        "iou": _share(common, union, neither),
        "dice": _share(2 * common, predicted + true, neither),
        "accuracy": _share(total - union + common, total, np.ones(len(counts))),
        "precision": _share(common, predicted, neither),
        "recall": _share(common, true, neither),
        "specificity": _share(total - union, negatives, np.ones(len(counts))),
        "boundary_f": boundary_f(counts, boundary),
    }
    return {name: Ratio(numerator=values[name], denominator=np.ones(len(counts))) for name in PIXEL_METRICS}


def boundary_f(counts: SampleCounts, boundary: Mapping[str, Ints]) -> Floats:
    """Compute the harmonic mean (n,) of boundary precision and recall; arguments as in `pixel_metrics`."""
    neither = (boundary["true_px"] == 0) & (boundary["predicted_px"] == 0)
    equal = (neither & (counts.union_px == counts.common_px)).astype(np.float64)
    precision = _share(boundary["predicted_near"], boundary["predicted_px"], equal)
    recall = _share(boundary["true_near"], boundary["true_px"], equal)
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros(len(both)), where=both > 0)


def _share(part: Ints, whole: Ints, otherwise: NDArray[np.float64]) -> Floats:
    """Compute part / whole, or `otherwise` where the whole is 0."""
    return np.divide(part, whole, out=otherwise.astype(np.float64).copy(), where=whole > 0)
