"""Render training windows of procedural worlds once into memory-mapped files, and read them in a fixed order.

1. `draw_window` makes window i from (seed, i) alone: world, scale, place and sensor. A place with few objects
   is usually drawn again.
2. In a distant view narrow objects become background (`without_narrow`).
3. `start_renderers` fills the files from background processes. `WindowPool.wait_for` blocks until the first n
   windows are there. As n depends on the step alone, their speed changes no result.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, RecordError
from pipeline.finetune.sensor import apply_sensor
from pipeline.finetune.sensor_effects import draw_sensor
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.render import render

FIRST_TRAINING_SEED = 100_000
"""First world seed that is rendered here. Lower seeds belong to tests and evaluation."""
N_TRAINING_SEEDS = 100_000
FIRST_MEASURED_SEED = 500_000
"""First world seed for the wide pictures of `segmenter_eval`. Nothing trains on these worlds."""
MAX_DRAWS = 5
BUSY_OBJECTS = 3
KEEP_SPARSE = 0.35
"""Probability that a place with fewer than BUSY_OBJECTS objects is kept: half of a landscape is one field or
one lake and teaches little. A place without any usable object is drawn again, up to MAX_DRAWS draws in all.
"""
MIN_OBJECT_PX = 24
"""Fewest visible pixels of an object that gets a prompt."""
FAR_SCALE = 0.6
"""Scale (0.83 m per pixel) below which narrow objects get no prompt."""
MIN_FAR_SIDE_PX = 6
"""Narrower objects of a distant view become background: blurred by a sensor, nobody could outline them."""
REACH_PX = 1_000_000
"""Windows lie within this distance of a world's origin."""


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """What the windows show."""

    n_windows: int = 20_000
    tile_px: int = 256
    min_scale: float = 0.25
    """Smallest scale, relative to the nominal 0.5 m per pixel: 0.25 is 2 m per pixel."""
    max_scale: float = 3.0
    sensor: bool = True
    """Whether pictures pass through a simulated sensor."""
    seed: int = 0
    first_seed: int = FIRST_TRAINING_SEED
    """World seeds are drawn from first_seed .. first_seed + N_TRAINING_SEEDS - 1."""

    def __post_init__(self) -> None:
        if self.n_windows < 1 or self.tile_px < 64:
            raise ValueError(
                f"a pool needs at least one window of at least 64 px, got {self.n_windows} of {self.tile_px}"
            )


def draw_world(options: PoolOptions, index: int) -> tuple[World, float, np.random.Generator]:
    """Draw the world of window `index` and its scale. Also returns the generator for further draws."""
    rng = np.random.default_rng((options.seed, index))
    seed = options.first_seed + int(rng.integers(N_TRAINING_SEEDS))
    scale = float(np.exp(rng.uniform(np.log(options.min_scale), np.log(options.max_scale))))
    return World.from_seed(seed, scale=scale), scale, rng


def draw_window(options: PoolOptions, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Draw window `index`; returns rgb (S, S, 3) and labels (S, S).

    Labels are 0 = background, 1..n = objects by ascending world label.
    """
    world, scale, rng = draw_world(options, index)
    side = options.tile_px
    for draw in range(MAX_DRAWS):
        row, col = (int(v) for v in rng.integers(0, REACH_PX, 2))
        rendering = render(world, Window(row0=row, col0=col, row1=row + side, col1=col + side))
        labels = _numbered(rendering.labels if scale >= FAR_SCALE else without_narrow(rendering.labels))
        n_usable = int((np.bincount(labels.ravel())[1:] >= MIN_OBJECT_PX).sum())
        if draw == MAX_DRAWS - 1 or n_usable >= BUSY_OBJECTS or (n_usable > 0 and rng.random() < KEEP_SPARSE):
            break
    rgb = rendering.rgb
    if options.sensor:
        rgb = apply_sensor(rgb, draw_sensor(rng), rng, free=rendering.labels == 0)
    return rgb, labels.astype(np.uint16)


def _numbered(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Renumber labels to 1..n, ascending; 0 stays background."""
    values, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(labels.shape) + (0 if values[0] == 0 else 1)


def without_narrow(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Drop objects whose visible box has a side under MIN_FAR_SIDE_PX; returns (H, W) labels."""
    from scipy import ndimage

    kept = np.arange(int(labels.max()) + 1, dtype=np.int32)
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and min(part.stop - part.start for part in box) < MIN_FAR_SIDE_PX:
            kept[index] = 0
    return kept[labels]


class WindowPool:
    """Memory-mapped windows in a directory.

    Pixels and labels lie in `rgb.u8` (N, S, S, 3) and `labels.u16` (N, S, S). `ready.u8` (N,) marks finished
    windows, so an interrupted rendering continues where it stopped. Raises InputError when the directory
    holds windows of other options.
    """

    def __init__(self, directory: Path, options: PoolOptions) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.options = options
        said = directory / "pool.json"
        wanted = json.dumps(asdict(options), sort_keys=True)
        if said.exists() and said.read_text() != wanted:
            raise InputError(
                "the pool directory holds windows of other options",
                came=str(directory),
                remedy="delete it or name another",
            )
        n = options.n_windows
        side = options.tile_px
        self.rgb = _mapped(directory / "rgb.u8", np.uint8, (n, side, side, 3))
        self.labels = _mapped(directory / "labels.u16", np.uint16, (n, side, side))
        self.ready = _mapped(directory / "ready.u8", np.uint8, (n,))
        said.write_text(wanted)

    def fill(self, worker: int = 0, n_workers: int = 1) -> None:
        """Render those of the windows worker, worker + n_workers, ... that are missing."""
        for index in range(worker, self.options.n_windows, n_workers):
            if not self.ready[index]:
                self.rgb[index], self.labels[index] = draw_window(self.options, index)
                self.ready[index] = 1

    def wait_for(self, n_first: int, renderers: list[BaseProcess]) -> None:
        """Block until windows 0..n_first-1 are rendered. Raises RecordError when the renderers died."""
        while not self.ready[:n_first].all():
            alive = any(process.is_alive() for process in renderers)
            if not alive and not self.ready[:n_first].all():
                n_ready = int(self.ready[:n_first].sum())
                raise RecordError(
                    f"{n_ready} of {n_first} training windows were rendered, then the renderers ended"
                )
            time.sleep(0.5)


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not path.exists() or path.stat().st_size != n_bytes:
        with path.open("ab") as file:
            file.truncate(n_bytes)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)


def _fill(directory: Path, options: PoolOptions, worker: int, n_workers: int) -> None:
    WindowPool(directory, options).fill(worker, n_workers)


def start_renderers(directory: Path, options: PoolOptions, n_workers: int) -> list[BaseProcess]:
    """Start background processes that fill the pool. They end by themselves, or with this process."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    for worker in range(n_workers):
        process = context.Process(target=_fill, args=(directory, options, worker, n_workers), daemon=True)
        process.start()
        processes.append(process)
    return processes
