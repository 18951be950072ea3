"""Compare the outlines of two masks: boundary precision, recall and F-score within a tolerance.

1. `outline` marks the pixels of a mask that have a neighbour outside it.
2. `boundary_agreement` counts the outline pixels of each mask that lie within the tolerance (Euclidean,
   between pixel centres) of the other outline. Their share is the precision for the predicted outline and the
   recall for the true one; F is the harmonic mean.

Source: Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013, section 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DIAGONAL_SHARE = 0.0075
"""Default tolerance as a share of the image diagonal, as in common implementations of the paper.

GeoSeg reports this score without its tolerance and never released the script, so every table names the share.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundaryAgreement:
    """Counts of outline pixels."""

    true_px: int
    """Outline pixels of the true mask."""
    true_near: int
    """Those of them within the tolerance of the predicted outline."""
    predicted_px: int
    predicted_near: int


def tolerance_px(shape_hw: tuple[int, int], share: float = DIAGONAL_SHARE) -> float:
    """Compute the tolerance in pixels for an image of this (height, width): `share` of its diagonal."""
    return share * math.hypot(*shape_hw)


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the outline of a mask, both (H, W): pixels in it with one of their four neighbours outside it.

    The border of the image is no outline, since an object may continue beyond it.
    """
    inner = ndimage.binary_erosion(mask, border_value=1)
    result: NDArray[np.bool_] = mask & ~inner
    return result


def boundary_agreement(
    true: NDArray[np.bool_], predicted: NDArray[np.bool_], tolerance: float
) -> BoundaryAgreement:
    """Compare the outlines of two masks (H, W) of one image; `tolerance` in pixels, >= 0.

    Raises ValueError for unequal shapes.
    """
    if true.shape != predicted.shape:
        raise ValueError(
            f"both masks must cover the same image, got shapes {true.shape} and {predicted.shape}"
        )
    edges = outline(true), outline(predicted)
    near = [_near(edges[i], edges[1 - i], tolerance) for i in (0, 1)]
    return BoundaryAgreement(
        true_px=int(edges[0].sum()),
        true_near=near[0],
        predicted_px=int(edges[1].sum()),
        predicted_near=near[1],
    )


def _near(edge: NDArray[np.bool_], other: NDArray[np.bool_], tolerance: float) -> int:
    """Count the pixels of `edge` within the tolerance of a pixel of `other`."""
    if not edge.any() or not other.any():
        return 0
    distance = ndimage.distance_transform_edt(~other)
    return int((distance[edge] <= tolerance).sum())
