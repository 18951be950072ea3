"""How well outputs agree with the true objects: one definition of every figure, for all methods.

1. `pixels_of` turns outputs, raster or polygons, into lists of pixels (a polygon has the pixels whose centre
   it holds).
2. `score` counts the pixels that each output shares with each true object, and from that alone:
   - exact          true objects for which some output reaches an intersection over union of 0.95
   - split          true objects that two or more outputs share out between them
   - false merge    outputs that hold more than half of each of two or more true objects
   - missed         true objects of which all outputs together show half or less
   - duplicate      outputs that show again what a larger output of the same object shows already
   - quality        panoptic quality at 0.5: sum of matched IoU / (matches + half of the unmatched)

An output belongs to the true object that holds more than half of its pixels. Among the outputs of one object,
from the largest down, one is a duplicate when more than half of its pixels are shown already, otherwise it is
a part; an object with two parts or more is split. Outputs may overlap each other: rules that suppress or drop
leave such outputs behind. Panoptic quality: Kirillov et al., "Panoptic Segmentation", CVPR 2019, equation 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from benchmarks.seams.adapters.exchange import Outputs
from numpy.typing import NDArray

EXACT_IOU = 0.95
FOUND_IOU = 0.5

MAX_DENSE_PAIRS = 50_000_000
"""Up to so many pairs of output and object are counted in a table, beyond that by sorting."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Pixels of n outputs."""

    start: NDArray[np.int64]
    """(n + 1,) output i has the pixels [start[i], start[i + 1])."""
    index: NDArray[np.int64]
    """Flat pixel numbers row * width + column; each output names a pixel once."""

    def __len__(self) -> int:
        return int(self.start.size) - 1

    def of(self, output: int) -> NDArray[np.int64]:
        return self.index[self.start[output] : self.start[output + 1]]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of one method on one world; see the module's story."""

    outputs: int
    splits: int
    false_merges: int
    missed: int
    duplicates: int
    quality: float
    exact: NDArray[np.bool_]
    """(n,) per true object."""
    found: NDArray[np.bool_]
    """(n,) some output reaches an intersection over union of 0.5."""
    output_iou: NDArray[np.float64]
    """(outputs,) best intersection over union of each output with a true object."""


def pixels_of(outputs: Outputs, shape: tuple[int, int]) -> Pixels:
    """The pixels of every output, outputs without a pixel left out. Raises ValueError for a raster of another
    shape.
    """
    if outputs.raster is not None:
        return _pixels_of_raster(outputs.raster, shape)
    return _pixels_of_polygons(outputs.wkb or (), shape)


def score(truth: NDArray[np.int32], pixels: Pixels) -> Score:
    """`truth` (H, W): 0 = background, 1..n = objects, each with a pixel."""
    flat = truth.ravel()
    size_px = np.bincount(flat)
    n = size_px.size - 1
    output = np.repeat(np.arange(len(pixels)), np.diff(pixels.start))
    of_output, of_object, common = _common(output, flat[pixels.index], len(pixels), n)
    real = of_object > 0
    of_output, of_object, common = of_output[real], of_object[real], common[real]
    output_px = np.diff(pixels.start)
    iou = common / (output_px[of_output] + size_px[of_object] - common)
    best = np.zeros(n + 1)
    np.maximum.at(best, of_object, iou)
    best_of_output = np.zeros(len(pixels))
    np.maximum.at(best_of_output, of_output, iou)
    covered = np.zeros(flat.size, dtype=np.bool_)
    covered[pixels.index] = True
    shown = np.bincount(flat[covered], minlength=n + 1)
    holds = 2 * common > size_px[of_object]
    belongs = 2 * common > output_px[of_output]
    splits, duplicates = _parts(pixels, of_output[belongs], of_object[belongs])
    matched = best > FOUND_IOU
    n_matched = int(matched[1:].sum())
    unmatched = (len(pixels) - n_matched) + (n - n_matched)
    return Score(
        outputs=len(pixels),
        splits=splits,
        false_merges=int((np.bincount(of_output[holds], minlength=1) >= 2).sum()),
        missed=int((2 * shown[1:] <= size_px[1:]).sum()),
        duplicates=duplicates,
        quality=float(best[1:][matched[1:]].sum() / max(n_matched + unmatched / 2, 1)),
        exact=best[1:] >= EXACT_IOU,
        found=best[1:] >= FOUND_IOU,
        output_iou=best_of_output,
    )


