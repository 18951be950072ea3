"""Pairs of queries about worlds that exclude each other: "X with Y" and "X without Y".

1. `read_pairs` cuts a world into tiles, as world_tiles.py does. `read_pair_set` takes worlds until there are
   SET_PAIRS pairs: the test set, which is the same for every preset with tiles of one size.
2. `sides_of` parts the objects of a class X by whether an object of Y lies within NEAR_PX of them.
3. A tile gives a pair when both sides cover MIN_TARGET_PX or more. Their masks are disjoint, so right answers
   are, too (`paired_answers`). Strata name the pair and the side.

Models that overlook "without" answer both alike (facebookresearch/sam3 issue 393; RS-Neg, arXiv 2606.20177).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, Target, Wording, mask_digest
from pipeline.evaluate.benchmark.readers.world_tiles import MIN_TARGET_PX, WorldPixels, check_size, class_mask
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.render import Rendering, render
from pipeline.world.truth import PIXEL_M

NAME = "world-pairs"

Side = Literal["with", "without"]

NEAR_PX = 12
"""Pixels within which an object of Y lies beside one of X."""

RELATIONS = (
    ("building", "pool", "buildings", "a swimming pool"),
    ("building", "solar_array", "buildings", "solar panels"),
    ("building", "building", "buildings", "another building"),
    ("storage_tank", "storage_tank", "storage tanks", "another storage tank"),
    ("ripe_field", "green_field", "ripe fields", "a green field"),
    ("ripe_field", "building", "ripe fields", "a building"),
    ("green_field", "building", "green fields", "a building"),
    ("green_field", "lake", "green fields", "a lake"),
)
"""Class X, class Y, and the words for both."""


SET_PAIRS = 200
SET_WORLDS = (2, 3, 5, 8, 10, 11, 12, 13, 14, 16, 20, 21, 22, 23, 24, 25, 26, 29)
"""Worlds of the test set, chosen because their tiles of 256 px hold pairs of every kind that is not rare. No
embedded model was trained on them. Should their tiles be too few, worlds from MORE_WORLDS on follow.
"""
MORE_WORLDS = range(33, 1000)
SET_SIZE = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class SideMask:
    """The objects of one side in one window of a world."""

    seed: int
    window: Window
    relation: int
    side: Side
    drawn: str
    """Digest of the mask, taken when the pair was made."""

    def size_hw(self) -> tuple[int, int]:
        return self.window.shape

    def read(self) -> NDArray[np.bool_]:
        return sides_of(render(World.from_seed(self.seed), self.window), self.relation)[self.side]

    def digest(self) -> str:
        return self.drawn


def sides_of(drawn: Rendering, relation: int) -> dict[Side, NDArray[np.bool_]]:
    """Part the objects of X by whether one of Y, which is not the same, lies within NEAR_PX: masks (H, W)."""
    first, second, _, _ = RELATIONS[relation]
    sides: dict[Side, NDArray[np.bool_]] = {
        "with": np.zeros(drawn.labels.shape, np.bool_),
        "without": np.zeros(drawn.labels.shape, np.bool_),
    }
    others = class_mask(drawn, second)
    for number, item in enumerate(drawn.objects, start=1):
        if item.class_name != first:
            continue
        own = drawn.labels == number
        if own.any():
            around = ndimage.distance_transform_edt(~own) <= NEAR_PX
            sides["with" if (around & others & ~own).any() else "without"] |= own
    return sides


def read_pairs(seed: int, *, size_px: int, tile_px: int = 256) -> Benchmark:
    """Read the pairs of a world, tile by tile. Raises InputError for a size that holds no tile or no pair."""
    check_size(size_px, tile_px)
    images = list(_images(seed, size_px, tile_px))
    if not images:
        raise InputError(
            "a world must hold things with and without others beside them in one tile",
            came=f"none in {size_px} x {size_px} px of world {seed}",
            remedy=f"take more of it, for example {NAME}:{seed}:8192, or another seed",
        )
    return _benchmark(f"seed {seed}", images, seed=str(seed), size_px=str(size_px), tile_px=str(tile_px))


def read_pair_set(*, tile_px: int = 256) -> Benchmark:
    """Read the test set of SET_PAIRS pairs, from as many worlds as it takes."""
    size_px = max(SET_SIZE, tile_px)
    images = list[BenchmarkImage]()
    left = SET_PAIRS
    for seed in (*SET_WORLDS, *MORE_WORLDS):
        for image in _images(seed, size_px, tile_px, name=f"w{seed:03d}"):
            targets = image.targets[: 2 * left]
            images.append(replace(image, targets=targets))
            left -= len(targets) // 2
            if not left:
                return _benchmark(f"{SET_PAIRS} pairs", images, size_px=str(size_px), tile_px=str(tile_px))
    raise InputError(
        f"the worlds of the test set must hold {SET_PAIRS} pairs",
        came=f"{SET_PAIRS - left} in tiles of {tile_px} px",
        remedy=f"name worlds, as in {NAME}:32:8192",
    )


def _images(seed: int, size_px: int, tile_px: int, name: str = "") -> Iterator[BenchmarkImage]:
    """Cut a world into tiles and give those that hold a pair. `name`: how their ids begin."""
    world = World.from_seed(seed)
    for row in range(size_px // tile_px):
        for col in range(size_px // tile_px):
            window = Window(
                row0=row * tile_px, col0=col * tile_px, row1=(row + 1) * tile_px, col1=(col + 1) * tile_px
            )
            image_id = f"{name}r{row:03d}c{col:03d}"
            targets = _targets(render(world, window), seed, window, image_id)
            if targets:
                pixels = WorldPixels(seed=seed, window=window)
                yield BenchmarkImage(image_id=image_id, pixels=pixels, targets=targets)


def _benchmark(split: str, images: Sequence[BenchmarkImage], **identity: str) -> Benchmark:
    return Benchmark(
        name=NAME, split=split, images=tuple(images), queries="first", identity=identity, pixel_m=PIXEL_M
    )


def _targets(drawn: Rendering, seed: int, window: Window, image_id: str) -> tuple[Target, ...]:
    present = {item.class_name for item in drawn.objects}
    targets = []
    for relation, (first, second, things, beside) in enumerate(RELATIONS):
        if not {first, second} <= present:
            continue
        sides = sides_of(drawn, relation)
        if min(int(mask.sum()) for mask in sides.values()) < MIN_TARGET_PX:
            continue
        pair = f"{image_id}-{first}-{second}"
        for side, mask in sides.items():
            source = SideMask(seed=seed, window=window, relation=relation, side=side, drawn=mask_digest(mask))
            targets.append(
                Target(
                    target_id=f"{pair}-{side}",
                    mask=source,
                    wordings=(Wording(text=f"{things} {side} {beside} beside them"),),
                    strata={"pair": pair, "side": side, "relation": f"{first} / {second}"},
                )
            )
    return tuple(targets)
