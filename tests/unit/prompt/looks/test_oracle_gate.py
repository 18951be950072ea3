"""The oracle's gate: exact without noise; with noise its pass rates are known in closed form."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from label_worlds import write_label_world

from pipeline.prompt.looks.gate import Gate, Look
from pipeline.prompt.looks.oracle_gate import MARGINS, OracleGate
from pipeline.schema.tiling import RunGrid, TileLattice

_: type[Gate] = OracleGate


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 x 64 px, one object in rows 2..9, columns 40..47."""
    ids = np.zeros((64, 64), dtype=np.int64)
    ids[2:10, 40:48] = 1
    return write_label_world(tmp_path_factory.mktemp("gate"), ids).labels


def lattice_of(labels: Path) -> TileLattice:
    import rasterio

    with rasterio.open(labels) as dataset:
        grid = RunGrid(
            crs_wkt=dataset.crs.to_wkt(), transform=tuple(dataset.transform)[:6], width=64, height=64
        )
    return TileLattice(grid=grid, tile_px=20, halo_px=2, block_tiles=4)


def look_at(cut: TileLattice, *places: tuple[int, int], key: str = "k") -> Look:
    return Look(
        key=key, rgb=np.zeros((4, 4, 3), np.uint8), tiles=tuple(cut.tile(row, col) for row, col in places)
    )


def test_without_noise_it_is_the_truth_of_all_tiles_of_the_look(labels: Path) -> None:
    cut = lattice_of(labels)
    gate = OracleGate(f"oracle:{labels}", cut.grid)

    def said(*places: tuple[int, int]) -> list[float | None]:
        return asyncio.run(gate.look(look_at(cut, *places), ["a", "b"]))

    assert said((0, 2)) == [1.0, 1.0]  # read columns 30..49
    assert said((0, 3)) == [1.0, 1.0]  # its halo begins at column 46 and sees two columns of the object
    assert said((0, 0)) == said((1, 2), (3, 3)) == [0.0, 0.0]
    assert said((0, 0), (0, 2)) == [1.0, 1.0]


@pytest.mark.parametrize("noise", ["mild", "strong"])
def test_with_noise_the_share_that_passes_is_known(labels: Path, noise: str) -> None:
    """4000 looks at each: five standard deviations around Phi(+-m - logit t)."""
    cut = lattice_of(labels)
    gate = OracleGate(f"oracle:{labels}?noise={noise}&seed=5", cut.grid)
    queries = [f"question {k}" for k in range(4000)]
    for place, sign in (((0, 2), 1), ((3, 0), -1)):
        given = np.array(asyncio.run(gate.look(look_at(cut, place), queries)))
        for threshold in (0.05, 0.5, 0.9):
            share = NormalDist().cdf(sign * MARGINS[noise] - math.log(threshold / (1 - threshold)))
            assert (
                abs((given >= threshold).mean() - share) <= 5 * math.sqrt(share * (1 - share) / 4000) + 1e-9
            )


def test_noise_belongs_to_seed_look_and_query(labels: Path) -> None:
    cut = lattice_of(labels)

    def said(seed: int, key: str, query: str) -> list[float | None]:
        gate = OracleGate(f"oracle:{labels}?noise=mild&seed={seed}", cut.grid)
        return asyncio.run(gate.look(look_at(cut, (0, 0), key=key), [query]))

    assert said(1, "k", "a") == said(1, "k", "a")
    assert (
        len({tuple(said(*draw)) for draw in ((1, "k", "a"), (2, "k", "a"), (1, "l", "a"), (1, "k", "b"))})
        == 4
    )
