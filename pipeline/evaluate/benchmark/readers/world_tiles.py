"""Tiles of a procedural world, drawn in memory, with queries that its truth answers.

1. `read_world` cuts the first SIZE x SIZE pixels of a world into whole tiles of the preset's side.
   `jobs/make_world.py --seed SEED --size SIZE` writes the same scene.
2. Every class with at least MIN_TARGET_PX pixels in a tile is a target.
3. `_absent` adds equally many targets that are not there, at least one.
4. `_held_out` asks for them only in wordings that training never uses.

Workers draw their tiles again, from seed and window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import (
    Benchmark,
    BenchmarkImage,
    MaskSource,
    Target,
    Wording,
    mask_digest,
)
from pipeline.evaluate.benchmark.readers.annotation_files import EmptyMask
from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.queries import NEVER, Query, queries_of
from pipeline.world.render import Rendering, render
from pipeline.world.truth import PIXEL_M

NAME = "world"
DEFAULT_SIZE = 2048
MAX_SIZE = 16384
MIN_TARGET_PX = 64
"""Pixels (8 x 8) that a class needs in a tile to be asked for. A class with fewer is neither asked for nor
counted as absent: a sliver at the border would be no fair query."""

STRANGER = "stranger"
"""Stratum `class` of things that no world has."""

_ABSENT = {"kind": "absent"}


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldPixels:
    """The picture of one window of a world."""

    seed: int
    window: Window

    def size_hw(self) -> tuple[int, int]:
        return self.window.shape

    def read(self) -> NDArray[np.uint8]:
        return _drawn(self.seed, self.window).rgb


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldMask:
    """All objects of one class in one window of a world."""

    seed: int
    window: Window
    class_name: str
    drawn: str
    """Digest of the mask, taken when the queries were made. So the world need not be drawn again for it."""

    def size_hw(self) -> tuple[int, int]:
        return self.window.shape

    def read(self) -> NDArray[np.bool_]:
        return class_mask(_drawn(self.seed, self.window), self.class_name)

    def objects(self) -> NDArray[np.int32]:
        """Number the objects of the class: (H, W), 0 = none of them. Objects that touch stay apart."""
        drawn = _drawn(self.seed, self.window)
        return np.where(class_mask(drawn, self.class_name), drawn.labels, 0).astype(np.int32)

    def digest(self) -> str:
        return self.drawn


@lru_cache(maxsize=16)
def _drawn(seed: int, window: Window) -> Rendering:
    return render(World.from_seed(seed), window)


def class_mask(drawn: Rendering, class_name: str) -> NDArray[np.bool_]:
    """Make the mask (H, W) of all objects of one class, True = inside one."""
    wanted = [i for i, item in enumerate(drawn.objects, start=1) if item.class_name == class_name]
    return np.isin(drawn.labels, wanted)


def read_world(seed: int, *, size_px: int = DEFAULT_SIZE, tile_px: int = 256) -> Benchmark:
    """Read the tiles of a world, row by row. Each is drawn once to find out what is in it.

    Raises InputError for a size that holds no tile.
    """
    check_size(size_px, tile_px)
    world = World.from_seed(seed)
    images = []
    for row in range(size_px // tile_px):
        for col in range(size_px // tile_px):
            window = Window(
                row0=row * tile_px, col0=col * tile_px, row1=(row + 1) * tile_px, col1=(col + 1) * tile_px
            )
            images.append(_image(world, window, f"r{row:03d}c{col:03d}"))
    identity = {"seed": str(seed), "size_px": str(size_px), "tile_px": str(tile_px)}
    return Benchmark(
        name=NAME,
        split=f"seed {seed}",
        images=tuple(images),
        queries="first",
        identity=identity,
        pixel_m=PIXEL_M,
    )


def check_size(size_px: int, tile_px: int) -> None:
    """Check that a world of `size_px` holds a tile. Raises InputError."""
    if not tile_px <= size_px <= MAX_SIZE:
        what = f"a world benchmark is {tile_px} (one tile of the preset) to {MAX_SIZE} pixels a side"
        raise InputError(what, came=str(size_px), remedy="write world:SEED:SIZE, for example world:7:2048")


def _image(world: World, window: Window, image_id: str) -> BenchmarkImage:
    drawn = render(world, window)
    masks = {name: class_mask(drawn, name) for name in CLASSES}
    area = {name: int(mask.sum()) for name, mask in masks.items()}
    rng = np.random.default_rng([world.seed, window.row0, window.col0])
    present = {
        name: WorldMask(seed=world.seed, window=window, class_name=name, drawn=mask_digest(mask))
        for name, mask in masks.items()
        if area[name] >= MIN_TARGET_PX
    }
    targets = [_present(f"{image_id}-{name}", mask, rng) for name, mask in present.items()]
    targets += _absent(
        window, image_id, [name for name in CLASSES if area[name] == 0], max(len(present), 1), rng
    )
    return BenchmarkImage(
        image_id=image_id, pixels=WorldPixels(seed=world.seed, window=window), targets=tuple(targets)
    )


def _present(target_id: str, mask: WorldMask, rng: np.random.Generator) -> Target:
    wordings = tuple(
        Wording(text=query.query, strata={"kind": query.kind.value})
        for query in _held_out(mask.class_name, rng)
    )
    return Target(target_id=target_id, mask=mask, wordings=wordings, strata={"class": mask.class_name})


def _absent(
    window: Window, image_id: str, lacking: list[str], count: int, rng: np.random.Generator
) -> list[Target]:
    """Choose `count` targets that are absent: missing classes and strangers in turn, then strangers alone.

    So about half of the samples are empty. In EarthReason 2 % are.
    """
    mask: MaskSource = EmptyMask(height=window.height, width=window.width)
    classes = iter([lacking[i] for i in rng.permutation(len(lacking))])
    strangers = [query for query in NEVER if query.held_out]
    others = iter([strangers[i] for i in rng.permutation(len(strangers))])
    turn = int(rng.integers(2))
    targets = []
    for place in range(count):
        name = next(classes, None) if (place + turn) % 2 == 0 else None
        queries = [next(others)] if name is None else _held_out(name, rng)
        wordings = tuple(Wording(text=query.query, strata=_ABSENT) for query in queries)
        strata = {"class": name or STRANGER}
        targets.append(
            Target(target_id=f"{image_id}-absent{place}", mask=mask, wordings=wordings, strata=strata)
        )
    return targets


def _held_out(name: str, rng: np.random.Generator) -> list[Query]:
    """Shuffle the held-out wordings about a class; two of them name it and two describe it."""
    queries = [query for query in queries_of(name) if query.held_out]
    return [queries[i] for i in rng.permutation(len(queries))]
