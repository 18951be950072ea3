"""The dense targets of the vision tower and their loss, on tiles small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipeline.finetune.prompter.samples import GRID, TileObjects  # noqa: E402
from pipeline.finetune.prompter.vision import (  # noqa: E402
    cell_centres,
    dense_loss,
    dense_targets,
    largest_last,
    make_dense_heads,
    squeeze_px,
    unsqueeze_px,
)

N_CLASSES = 3


def tile(
    boxes: list[tuple[int, int, int, int]], kinds: list[int], owner: dict[tuple[int, int], int]
) -> TileObjects:
    box = np.asarray(boxes, np.float32).reshape(-1, 4)
    owners = np.full((GRID, GRID), -1, np.int64)
    for cell, index in owner.items():
        owners[cell] = index
    return TileObjects(
        class_ids=np.asarray(kinds, np.int64),
        boxes_xyxy=box,
        points_xy=(box[:, :2] + box[:, 2:]) / 2,
        owner=owners,
        coverage=np.zeros((GRID, GRID, N_CLASSES), np.float32),
    )


BARE = tile([], [], {})


def test_cells_are_28_px_in_raster_order() -> None:
    centres = cell_centres()
    assert centres.shape == (81, 2)
    assert centres[[0, 1, 9, 80]].tolist() == [[14, 14], [42, 14], [14, 42], [238, 238]]


def test_the_largest_object_comes_last() -> None:
    assert largest_last(tile([(0, 0, 20, 20), (0, 0, 5, 5), (0, 0, 10, 10)], [0, 0, 0], {})) == [1, 2, 0]


def test_targets_by_hand() -> None:
    """Two objects with their points in cell (0, 1), whose centre is (42, 14); the larger one, of class 1,
    owns it and its neighbour below, whose centre is (42, 42).
    """
    both = tile([(40, 4, 50, 14), (32, 2, 52, 22)], [2, 1], {(0, 1): 1, (1, 1): 1})
    targets = dense_targets([BARE, both], n_classes=N_CLASSES)
    assert targets.owner_class[0].tolist() == [N_CLASSES] * 81
    assert not targets.has_peak[0].any()
    assert targets.owner_class[1, [0, 1, 10]].tolist() == [N_CLASSES, 1, 1]
    assert targets.owner_box[1, 1].tolist() == [-10, -12, 10, 8]
    assert targets.owner_box[1, 10].tolist() == [-10, -40, 10, -20]
    assert targets.peak[1].nonzero().tolist() == [[1, 1], [1, 2]]
    assert targets.has_peak[1].nonzero().tolist() == [[1]]
    assert targets.peak_numbers[1, 1].tolist() == [0, -2, -10, -12, 10, 8]


def test_distances_are_learned_as_the_area_hyperbolic_sine_of_eighths() -> None:
    pixels = torch.tensor([-100.0, -8.0, 0.0, 1.0, 24.0])
    assert squeeze_px(pixels)[[1, 2]].tolist() == pytest.approx([-math.asinh(1), 0.0])
    assert unsqueeze_px(squeeze_px(pixels)).tolist() == pytest.approx(pixels.tolist(), rel=1e-4)


def test_the_loss_of_heads_that_see_nothing_on_a_bare_tile() -> None:
    """Coverage starts at a logit of -3 and peaks at -4; owners are undecided among classes and none."""
    heads = make_dense_heads(8, N_CLASSES)
    with torch.no_grad():
        for head in heads.values():
            head.weight.zero_()
        heads["owner"].bias.zero_()
    loss, parts = dense_loss(heads, torch.randn(2, 81, 8), dense_targets([BARE, BARE], n_classes=N_CLASSES))
    sure = 1 / (1 + math.exp(4))
    peak = 2 * 81 * N_CLASSES * math.log1p(math.exp(-4)) * sure**1.5
    assert parts["coverage"] == pytest.approx(81 * N_CLASSES * math.log1p(math.exp(-3)), rel=1e-4)
    assert parts["owner"] == pytest.approx(math.log(N_CLASSES + 1), rel=1e-5)
    assert parts["peak"] == pytest.approx(peak, rel=1e-4)
    assert parts["box"] == parts["numbers"] == 0.0
    total = 0.03 * parts["coverage"] + 0.7 * parts["owner"] + parts["peak"]
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)


def test_a_box_that_is_right_costs_nothing_and_one_beside_it_one_and_more() -> None:
    """One cell with its own box of 16 x 16 px around its centre. 16 px to the right there is no overlap, the
    hull is twice as large as both together: generalised IoU 0, so half of 1, beside the distances.
    """
    targets = dense_targets([tile([(34, 6, 50, 22)], [0], {(0, 1): 0})], n_classes=N_CLASSES)

    def box_loss(shift: float) -> float:
        heads = make_dense_heads(8, N_CLASSES)
        with torch.no_grad():
            heads["owner_box"].weight.zero_()
            heads["owner_box"].bias.copy_(squeeze_px(torch.tensor([-8 + shift, -8.0, 8 + shift, 8.0])))
        return dense_loss(heads, torch.zeros(1, 81, 8), targets)[1]["box"]

    assert box_loss(0.0) == pytest.approx(0.0, abs=1e-5)
    off = math.asinh(1) + math.asinh(1), math.asinh(3) - math.asinh(1)
    smooth = sum(distance - 0.025 for distance in off) / 4
    assert box_loss(16.0) == pytest.approx(smooth + 0.5 * 1.0, rel=1e-3)
