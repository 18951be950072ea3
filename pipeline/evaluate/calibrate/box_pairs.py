"""Pair a checkpoint's boxes with the true ones, in every frame that its numbers could be in.

1. `said_boxes` reads a kept reply again as if its numbers were in a given frame: pixels of the image that the
   checkpoint saw, thousandths, or shares of it.
2. `true_boxes` takes the boxes of the true objects: those that a source numbers itself, or the 4-connected
   parts of a mask.
3. `matched` pairs them one to one, so that the sum of their IoUs is largest, and drops pairs below MATCH_IOU.
4. `collect_pairs` does so for all answers of an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.benchmark.benchmark import MaskSource, Sample, read_mask
from pipeline.evaluate.benchmark.sample_records import SampleRecord
from pipeline.prompt.profile import MAX_IMAGE_SIDE_PX, Frame, Profile
from pipeline.prompt.reply.frames import to_window
from pipeline.prompt.reply.parse import parse_reply

MATCH_IOU = 0.25
"""Least IoU of a pair. Low, because boxes that need correction overlap little with what they mean."""

MIN_TRUE_SIDE_PX = 4.0
"""Shorter true boxes are left out: slivers at the edge of a picture."""

Boxes = NDArray[np.float64]
"""(n, 4): x0, y0, x1, y1 in pixel edges of the scored picture."""


@runtime_checkable
class ObjectSource(Protocol):
    """A mask source that knows its objects one by one."""

    def objects(self) -> NDArray[np.int32]:
        """Number the objects: (H, W), 0 = none."""
        ...


@dataclass(frozen=True, kw_only=True)
class BoxPairs:
    """All boxes of an evaluation in one frame, and the pairs among them."""

    frame: Frame
    said: Boxes
    """Predicted boxes of the pairs."""
    true: Boxes
    """True boxes of the pairs, row by row."""
    picture: NDArray[np.int64]
    """(n,) number of each pair's picture."""
    size_wh: NDArray[np.float64]
    """(n, 2) width and height of each pair's picture in pixels."""
    answers: tuple[AnswerBoxes, ...]
    """All answers about pictures that hold a target."""


@dataclass(frozen=True, kw_only=True)
class AnswerBoxes:
    """The boxes of one answer."""

    picture: int
    size_wh: tuple[int, int]
    said: Boxes
    true: Boxes


def collect_pairs(
    answers: Iterable[tuple[int, Sample, SampleRecord]], profile: Profile, frame: Frame
) -> BoxPairs:
    """Pair the boxes of all answers whose picture holds a target. `answers`: number of the picture, query and
    record of each. Raises what `MaskSource.read` does.
    """
    found = []
    for picture, sample, record in answers:
        if not record.true_px:
            continue
        shape = record.height, record.width
        found.append(
            AnswerBoxes(
                picture=picture,
                size_wh=(record.width, record.height),
                said=said_boxes(record.reply, profile, frame, shape),
                true=true_boxes(sample.mask, shape),
            )
        )
    pairs = [(answer, *matched(answer.said, answer.true)) for answer in found]
    return BoxPairs(
        frame=frame,
        said=_stacked([answer.said[rows] for answer, rows, _ in pairs]),
        true=_stacked([answer.true[cols] for answer, _, cols in pairs]),
        picture=np.array([answer.picture for answer, rows, _ in pairs for _ in rows], dtype=np.int64),
        size_wh=np.array(
            [answer.size_wh for answer, rows, _ in pairs for _ in rows], dtype=np.float64
        ).reshape(-1, 2),
        answers=tuple(found),
    )


def said_boxes(reply: str, profile: Profile, frame: Frame, shape_hw: tuple[int, int]) -> Boxes:
    """Read the boxes of a reply as if its numbers were in `frame`, in pixels of a picture (H, W).

    Whole numbers above 1 are no shares, and a reply of such has no boxes in the frame `unit`. (Cut off at 1
    they would become boxes of the whole picture.)
    """
    other = replace(profile, frame=frame)
    if frame == "unit":
        wide = replace(profile, frame="image_px", image_px=(MAX_IMAGE_SIDE_PX, MAX_IMAGE_SIDE_PX))
        if parse_reply(reply, wide, finish_reason=None).items:
            return np.zeros((0, 4))
    items = parse_reply(reply, other, finish_reason=None).items
    prompts = to_window(items, other.frame_wh, shape_hw)
    return _stacked([np.array([p.box_xyxy], dtype=np.float64) for p in prompts if p.box_xyxy is not None])


def true_boxes(mask: MaskSource, shape_hw: tuple[int, int]) -> Boxes:
    """Take the boxes of the true objects, in pixels of a picture (H, W) to which the mask is stretched."""
    from scipy import ndimage

    labels = mask.objects() if isinstance(mask, ObjectSource) else ndimage.label(read_mask(mask, shape_hw))[0]
    scale = shape_hw[1] / labels.shape[1], shape_hw[0] / labels.shape[0]
    boxes = [
        np.array([[cols.start, rows.start, cols.stop, rows.stop]]) * np.tile(scale, 2)
        for rows, cols in (found for found in ndimage.find_objects(labels) if found is not None)
    ]
    boxed = _stacked(boxes)
    long = (boxed[:, 2:] - boxed[:, :2]).min(axis=1, initial=np.inf) >= MIN_TRUE_SIDE_PX
    kept: Boxes = boxed[long]
    return kept


def matched(said: Boxes, true: Boxes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair boxes one to one: returns rows of `said` and of `true`, pair by pair."""
    from scipy.optimize import linear_sum_assignment

    if not len(said) or not len(true):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    iou = box_iou(said, true)
    rows, cols = linear_sum_assignment(iou, maximize=True)
    near = iou[rows, cols] >= MATCH_IOU
    return rows[near].astype(np.int64), cols[near].astype(np.int64)


def box_iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Compute the IoU (n, m) of boxes (n, 4) and (m, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    found: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def _stacked(boxes: list[NDArray[np.float64]]) -> Boxes:
    return np.concatenate(boxes) if boxes else np.zeros((0, 4))
