"""Make one mask of two routes' masks.

`fused` (GeoSeg, equations 6 and 7): a mask is valid when it covers at least gamma of the box; route A's also
needs a point. Both valid: what both mark, which may be nothing. One valid: that one. None: nothing.

`fused_as_released` (the authors' code, commit 0d45b5e, by reading): a mask is valid when it has a pixel. Both
valid: what both mark, even if that is nothing. One valid: that one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def fused(points_mask: Mask, text_mask: Mask, *, has_points: bool, gamma: float) -> Mask:
    """Fuse masks (h, w) of a box by equation 7.

    Args:
        points_mask: route A's.
        text_mask: route B's.
        has_points: whether route A had a point.
        gamma: least share of the box that a valid mask covers.
    """
    return _chosen(
        points_mask,
        text_mask,
        first=has_points and points_mask.mean() >= gamma,
        second=bool(text_mask.mean() >= gamma),
    )


def fused_as_released(points_mask: Mask, text_mask: Mask) -> Mask:
    """Fuse masks (h, w) of a box as the released code does."""
    return _chosen(points_mask, text_mask, first=bool(points_mask.any()), second=bool(text_mask.any()))


def _chosen(points_mask: Mask, text_mask: Mask, *, first: bool, second: bool) -> Mask:
    if first and second:
        return points_mask & text_mask
    if first:
        return points_mask
    if second:
        return text_mask
    return np.zeros_like(points_mask)
