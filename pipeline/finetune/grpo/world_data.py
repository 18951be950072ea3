"""Make training samples from procedural worlds, in the layout that `grpo_data` reads.

1. `render_worlds` draws one patch per world, with seeds from `first_seed` on, and cuts TILES_PER_WORLD tiles
   from it.
2. `_ask` gives each tile one query: about a class in it, a class not in it, or a thing that no world has.
3. The mask holds every pixel of the queried class.

Everything depends on the seed alone. The table is written last, so a folder with a table is complete.
Evaluation never uses these worlds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.atomic_file import atomic_path, write_bytes_atomic
from pipeline.finetune.grpo.grpo_data import TABLE
from pipeline.finetune.prompter.samples import rationale
from pipeline.finetune.prompter.training_queries import QuerySampler, TrainingQuery
from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.render import Rendering, render

FIRST_GRPO_SEED = 300_000
"""First world seed for training by reward; the last is 399,999. Supervised training uses lower seeds, from
100,000 on.
"""

FIRST_MEASURE_SEED = 400_000
"""First world seed for measuring a prompter before and after training. Nothing trains on these worlds."""

TILES_PER_WORLD = 4
PATCH_PX = 768
MIN_TARGET_PX = 64
AIMED_SHARE = 0.8
"""Share of the tiles that are placed over an object, whose class is drawn evenly from those present."""


def render_worlds(
    folder: Path, *, n_tiles: int, first_seed: int = FIRST_GRPO_SEED, tile_px: int = 256
) -> None:
    """Write `n_tiles` tiles with one query each. If the folder already has its table, nothing is done.

    Every file is written atomically, so several processes may draw the same folder at once. Raises InputError
    for an invalid number or size of tiles, or for a seed below 1,000: those belong to evaluation.
    """
    if (folder / TABLE).is_file():
        return
    if n_tiles < 1 or not 64 <= tile_px <= PATCH_PX:
        came = f"{n_tiles} tiles of {tile_px} px"
        raise InputError(
            f"worlds give at least one tile of 64 to {PATCH_PX} px a side",
            came=came,
            remedy="choose other numbers",
        )
    if first_seed < 1000:
        raise InputError(
            "seeds below 1,000 belong to evaluation",
            came=str(first_seed),
            remedy=f"start at {FIRST_GRPO_SEED}",
        )
    sampler = QuerySampler()
    rows = []
    for number in range(n_tiles):
        seed = first_seed + number // TILES_PER_WORLD
        place = number % TILES_PER_WORLD
        if place == 0 or number == 0:
            patch, rng = _patch(seed)
        rgb, target, query = _ask(patch, rng, sampler, tile_px)
        name = f"{seed}_{place}.png"
        _write_image(folder / "images" / name, rgb)
        if target.any():
            _write_image(folder / "masks" / name, target.astype(np.uint8) * 255)
        rows.append({
            "image": f"images/{name}",
            "mask": f"masks/{name}" if target.any() else None,
            "question": query.text,
            "thought": rationale(query.subject, found=bool(target.any())),
        })  # fmt: skip
    write_bytes_atomic(folder / TABLE, "".join(json.dumps(row) + "\n" for row in rows).encode())


def _patch(seed: int) -> tuple[Rendering, np.random.Generator]:
    """Render a random patch of the world of this seed. Also returns the generator for further draws."""
    rng = np.random.default_rng([seed, 23])
    row0, col0 = (int(value) for value in rng.integers(-30_000, 30_000, 2))
    window = Window(row0=row0, col0=col0, row1=row0 + PATCH_PX, col1=col0 + PATCH_PX)
    return render(World.from_seed(seed), window), rng


def _ask(
    patch: Rendering, rng: np.random.Generator, sampler: QuerySampler, tile_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], TrainingQuery]:
    """Cut a tile from the patch; returns its pixels, the mask that answers its query, and the query.

    A class with fewer than MIN_TARGET_PX pixels in the tile is not asked for, as in
    `evaluate.benchmark.readers.world_tiles`: a sliver at the border would be no fair query. The wording comes
    from `training_queries` and is never a held-out one.
    """
    kind_of = np.asarray([-1] + [CLASSES.index(item.class_name) for item in patch.objects])
    top, left = _corner(patch.labels, kind_of, rng, tile_px)
    cut = slice(top, top + tile_px), slice(left, left + tile_px)
    kinds = kind_of[patch.labels[cut]]
    pixels = np.bincount(kinds[kinds >= 0], minlength=len(CLASSES))
    fair = np.flatnonzero(pixels >= MIN_TARGET_PX)
    query = sampler.for_tile(fair, rng)
    while query.class_id >= 0 and 0 < pixels[query.class_id] < MIN_TARGET_PX:
        query = sampler.for_tile(fair, rng)
    return (
        patch.rgb[cut],
        kinds == query.class_id if query.class_id >= 0 else np.zeros((tile_px, tile_px), np.bool_),
        query,
    )


def _corner(
    labels: NDArray[np.int32], kind_of: NDArray[np.int64], rng: np.random.Generator, tile_px: int
) -> tuple[int, int]:
    """Draw the top-left corner of a tile inside the patch."""
    last = PATCH_PX - tile_px
    kinds = np.unique(kind_of[1:])
    if not len(kinds) or rng.random() > AIMED_SHARE:
        return int(rng.integers(0, last + 1)), int(rng.integers(0, last + 1))
    rows, cols = np.nonzero(labels == rng.choice(np.flatnonzero(kind_of == rng.choice(kinds))))
    pick = int(rng.integers(len(rows)))
    top, left = np.clip(np.asarray([rows[pick], cols[pick]]) - rng.integers(0, tile_px, 2), 0, last)
    return int(top), int(left)


def _write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
