"""Match predicted instances with true objects, by one contingency table over two id rasters.

1. `Overlaps.add` counts, window by window, the pixels that every pair (true id, predicted id) shares. Only
   the table is kept, so rasters may have any size.
2. `Overlaps.match` pairs objects by IoU, best first. At IoU > 0.5 an object has at most one partner (Kirillov
   et al., Panoptic Segmentation, 2019, section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Match:
    """Instance-level agreement at one IoU threshold."""

    true_ids: NDArray[np.int64]
    """Ids of matched true objects, (k,)."""
    predicted_ids: NDArray[np.int64]
    """Ids of their partners, (k,)."""
    iou: NDArray[np.float64]
    """IoU of each pair, (k,), at least the threshold."""
    n_true: int
    n_predicted: int

    @property
    def precision(self) -> float:
        """Matched over predicted instances; NaN when nothing was predicted."""
        return len(self.iou) / self.n_predicted if self.n_predicted else float("nan")

    @property
    def recall(self) -> float:
        """Matched over true objects; NaN when there are none."""
        return len(self.iou) / self.n_true if self.n_true else float("nan")


class Overlaps:
    """Contingency table of two label rasters, accumulated over disjoint windows."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[int, int], int] = {}

    def add(self, true_ids: NDArray[np.int64], predicted_ids: NDArray[np.int64]) -> None:
        """Count one window: two integer arrays of equal shape, 0 = background."""
        if true_ids.shape != predicted_ids.shape:
            raise ValueError(
                "both rasters must cover the same window, "
                f"got shapes {true_ids.shape} and {predicted_ids.shape}"
            )
        pairs = np.stack([true_ids.ravel(), predicted_ids.ravel()])
        pairs = pairs[:, (pairs != 0).any(axis=0)]
        if pairs.size == 0:
            return
        unique, counts = np.unique(pairs, axis=1, return_counts=True)
        for true, predicted, count in zip(
            unique[0].tolist(), unique[1].tolist(), counts.tolist(), strict=True
        ):
            self._pairs[true, predicted] = self._pairs.get((true, predicted), 0) + count

    def areas(self) -> tuple[dict[int, int], dict[int, int]]:
        """Count the pixels of every true id and of every predicted id, without background."""
        true_area: dict[int, int] = {}
        predicted_area: dict[int, int] = {}
        for (true, predicted), count in self._pairs.items():
            if true:
                true_area[true] = true_area.get(true, 0) + count
            if predicted:
                predicted_area[predicted] = predicted_area.get(predicted, 0) + count
        return true_area, predicted_area

    def touching(self) -> set[int]:
        """List the predicted ids that share a pixel with any true object."""
        return {predicted for true, predicted in self._pairs if true and predicted}

    def match(self, threshold: float = 0.5) -> Match:
        """Pair objects with IoU >= threshold, best first; ties by id.

        Above 0.5 every object has at most one possible partner, as masks of one raster are disjoint. For
        smaller thresholds the pairing is greedy.
        """
        true_area, predicted_area = self.areas()
        candidates = []
        for (true, predicted), common in self._pairs.items():
            if true and predicted:
                iou = common / (true_area[true] + predicted_area[predicted] - common)
                if iou >= threshold:
                    candidates.append((-iou, true, predicted))
        used_true: set[int] = set()
        used_predicted: set[int] = set()
        matched = []
        for negative_iou, true, predicted in sorted(candidates):
            if true not in used_true and predicted not in used_predicted:
                used_true.add(true)
                used_predicted.add(predicted)
                matched.append((true, predicted, -negative_iou))
        return Match(
            true_ids=np.array([m[0] for m in matched], dtype=np.int64),
            predicted_ids=np.array([m[1] for m in matched], dtype=np.int64),
            iou=np.array([m[2] for m in matched], dtype=np.float64),
            n_true=len(true_area),
            n_predicted=len(predicted_area),
        )

    def pixel_iou(self) -> float:
        """Compute the IoU of the two foregrounds; 1.0 when both are empty."""
        union = sum(self._pairs.values())
        common = sum(count for (true, predicted), count in self._pairs.items() if true and predicted)
        return common / union if union else 1.0
