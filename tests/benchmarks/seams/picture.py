"""The picture of a few seams: one row per place, one column per method.

1. `places` chooses, for each kind of object, the one over a seam that most methods do not get exactly.
2. `draw` shows every method's outputs there. Pale: exact. Any other colour: one output that is not. Red
   outline: a true object of which the outputs show half or less. Black lines are the true outlines, dashed
   blue ones the borders of cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from benchmarks.seams.score import EXACT_IOU, Pixels, Score
from benchmarks.seams.world import SeamWorld
from numpy.typing import NDArray

PLACE_KINDS = ("row house", "medium", "long", "huge")
Colour = tuple[int, int, int]
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
PALE = (204, 217, 230)
RED = (214, 20, 30)
BLUE = (40, 90, 200)
VIVID: tuple[Colour, ...] = (
    (230, 85, 13),
    (117, 107, 177),
    (49, 163, 84),
    (231, 41, 138),
    (253, 190, 80),
    (28, 144, 153),
    (140, 109, 49),
    (201, 148, 199),
    (161, 217, 155),
)

THIN_SHARE = 0.1
"""An object that fills less of its bounding square is thin: a picture of all of it would show nothing."""
THIN_WINDOW_PX = 300

CELL_PX = 200
"""About the side of a cell of the picture: a line of a larger window is as many pixels wide as fall into one
of these.
"""

Window = tuple[slice, slice]


def places(
    world: SeamWorld, core_px: int, crossing: NDArray[np.bool_], scores: Sequence[Score]
) -> list[Window]:
    """One window per kind that has an object over a seam which some method does not get exactly."""
    kinds = np.array(world.kind)
    wrong = sum((~score.exact).astype(np.int64) for score in scores) * crossing
    windows = []
    for kind in PLACE_KINDS:
        tried = np.where(kinds == kind, wrong, 0)
        if tried.any():
            windows.append(_around(world.labels, int(tried.argmax()) + 1, core_px))
    return windows


def draw(
    path: Path,
    world: SeamWorld,
    core_px: int,
    windows: Sequence[Window],
    shown: Mapping[str, tuple[Pixels, Score]],
) -> None:
    """Write a PNG: the truth, then one column per method of `shown`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ["truth", *shown]
    figure, axes = plt.subplots(
        len(windows), len(names), figsize=(2 * len(names), 2 * len(windows) + 0.35), squeeze=False
    )
    for line, window in zip(axes, windows, strict=True):
        truth = world.labels[window]
        images = [
            _outlined(
                np.where((truth > 0)[..., None], PALE, WHITE), truth, np.zeros(world.n + 1, dtype=np.bool_)
            )
        ]
        for pixels, score in shown.values():
            outputs = _outputs_in(pixels, world.labels.shape[1], window)
            images.append(_outlined(_colours(outputs, score), truth, _missed(outputs, truth, world.n)))
        for axis, image in zip(line, images, strict=True):
            axis.imshow(_with_borders(image, window, core_px))
            axis.set_axis_off()
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name.replace(" (", "\n("), fontsize=9)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _around(labels: NDArray[np.int32], thing: int, core_px: int) -> Window:
    """A square window over an object with some room around it, inside the grid; of a thin one, over one
    crossing only.
    """
    rows, cols = np.nonzero(labels == thing)
    extent = int(max(np.ptp(rows), np.ptp(cols))) + 1
    if rows.size < THIN_SHARE * extent**2:
        border = np.flatnonzero((rows % core_px == 0) | (cols % core_px == 0))
        middle = border[border.size // 2]
        rows, cols, extent = rows[middle : middle + 1], cols[middle : middle + 1], THIN_WINDOW_PX
    side = min(int(extent * 1.25) + 24, *labels.shape)
    corner = [(int(v.min()) + int(v.max()) - side) // 2 for v in (rows, cols)]
    row, col = (min(max(value, 0), limit - side) for value, limit in zip(corner, labels.shape, strict=True))
    return slice(row, row + side), slice(col, col + side)


def _outputs_in(pixels: Pixels, width: int, window: Window) -> NDArray[np.int64]:
    """(h, w) 1 + number of the output on top of each pixel of the window, smaller outputs over larger ones; 0
    = none.
    """
    rows, cols = window
    row = pixels.index // width
    col = pixels.index % width
    inside = (row >= rows.start) & (row < rows.stop) & (col >= cols.start) & (col < cols.stop)
    sizes = np.diff(pixels.start)
    output = np.repeat(np.arange(len(pixels)), sizes)[inside]
    order = np.argsort(-sizes[output], kind="stable")
    image = np.zeros((rows.stop - rows.start, cols.stop - cols.start), dtype=np.int64)
    image[row[inside][order] - rows.start, col[inside][order] - cols.start] = output[order] + 1
    return image


def _colours(outputs: NDArray[np.int64], score: Score) -> NDArray[np.uint8]:
    """(h, w, 3) pale where the output on top is exact, else one of the vivid colours per output."""
    numbers, inverse = np.unique(outputs, return_inverse=True)
    table = np.empty((numbers.size, 3), dtype=np.uint8)
    wrong = 0
    for i, number in enumerate(numbers):
        if number == 0:
            table[i] = WHITE
        elif score.output_iou[number - 1] >= EXACT_IOU:
            table[i] = PALE
        else:
            table[i] = VIVID[wrong % len(VIVID)]
            wrong += 1
    return table[inverse.reshape(outputs.shape)]


def _missed(outputs: NDArray[np.int64], truth: NDArray[np.int32], n: int) -> NDArray[np.bool_]:
    """(n + 1,) True for the objects of the window of which the outputs show half or less."""
    size = np.bincount(truth.ravel(), minlength=n + 1)
    shown = np.bincount(truth[outputs > 0], minlength=n + 1)
    missed = 2 * shown <= size
    missed[0] = False
    return np.asarray(missed & (size > 0))


def _outlined(
    image: NDArray[np.uint8], truth: NDArray[np.int32], missed: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The image with the inner border pixels of all true objects, wide enough to be seen in a small cell."""
    drawn = image.astype(np.uint8)
    reach = -(-truth.shape[0] // CELL_PX)
    for thing, mark in ((False, BLACK), (True, RED)):
        within = reach if not thing else 3 * reach
        edge = _inner_border(truth, within) & (missed[truth] == thing)
        drawn[edge] = mark
    return drawn


def _inner_border(truth: NDArray[np.int32], within: int) -> NDArray[np.bool_]:
    """True for object pixels with another value at most `within` rows or columns away."""
    border = np.zeros(truth.shape, dtype=np.bool_)
    padded = np.pad(truth, within, mode="edge")
    height, width = truth.shape
    for step in (-within, within):
        border |= padded[within + step : within + step + height, within : within + width] != truth
        border |= padded[within : within + height, within + step : within + step + width] != truth
    return border & (truth > 0)


def _with_borders(image: NDArray[np.uint8], window: Window, core_px: int) -> NDArray[np.uint8]:
    """The image with the borders of cores as dashed lines."""
    rows, cols = window
    wide = -(-image.shape[0] // CELL_PX)
    dash = (np.arange(image.shape[0]) // (8 * wide)) % 2 == 0
    for border in range(-(-rows.start // core_px) * core_px, rows.stop, core_px):
        if rows.start < border:
            image[border - rows.start : border - rows.start + wide, dash] = BLUE
    for border in range(-(-cols.start // core_px) * core_px, cols.stop, core_px):
        if cols.start < border:
            image[dash, border - cols.start : border - cols.start + wide] = BLUE
    return image
