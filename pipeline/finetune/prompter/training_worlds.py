"""Draws the prompter's training tiles from many procedural worlds, each seen in a few places.

1. `draw_chunk` draws CHUNK tiles, each GROUP from one patch of its own world.
2. `_drawn_scale` draws the metres per pixel, often the nominal 0.5.
3. `_chosen_place` looks for variety in close views, `_clearest_place` for objects large enough in distant
   ones.
4. The patch passes through a drawn sensor (sensor.py).
5. `_place` puts most cuts over an object; `_spoil` spoils a few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.prompter_data import CHUNK, DrawnTile
from pipeline.finetune.prompter.samples import IMAGE_PX, MIN_AREA_PX
from pipeline.finetune.sensor import apply_sensor
from pipeline.finetune.sensor_effects import draw_sensor
from pipeline.schema import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.render import render

GROUP = 16
"""Tiles cut from one world."""

PATCH_PX = 1152
"""Side of the patch of a world that a group is cut from."""

TILE_PX = 256

FIRST_TRAIN_SEED = 100_000
"""World seeds FIRST_TRAIN_SEED..199,999 train; seeds below 1,000 are for evaluation and never drawn here."""

FIRST_VALID_SEED = 200_000
"""World seeds from here on measure a training run."""

AIMED_SHARE = 0.8
SPOILED_SHARE = 0.05
NEAR_SCALES = (0.75, 1.35)
"""Sizes of things relative to the nominal 0.5 m per pixel, around it."""

WIDE_SCALES = (0.4, 3.0)
"""1.25 to 0.17 m per pixel."""

FULL_SCALES = (0.25, 5.0)
"""2 to 0.1 m per pixel: all that the renderer draws."""

CLOSE_SCALE = 1.5
"""From this scale on, the place is chosen among several."""

FAR_SCALE = 0.6
"""Below this scale (0.83 m per pixel) many objects are near the smallest that the truth lists."""

PLACES = 4
"""Places looked at for one close view, or cuts for one distant view."""

ENOUGH_KINDS = 3
"""Classes in a place at which the search ends."""

REACH = 30_000
"""Patches start within this many nominal pixels of a world's origin."""


def draw_chunk(
    chunk: int, *, first_seed: int = FIRST_TRAIN_SEED, plain: bool = False, wide: bool = True
) -> list[DrawnTile]:
    """The tiles of one chunk, a function of the arguments alone.

    `plain`: scale 1, random places, nothing spoiled: what a user's run would see. `wide=False`: scales near 1
    and no sensor.
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
    """Choose the first of PLACES places with ENOUGH_KINDS classes, else the richest; returns its upper left
    corner in pixels at `scale`.

    A close view of random land is mostly one field. The search looks at the smallest scale that the renderer
    draws: the same land, at a fraction of the work.
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
    """Top-left corner of a cut of the patch.

    Aimed: over an object whose class is drawn evenly from those present, so that rare classes are learned.
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
    """Choose among PLACES aimed cuts the one with the smallest share of objects too small for the truth.

    A tile of which the reply lists a few tanks and leaves out their slightly smaller neighbours teaches
    nothing.
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
    """Blacken a side of the tile with what it holds, or replace all by noise around one colour; in place.

    From such tiles the prompter learns to find nothing there.
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
