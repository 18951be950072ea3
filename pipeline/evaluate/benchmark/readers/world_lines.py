"""Long targets of worlds: runways, roads, and a river through every tile.

1. Runways are objects of a world. Every one that shows MIN_TARGET_PX is a target of its tile.
2. Roads are scenery, which no label has. `road_mask` takes them from the plan of the world: strips, without
   what is built over them. Trees and cars on a road count as road, as they do on a map.
3. A world has no river. `river_of` draws one into every RIVER_EVERY-th tile: a winding band of the world's
   own water, whose width and bends depend on seed and tile alone.

A tile's targets are asked by their names. No model was taught roads or rivers; this set is for prompts from
the truth (`--truth-points chain`), which ask only the segmenter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, Target, Wording, mask_digest
from pipeline.evaluate.benchmark.readers.world_tiles import MIN_TARGET_PX, check_size, class_mask
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.layout import plan
from pipeline.world.render import render
from pipeline.world.shapes import COS, CX, CY, L_ROAD, LAYER, SIN, A, B
from pipeline.world.style import WATER
from pipeline.world.truth import PIXEL_M

NAME = "world-lines"

LineKind = Literal["runway", "road", "river"]

QUERIES: dict[LineKind, str] = {"runway": "runways", "road": "roads", "river": "the river"}
RIVER_EVERY = 4
"""One tile in so many has a river."""
LEAST_ROAD_PX = 200
_RIVER_KEY = 77
_HALF_WIDTH_PX = (4.0, 12.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LineTile:
    """A tile with its long targets."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    masks: dict[LineKind, NDArray[np.bool_]]
    """(H, W) each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinePixels:
    """The picture of one tile."""

    seed: int
    window: Window

    def size_hw(self) -> tuple[int, int]:
        return self.window.shape

    def read(self) -> NDArray[np.uint8]:
        return draw_tile(self.seed, self.window).rgb


@dataclass(frozen=True, kw_only=True, slots=True)
class LineMask:
    """All targets of one kind in one tile."""

    seed: int
    window: Window
    kind: LineKind
    drawn: str
    """Digest of the mask, taken when the query was made."""

    def size_hw(self) -> tuple[int, int]:
        return self.window.shape

    def read(self) -> NDArray[np.bool_]:
        return draw_tile(self.seed, self.window).masks[self.kind]

    def digest(self) -> str:
        return self.drawn


def draw_tile(seed: int, window: Window) -> LineTile:
    """Draw a tile of a world, and its river if it has one."""
    world = World.from_seed(seed)
    drawn = render(world, window)
    masks: dict[LineKind, NDArray[np.bool_]] = {
        "runway": class_mask(drawn, "runway"),
        "road": road_mask(world, window) & (drawn.labels == 0),
        "river": np.zeros(window.shape, np.bool_),
    }
    if not _has_river(window):
        return LineTile(rgb=drawn.rgb, masks=masks)
    river, rng = river_of(seed, window)
    grain = rng.normal(0.0, 2.5, (*window.shape, 1))
    water = world.style.palette[WATER] + grain
    rgb = np.where(river[..., None], np.clip(water, 0, 255), drawn.rgb).astype(np.uint8)
    kept = {kind: mask & ~river for kind, mask in masks.items()}
    return LineTile(rgb=rgb, masks={**kept, "river": river})


def road_mask(world: World, window: Window) -> NDArray[np.bool_]:
    """Mark the strips of all planned roads in a window: (H, W)."""
    inv = 1.0 / world.scale
    box = np.array([window.col0, window.row0, window.col1, window.row1]) * inv
    table, _ = plan(np.uint64(world.seed), box, world.style.numbers, world.style.palette)
    rows, cols = np.mgrid[window.row0 : window.row1, window.col0 : window.col1]
    x = (cols + 0.5) * inv
    y = (rows + 0.5) * inv
    mask = np.zeros(window.shape, np.bool_)
    for road in table[table[:, LAYER] == L_ROAD]:
        dx = x - road[CX]
        dy = y - road[CY]
        lengthwise = np.abs(dx * road[COS] + dy * road[SIN]) <= road[A]
        mask |= lengthwise & (np.abs(dy * road[COS] - dx * road[SIN]) <= road[B])
    return mask


def river_of(seed: int, window: Window) -> tuple[NDArray[np.bool_], np.random.Generator]:
    """Draw the river of a tile: (H, W), and the generator that goes on to colour it.

    Its middle is a line through the tile with two waves across; its width changes along it.
    """
    rng = np.random.default_rng((seed, window.row0, window.col0, _RIVER_KEY))
    height, width = window.shape
    side = max(height, width)
    along = np.linspace(-0.2 * side, 1.2 * side, 4 * side)
    middle = np.full(along.shape, rng.uniform(0.35, 0.65) * side)
    for _ in range(2):
        period = rng.uniform(0.4, 1.0) * side
        middle += rng.uniform(0.04, 0.12) * side * np.sin(2 * np.pi * (along / period + rng.random()))
    least, most = np.sort(rng.uniform(*_HALF_WIDTH_PX, 2))
    half = least + (most - least) * (0.5 + 0.5 * np.sin(2 * np.pi * along / side + rng.uniform(0, 6)))
    x, y = (along, middle) if rng.random() < 0.5 else (middle, along)
    rows, cols = np.mgrid[0:height, 0:width]
    mask = np.zeros((height, width), np.bool_)
    for cx, cy, radius in zip(x[::4], y[::4], half[::4], strict=True):
        mask |= (cols + 0.5 - cx) ** 2 + (rows + 0.5 - cy) ** 2 <= radius**2
    return mask, rng


def read_lines(seed: int, *, size_px: int, tile_px: int = 256) -> Benchmark:
    """Read the long targets of a world, tile by tile. Raises InputError for a size that holds none."""
    check_size(size_px, tile_px)
    images = []
    for row in range(size_px // tile_px):
        for col in range(size_px // tile_px):
            window = Window(
                row0=row * tile_px, col0=col * tile_px, row1=(row + 1) * tile_px, col1=(col + 1) * tile_px
            )
            image_id = f"r{row:03d}c{col:03d}"
            targets = _targets(draw_tile(seed, window), seed, window, image_id)
            if targets:
                pixels = LinePixels(seed=seed, window=window)
                images.append(BenchmarkImage(image_id=image_id, pixels=pixels, targets=targets))
    if not images:
        raise InputError(
            "a world must hold long targets",
            came=f"none in {size_px} x {size_px} px of world {seed}",
            remedy=f"take more of it, for example {NAME}:{seed}:4096, or another seed",
        )
    return Benchmark(
        name=NAME,
        split=f"seed {seed}",
        images=tuple(images),
        queries="first",
        identity={"seed": str(seed), "size_px": str(size_px), "tile_px": str(tile_px)},
        pixel_m=PIXEL_M,
    )


def _has_river(window: Window) -> bool:
    row = window.row0 // window.height
    col = window.col0 // window.width
    return (row + 2 * col) % RIVER_EVERY == 0


def _targets(drawn: LineTile, seed: int, window: Window, image_id: str) -> tuple[Target, ...]:
    targets = []
    for kind, mask in drawn.masks.items():
        if int(mask.sum()) < (LEAST_ROAD_PX if kind == "road" else MIN_TARGET_PX):
            continue
        source = LineMask(seed=seed, window=window, kind=kind, drawn=mask_digest(mask))
        targets.append(
            Target(
                target_id=f"{image_id}-{kind}",
                mask=source,
                wordings=(Wording(text=QUERIES[kind]),),
                strata={"line": kind},
            )
        )
    return tuple(targets)
