"""Draw the prompter's training tiles from many procedural worlds, each seen in a few places.

1. `draw_chunk` draws CHUNK tiles. GROUP tiles at a time are cut from one patch of a world of their own.
2. `_drawn_scale` draws the scale, often the nominal 0.5 metres per pixel.
3. In close views `_chosen_place` looks for variety; in distant ones `_clearest_place` looks for large
   objects.
4. The patch passes through a simulated sensor (sensor.py).
5. `_place` puts most cuts over an object; `_spoil` spoils a few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.prompter_data import CHUNK, DrawnTile
from pipeline.finetune.prompter.samples import IMAGE_PX, MIN_AREA_PX
from pipeline.finetune.sensor import apply_sensor
from pipeline.finetune.sensor_effects import draw_sensor
from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.render import render

GROUP = 16
"""Tiles cut from one world."""

PATCH_PX = 1152
"""Side of the patch of a world from which a group is cut, in pixels."""

TILE_PX = 256

FIRST_TRAIN_SEED = 100_000
"""First world seed for training; the last is 199,999. Seeds below 1,000 belong to evaluation."""

FIRST_VALID_SEED = 200_000
"""First world seed for measuring a training."""

AIMED_SHARE = 0.8
SPOILED_SHARE = 0.05
NEAR_SCALES = (0.75, 1.35)
"""Range of scales near the nominal 0.5 m per pixel: factors on the sizes of all things in pixels."""

WIDE_SCALES = (0.4, 3.0)
"""Wide range of scales: 1.25 to 0.17 m per pixel."""

FULL_SCALES = (0.25, 5.0)
"""All scales that the renderer draws: 2 to 0.1 m per pixel."""

CLOSE_SCALE = 1.5
"""Scale from which the place of a patch is chosen among several."""

FAR_SCALE = 0.6
"""Scale (0.83 m per pixel) below which many objects are close to the smallest that the truth lists."""

PLACES = 4
"""Number of places compared for a close view, or of cuts for a distant view."""

ENOUGH_KINDS = 3
"""Number of classes in a place that ends the search."""

REACH = 30_000
"""Patches start within this many nominal pixels of a world's origin."""


