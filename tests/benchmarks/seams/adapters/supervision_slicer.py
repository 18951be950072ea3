"""supervision: what `InferenceSlicer` does with the detections of its slices, with compact masks.

Each slice's masks become a `CompactMask`, are moved to full-image coordinates, put together by
`Detections.merge` and filtered by `with_nms` or `with_nmm`. Settings: `overlap_filter` (nms or nmm),
`overlap_metric`, `iou_threshold`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
import supervision as sv
from exchange import Outputs, TileMasks, answer
from supervision.detection.compact_mask import CompactMask
from supervision.detection.tools.inference_slicer import move_detections
from supervision.detection.utils.iou_and_nms import OverlapMetric

Native = tuple[list[sv.Detections], dict[str, Any]]


def prepare(masks: TileMasks, settings: dict[str, Any]) -> Native:
    """Detections of each slice, in full-image coordinates."""
    height, width = masks.shape
    moved = []
    for index, (labels, read) in enumerate(zip(masks.labels, masks.read.tolist(), strict=True)):
        mine = masks.tile == index
        if not mine.any():
            continue
        box = masks.box[mine] - np.array(
            [read[1], read[0], read[1] + 1, read[0] + 1]
        )  # its far corner is inclusive
        dense = labels[None] == masks.local[mine][:, None, None]
        detections = sv.Detections(
            xyxy=box.astype(np.float64),
            mask=CompactMask.from_dense(dense, box, labels.shape),
            confidence=masks.score[mine],
            class_id=np.zeros(int(mine.sum()), dtype=np.int64),
        )
        moved.append(move_detections(detections, np.array([read[1], read[0]]), resolution_wh=(width, height)))
    return moved, settings


def merge(native: Native) -> sv.Detections:
    slices, settings = native
    merged = sv.Detections.merge(slices)
    chosen = {"nms": merged.with_nms, "nmm": merged.with_nmm}[settings["overlap_filter"]]
    metric = OverlapMetric[settings["overlap_metric"]]
    return chosen(threshold=settings["iou_threshold"], class_agnostic=True, overlap_metric=metric)


def export(merged: sv.Detections) -> Outputs:
    """Outlines that follow the mask's pixel edges, as a union of its runs."""
    compact = merged.mask
    wkb = []
    for i, (x, y) in enumerate(compact.offsets.tolist()):
        crop = np.pad(compact.crop(i).astype(np.int8), ((0, 0), (1, 1)))
        row, start = np.nonzero(np.diff(crop, axis=1) == 1)
        stop = np.nonzero(np.diff(crop, axis=1) == -1)[1]
        runs = shapely.box(x + start, y + row, x + stop, y + row + 1)
        wkb.append(shapely.to_wkb(shapely.union_all(runs)))
    return Outputs(wkb=tuple(wkb))


if __name__ == "__main__":
    answer(prepare, merge, export, ["supervision", "numpy"])
