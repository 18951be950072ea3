"""Keep tiles of procedural worlds on disk, and make batches of them.

1. `render_store` draws tiles in chunks. Existing chunks are kept, so an interrupted rendering continues where
   it stopped.
2. `TileStore` opens the chunks; pixels stay memory-mapped.
3. `batch_of` picks tiles for a step, turns or mirrors each (`turn_truth`) and changes its colours slightly.
   The batch depends on (seed, step) alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.finetune.prompter.samples import IMAGE_PX, TileObjects, describe_tile, raster_order

CHUNK = 128
"""Tiles per chunk. A chunk is one .npz of truth and one .npy of pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnTile:
    """A rendered tile in its own size."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)"""
    labels: NDArray[np.integer]
    """(H, W), 0 = background."""
    class_of: Mapping[int, int]
    """Label -> class index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileBatch:
    """Tiles of one step."""

    rgb: NDArray[np.uint8]
    """(B, IMAGE_PX, IMAGE_PX, 3)"""
    truths: tuple[TileObjects, ...]


def resize_image(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Squash (H, W, 3) to the image size as the `embedded` profile does (bilinear, antialiased)."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(rgb)).resize(
        (IMAGE_PX, IMAGE_PX), Image.Resampling.BILINEAR
    )
    return np.asarray(picture, np.uint8)


def render_store(
    folder: Path, draw: Callable[[int], Sequence[DrawnTile]], *, n_tiles: int, n_classes: int
) -> None:
    """Draw tiles 0..n_tiles-1 into `folder`. `draw(k)` gives the CHUNK tiles of chunk k, if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, n_tiles, CHUNK):
        pixels_path, truth_path = _chunk_paths(folder, first // CHUNK)
        if pixels_path.exists() and truth_path.exists():
            continue
        drawn = draw(first // CHUNK)
        truths = [describe_tile(tile.labels, tile.class_of, n_classes=n_classes) for tile in drawn]
        counts = [len(truth.class_ids) for truth in truths]
        _save(truth_path, {
            "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            "class_ids": np.concatenate([truth.class_ids for truth in truths]),
            "boxes_xyxy": np.concatenate([truth.boxes_xyxy for truth in truths]),
            "points_xy": np.concatenate([truth.points_xy for truth in truths]),
            "owner": np.stack([truth.owner for truth in truths]).astype(np.int16),
            "coverage": np.stack([truth.coverage for truth in truths]).astype(np.float16),
        })  # fmt: skip
        _save(pixels_path, np.stack([resize_image(tile.rgb) for tile in drawn]))
        print(f"rendered {first + CHUNK}/{n_tiles} tiles", flush=True)  # noqa: T201


def _chunk_paths(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / f"pixels_{index:05d}.npy", folder / f"truth_{index:05d}.npz"


def _save(path: Path, value: NDArray[np.uint8] | dict[str, NDArray[np.generic]]) -> None:
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    with fresh.open("wb") as file:
        if isinstance(value, dict):
            np.savez(file, **value)  # type: ignore[arg-type]
        else:
            np.save(file, value)
    fresh.rename(path)


class TileStore:
    """The rendered tiles of a folder, by index. `reload` finds chunks that are added while it is open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pixels: list[NDArray[np.uint8]] = []
        self._truths: list[TileObjects] = []
        self.reload()
        if not self._truths:
            raise InputError(
                "training needs rendered tiles", came=f"none in {folder}", remedy="render the store first"
            )

    def reload(self) -> None:
        """Open the chunks that were finished since."""
        while True:
            pixels_path, truth_path = _chunk_paths(self._folder, len(self._pixels))
            if not (pixels_path.exists() and truth_path.exists()):
                return
            self._pixels.append(np.load(pixels_path, mmap_mode="r"))
            with np.load(truth_path) as data:
                arrays = dict(data)
            for index in range(CHUNK):
                part = slice(arrays["offsets"][index], arrays["offsets"][index + 1])
                self._truths.append(
                    TileObjects(
                        class_ids=arrays["class_ids"][part],
                        boxes_xyxy=arrays["boxes_xyxy"][part],
                        points_xy=arrays["points_xy"][part],
                        owner=arrays["owner"][index].astype(np.int64),
                        coverage=arrays["coverage"][index].astype(np.float32),
                    )
                )

    def __len__(self) -> int:
        return len(self._truths)

    def rgb(self, index: int) -> NDArray[np.uint8]:
        """Read the pixels of a tile, (IMAGE_PX, IMAGE_PX, 3)."""
        pixels: NDArray[np.uint8] = self._pixels[index // CHUNK][index % CHUNK]
        return pixels

    def truth(self, index: int) -> TileObjects:
        return self._truths[index]


def turn_image(rgb: NDArray[np.uint8], symmetry: int) -> NDArray[np.uint8]:
    """Apply one of eight symmetries to (H, W, ...): bit 0 transposes, then bit 1 mirrors x, then bit 2 y."""
    if symmetry & 1:
        rgb = rgb.swapaxes(0, 1)
    if symmetry & 2:
        rgb = rgb[:, ::-1]
    if symmetry & 4:
        rgb = rgb[::-1]
    return rgb


def turn_truth(truth: TileObjects, symmetry: int) -> TileObjects:
    """Apply a symmetry to a truth; its objects are put into reply order again."""
    box = truth.boxes_xyxy.copy()
    point = truth.points_xy.copy()
    if symmetry & 1:
        box, point = box[:, [1, 0, 3, 2]], point[:, ::-1]
    if symmetry & 2:
        box = np.stack([IMAGE_PX - box[:, 2], box[:, 1], IMAGE_PX - box[:, 0], box[:, 3]], axis=1)
        point = np.stack([IMAGE_PX - point[:, 0], point[:, 1]], axis=1)
    if symmetry & 4:
        box = np.stack([box[:, 0], IMAGE_PX - box[:, 3], box[:, 2], IMAGE_PX - box[:, 1]], axis=1)
        point = np.stack([point[:, 0], IMAGE_PX - point[:, 1]], axis=1)
    order = raster_order(point)
    place = np.full(len(order) + 1, -1, np.int64)
    place[order] = np.arange(len(order))
    return TileObjects(
        class_ids=truth.class_ids[order],
        boxes_xyxy=box[order],
        points_xy=point[order],
        owner=place[turn_image(truth.owner, symmetry)],  # type: ignore[arg-type]
        coverage=turn_image(truth.coverage, symmetry),  # type: ignore[arg-type]
    )


def batch_of(store: TileStore, *, seed: int, step: int, size: int, n_tiles: int) -> TileBatch:
    """Make the batch of a step: `size` of the first `n_tiles` tiles, turned and recoloured.

    It depends on the arguments alone.
    """
    rng = np.random.default_rng([seed, step])
    chosen = rng.integers(0, n_tiles, size)
    symmetries = rng.integers(0, 8, size)
    images = np.empty((size, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    truths = []
    for row, (index, symmetry) in enumerate(zip(chosen, symmetries, strict=True)):
        images[row] = _recolour(turn_image(store.rgb(int(index)), int(symmetry)), rng)
        truths.append(turn_truth(store.truth(int(index)), int(symmetry)))
    return TileBatch(rgb=images, truths=tuple(truths))


def _recolour(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply a slight gain and offset to each channel; black (nodata) stays black."""
    gain = rng.uniform(0.88, 1.12) * rng.uniform(0.95, 1.05, 3)
    offset = rng.uniform(-10, 10)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    table[0] = 0
    return np.stack([table[:, channel][rgb[..., channel]] for channel in range(3)], axis=-1)