def draw_chunk(
    chunk: int, *, first_seed: int = FIRST_TRAIN_SEED, plain: bool = False, wide: bool = True
) -> list[DrawnTile]:
    """Draw the tiles of one chunk. They depend on the arguments alone.

    `plain`: scale 1, random places, nothing spoiled, as in a user's run. `wide=False`: scales near 1 and no
    sensor.
    """
    tiles = []
    for group in range(CHUNK // GROUP):
        seed = first_seed + chunk * (CHUNK // GROUP) + group
        tiles.extend(
            _draw_group(np.random.default_rng([seed, 17]), seed, plain=plain, wide=wide and not plain)
        )
    return tiles


def _draw_group(rng: np.random.Generator, seed: int, *, plain: bool, wide: bool) -> list[DrawnTile]:
    scale = 1.0 if plain else _drawn_scale(rng, wide=wide)
    row0, col0 = _chosen_place(rng, seed, scale) if wide and scale > CLOSE_SCALE else _random_place(rng)
    window = Window(row0=row0, col0=col0, row1=row0 + PATCH_PX, col1=col0 + PATCH_PX)
    patch = render(World.from_seed(seed, scale=scale), window)
    picture = apply_sensor(patch.rgb, draw_sensor(rng), rng, free=patch.labels == 0) if wide else patch.rgb
    kind_of = np.asarray([-1] + [CLASSES.index(item.class_name) for item in patch.objects])
    tiles = []
    for _ in range(GROUP):
        aimed = not plain and rng.random() < AIMED_SHARE
        if aimed and wide and scale < FAR_SCALE:
            top, left = _clearest_place(rng, patch.labels, kind_of)
        else:
            top, left = _place(rng, patch.labels, kind_of, aimed=aimed)
        cut = (slice(top, top + TILE_PX), slice(left, left + TILE_PX))
        rgb = picture[cut].copy()
        labels = patch.labels[cut].copy()
        if not plain and rng.random() < SPOILED_SHARE:
            _spoil(rng, rgb, labels)
        tiles.append(
            DrawnTile(
                rgb=rgb, labels=labels, class_of={int(k): int(kind_of[k]) for k in np.unique(labels) if k}
            )
        )
    return tiles


def _drawn_scale(rng: np.random.Generator, *, wide: bool) -> float:
    """Draw a scale, log-uniform within its range.

    30 % are 1. The rest are near 1; when `wide`, 20 % are near 1, 40 % in WIDE_SCALES, 10 % in FULL_SCALES.
    """
    share = rng.random()
    if share < 0.3:
        return 1.0
    if not wide or share < 0.5:
        return float(rng.uniform(*NEAR_SCALES))
    low, high = np.log(WIDE_SCALES if share < 0.9 else FULL_SCALES)
    return float(np.clip(np.exp(rng.uniform(low, high)), *FULL_SCALES))


def _random_place(rng: np.random.Generator) -> tuple[int, int]:
    row0, col0 = (int(value) for value in rng.integers(-REACH, REACH, 2))
    return row0, col0


def _chosen_place(rng: np.random.Generator, seed: int, scale: float) -> tuple[int, int]:
    """Choose the first of PLACES places with ENOUGH_KINDS classes, or else the one with most classes.

    Returns its upper left corner in pixels at `scale`. Without a choice, most close views would show a single
    field. The search draws the same land at the smallest scale, which takes a fraction of the time.
    """
    afar = FULL_SCALES[0]
    world = World.from_seed(seed, scale=afar)
    side = max(1, round(PATCH_PX * afar / scale))
    best = (0, 0)
    most = -1
    for _ in range(PLACES):
        row, col = (round(value * afar) for value in _random_place(rng))
        seen = render(world, Window(row0=row, col0=col, row1=row + side, col1=col + side))
        kinds = len({item.class_name for item in seen.objects})
        if kinds > most:
            best = (round(row * scale / afar), round(col * scale / afar))
            most = kinds
        if most >= ENOUGH_KINDS:
            break
    return best


def _place(
    rng: np.random.Generator, labels: NDArray[np.int32], kind_of: NDArray[np.int64], *, aimed: bool
) -> tuple[int, int]:
    """Draw the top-left corner of a cut of the patch.

    `aimed`: over an object, whose class is drawn evenly from those present, so that rare classes are learned.
    """
    last = PATCH_PX - TILE_PX
    kinds = np.unique(kind_of[kind_of >= 0])
    if not aimed or not len(kinds):
        return int(rng.integers(0, last + 1)), int(rng.integers(0, last + 1))
    wanted = rng.choice(np.flatnonzero(kind_of == rng.choice(kinds)))
    rows, cols = np.nonzero(labels == wanted)
    pick = int(rng.integers(len(rows)))
    corner = np.asarray([rows[pick], cols[pick]]) - rng.integers(0, TILE_PX, 2)
    top, left = np.clip(corner, 0, last)
    return int(top), int(left)


def _clearest_place(
    rng: np.random.Generator, labels: NDArray[np.int32], kind_of: NDArray[np.int64]
) -> tuple[int, int]:
    """Choose the one of PLACES aimed cuts with the smallest share of objects too small for the truth.

    A tile teaches nothing if its reply lists a few tanks but leaves out their slightly smaller neighbours.
    """
    smallest = MIN_AREA_PX * (TILE_PX / IMAGE_PX) ** 2
    best = (0, 0)
    least = 2.0
    for _ in range(PLACES):
        top, left = _place(rng, labels, kind_of, aimed=True)
        visible = np.bincount(labels[top : top + TILE_PX, left : left + TILE_PX].ravel())[1:]
        faint = float((visible[visible > 0] < smallest).mean()) if visible.any() else 1.0
        if faint < least:
            best = (top, left)
            least = faint
    return best


def _spoil(rng: np.random.Generator, rgb: NDArray[np.uint8], labels: NDArray[np.int32]) -> None:
    """Blacken a side of the tile, or replace all of it by noise around one colour, in place.

    Objects there lose their labels. So the prompter learns to find nothing there.
    """
    if rng.random() < 0.6:
        rows, cols = np.mgrid[:TILE_PX, :TILE_PX]
        angle = rng.uniform(0, 2 * np.pi)
        offset = rng.uniform(-0.8, 0.8) * TILE_PX / 2
        gone = (cols - TILE_PX / 2) * np.cos(angle) + (rows - TILE_PX / 2) * np.sin(angle) > offset
        rgb[gone] = 0
        labels[gone] = 0
        return
    colour = rng.uniform(0, 255, 3)
    rgb[:] = np.clip(colour + rng.normal(0, rng.choice([0.0, 5.0, 40.0]), rgb.shape), 0, 255)
    labels[:] = 0
