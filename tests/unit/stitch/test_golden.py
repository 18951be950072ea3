"""Hand-drawn worlds with their expected ids, in tests/golden/stitch/*.txt.

A file holds the lattice, then either [world] (truth, cut by an oracle) or [tile C] sections (what tile C of a
single row of tiles saw), then [ids], the expected raster. Regenerate the [ids] sections after editing a
drawing, and check them by hand, with:  PYTHONPATH=tests python tests/unit/stitch/test_golden.py
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stitch_worlds import ArraySource
from two_level import two_level

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.flat.flat_merge import merge_region
from pipeline.stitch.stitch_options import StitchOptions

FOLDER = Path(__file__).parents[2] / "golden" / "stitch"
FILES = sorted(FOLDER.glob("*.txt"))


def sections(path: Path) -> tuple[list[int], dict[str, list[str]]]:
    lattice: list[int] = []
    found: dict[str, list[str]] = {}
    name = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            found[name] = []
        elif line.startswith("core"):
            lattice = [int(v) for v in line.split()[1::2]]
        elif line and not line.startswith("#"):
            found[name].append(line)
    return lattice, found


def drawn(lines: list[str]) -> np.ndarray:
    return np.array(
        [[0 if c == "." else ord(c) - 64 if c.isalpha() else int(c) for c in line] for line in lines],
        dtype=np.int64,
    )


def seen(worlds: SimpleNamespace, path: Path) -> tuple[TileLattice, ArraySource]:
    """The lattice of a drawing and what its tiles saw."""
    (core, halo, k), found = sections(path)
    if "world" in found:
        truth = drawn(found["world"])
        lattice = worlds.make_lattice(truth.shape, core, halo, k)
        return lattice, worlds.cut(truth, lattice, mode="whole", seed=1)
    pictures = {
        int(name.split()[1]): drawn(lines) for name, lines in found.items() if name.startswith("tile")
    }
    height = pictures[0].shape[0]
    lattice = worlds.make_lattice((height, core * len(pictures)), core, halo, k)
    tiles = {}
    for col, picture in pictures.items():
        values, local = np.unique(picture, return_inverse=True)
        assert values[0] == 0, "every picture has background"
        tiles[0, col] = local.reshape(picture.shape).astype(np.uint16)
    return lattice, worlds.ArraySource(lattice=lattice, tiles=tiles)


def merged(worlds: SimpleNamespace, path: Path) -> np.ndarray:
    """What the reference makes of a drawing."""
    lattice, source = seen(worlds, path)
    return np.asarray(worlds.raster(merge_region(lattice, source, StitchOptions(), mode="instances")))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_ids_are_as_drawn(worlds: SimpleNamespace, path: Path) -> None:
    expected = np.array([line.split() for line in sections(path)[1]["ids"]], dtype=np.uint64)
    np.testing.assert_array_equal(merged(worlds, path), expected)
    lattice, source = seen(worlds, path)
    for side in (1, 2, 5):
        np.testing.assert_array_equal(two_level(lattice, source, StitchOptions(), side=side).raster, expected)


def test_the_folder_is_not_empty() -> None:
    assert len(FILES) >= 2


def regenerate() -> None:
    import stitch_worlds

    for path in FILES:
        head = path.read_text().split("[ids]")[0]
        rows = [" ".join(f"{int(v):3d}" for v in row) for row in merged(stitch_worlds, path)]  # type: ignore[arg-type]
        path.write_text(head + "[ids]\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    regenerate()
