"""Where the prompter's training tiles come from: many procedural worlds, each looked at in a few places.

`draw_chunk` draws CHUNK tiles. Every group of GROUP tiles is cut from one patch of its own world (seed, scale and place drawn
from the chunk's number). Most cuts are placed over an object of a class drawn evenly from those present, so that rare classes
are learned as well as buildings; the rest fall anywhere. Some tiles are spoiled on purpose (black nodata, plain noise): what
is not there must not be found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter_data import CHUNK, DrawnTile
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
MIN_SCALE, MAX_SCALE = 0.75, 1.35


def draw_chunk(chunk: int, *, first_seed: int = FIRST_TRAIN_SEED, plain: bool = False) -> list[DrawnTile]:
    """The tiles of one chunk. `plain`: scale 1, random places, nothing spoiled: what a user's run would see."""
    tiles = []
    for group in range(CHUNK // GROUP):
        seed = first_seed + chunk * (CHUNK // GROUP) + group
        tiles.extend(_draw_group(np.random.default_rng([seed, 17]), seed, plain=plain))
    return tiles


def _draw_group(rng: np.random.Generator, seed: int, *, plain: bool) -> list[DrawnTile]:
    scale = 1.0 if plain or rng.random() < 0.3 else float(rng.uniform(MIN_SCALE, MAX_SCALE))
    row0, col0 = (int(value) for value in rng.integers(-30_000, 30_000, 2))
    window = Window(row0=row0, col0=col0, row1=row0 + PATCH_PX, col1=col0 + PATCH_PX)
    patch = render(World.from_seed(seed, scale=scale), window)
    kind_of = np.asarray([-1] + [CLASSES.index(item.class_name) for item in patch.objects])
    tiles = []
    for _ in range(GROUP):
        top, left = _place(rng, patch.labels, kind_of, aimed=not plain and rng.random() < AIMED_SHARE)
        cut = (slice(top, top + TILE_PX), slice(left, left + TILE_PX))
        rgb, labels = patch.rgb[cut].copy(), patch.labels[cut].copy()
        if not plain and rng.random() < SPOILED_SHARE:
            _spoil(rng, rgb, labels)
        tiles.append(DrawnTile(rgb=rgb, labels=labels, class_of={int(k): int(kind_of[k]) for k in np.unique(labels) if k}))
    return tiles


def _place(rng: np.random.Generator, labels: NDArray[np.int32], kind_of: NDArray[np.int64], *, aimed: bool) -> tuple[int, int]:
    """Top-left corner of a cut of the patch."""
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


def _spoil(rng: np.random.Generator, rgb: NDArray[np.uint8], labels: NDArray[np.int32]) -> None:
    """Blacken a side of the tile with what it holds, or replace all by noise around one colour; in place."""
    if rng.random() < 0.6:
        rows, cols = np.mgrid[:TILE_PX, :TILE_PX]
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.8, 0.8) * TILE_PX / 2
        gone = (cols - TILE_PX / 2) * np.cos(angle) + (rows - TILE_PX / 2) * np.sin(angle) > offset
        rgb[gone] = 0
        labels[gone] = 0
        return
    colour = rng.uniform(0, 255, 3)
    rgb[:] = np.clip(colour + rng.normal(0, rng.choice([0.0, 5.0, 40.0]), rgb.shape), 0, 255)
    labels[:] = 0