def _common(
    output: NDArray[np.int64], thing: NDArray[np.int32], n_outputs: int, n: int
) -> tuple[NDArray[np.int64], ...]:
    """(output, object, common pixels) of every pair that shares a pixel, background included as object 0."""
    pair = output * (n + 1) + thing
    if n_outputs * (n + 1) <= MAX_DENSE_PAIRS:
        count = np.bincount(pair, minlength=1)
        pair = np.flatnonzero(count)
        return pair // (n + 1), pair % (n + 1), count[pair]
    pair, count = np.unique(pair, return_counts=True)
    return pair // (n + 1), pair % (n + 1), count


def _parts(pixels: Pixels, output: NDArray[np.int64], thing: NDArray[np.int64]) -> tuple[int, int]:
    """(split objects, duplicate outputs), given which object each output belongs to."""
    splits = duplicates = 0
    order = np.lexsort((output, -np.diff(pixels.start)[output], thing))
    output, thing = output[order], thing[order]
    _, first, count = np.unique(thing, return_index=True, return_counts=True)
    for i in np.flatnonzero(count > 1):
        members = output[first[i] : first[i] + count[i]]
        shown = pixels.of(members[0])
        parts = 1
        for member in members[1:]:
            own = pixels.of(member)
            again = int(np.isin(own, shown).sum())
            if 2 * again > own.size:
                duplicates += 1
            else:
                parts += 1
                shown = np.union1d(shown, own)
        splits += parts > 1
    return splits, duplicates


def _pixels_of_raster(raster: NDArray[np.generic], shape: tuple[int, int]) -> Pixels:
    if raster.shape != shape:
        raise ValueError(f"a raster of outputs must have the world's shape {shape}, got {raster.shape}")
    flat = raster.ravel()
    first = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])  # of each run of equal pixels
    length = np.diff(np.append(first, flat.size))
    first, length = first[flat[first] != 0], length[flat[first] != 0]
    values, output = np.unique(flat[first], return_inverse=True)
    order = np.argsort(output, kind="stable")
    first, length = first[order], length[order]
    before = np.cumsum(length) - length
    index = np.repeat(first - before, length) + np.arange(int(length.sum()))
    sizes = np.bincount(output[order], weights=length, minlength=values.size).astype(np.int64)
    return Pixels(start=np.concatenate([[0], np.cumsum(sizes)]), index=index)


def _pixels_of_polygons(wkb: Sequence[bytes], shape: tuple[int, int]) -> Pixels:
    parts = []
    for geometry in shapely.from_wkb(list(wkb)):
        if geometry is None or geometry.is_empty:
            continue
        x0, y0, x1, y1 = geometry.bounds
        col0 = max(int(np.floor(x0)), 0)
        row0 = max(int(np.floor(y0)), 0)
        col1 = min(int(np.ceil(x1)), shape[1])
        row1 = min(int(np.ceil(y1)), shape[0])
        if col1 <= col0 or row1 <= row0:
            continue
        move = rasterio.Affine.translation(col0, row0)
        burnt = rasterio.features.rasterize(
            [geometry], out_shape=(row1 - row0, col1 - col0), transform=move, dtype="uint8"
        )
        rows, cols = np.nonzero(burnt)
        parts.append((rows + row0) * shape[1] + cols + col0)
    parts = [part for part in parts if part.size]
    start = np.cumsum([0, *(part.size for part in parts)])
    return Pixels(start=start, index=np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
