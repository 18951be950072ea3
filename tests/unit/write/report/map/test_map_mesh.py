"""The mesh against pyproj, at places between its nodes; and where there is none."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer
from record_world import grid_of

from pipeline.schema.tiling import RunGrid
from pipeline.write.report.map.map_mesh import GOOD_PX, mesh_text


def nodes_of(mesh: dict[str, Any]) -> NDArray[np.float64]:
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(mesh["steps"]):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(-(value + 1) // 2 if value % 2 else value // 2)
            value, shift = 0, 0
    steps = np.array(numbers, dtype=np.float64).reshape(-1, 2)
    return np.asarray((steps.cumsum(axis=0) / mesh["parts"]).reshape(mesh["n"], mesh["n"], 2))


def looked_up(mesh: dict[str, Any], u: float, v: float) -> NDArray[np.float64]:
    nodes = nodes_of(mesh)
    u0, v0, u1, v1 = mesh["box"]
    across = (u - u0) / (u1 - u0) * (mesh["n"] - 1)
    down = (v - v0) / (v1 - v0) * (mesh["n"] - 1)
    col = min(int(across), mesh["n"] - 2)
    row = min(int(down), mesh["n"] - 2)
    fx, fy = across - col, down - row
    top = (1 - fx) * nodes[row, col] + fx * nodes[row, col + 1]
    bottom = (1 - fx) * nodes[row + 1, col] + fx * nodes[row + 1, col + 1]
    return np.asarray((1 - fy) * top + fy * bottom)


LARGE = grid_of(200_000, 200_000, transform=(0.5, 0.0, 350_000.0, 0.0, -0.5, 5_100_000.0))
SOUTH = grid_of(crs="EPSG:32733", transform=(0.5, 0.0, 450_000.0, 0.0, -0.5, 6_000_000.0))
TURNED = grid_of(4000, 3000, transform=(0.4, 0.3, 450_000.0, 0.3, -0.4, 4_000_000.0))


@pytest.mark.parametrize("grid", [grid_of(), LARGE, TURNED, SOUTH])
def test_a_place_between_nodes_is_where_pyproj_has_it(grid: RunGrid) -> None:
    mesh = mesh_text(grid)
    assert mesh is not None
    assert mesh["off_px"] <= GOOD_PX
    move = Transformer.from_crs(grid.crs_wkt, "EPSG:3857", always_xy=True)
    a, b, c, d, e, f = grid.transform
    rng = np.random.default_rng(5)
    for col, row in rng.uniform(0, 1, (20, 2)) * (grid.width, grid.height):
        x, y = move.transform(a * col + b * row + c, d * col + e * row + f)
        half = 20_037_508.342789244
        got = looked_up(mesh, 0.5 + x / (2 * half), 0.5 - y / (2 * half))
        assert np.abs(got - (col, row)).max() < 2 * GOOD_PX


def test_nowhere_on_earth_there_is_none() -> None:
    assert mesh_text(grid_of(crs=None)) is None
    pole = grid_of(4000, 4000, crs="EPSG:3413", transform=(500.0, 0.0, -1e6, 0.0, -500.0, 1e6))
    assert mesh_text(pole) is None
