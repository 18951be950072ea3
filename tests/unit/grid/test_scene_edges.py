"""Edges of many scenes at once, against affine and pyproj, one scene and one point at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray

from pipeline.grid.scene_edges import edge_points, moved_edges, moved_points
from pipeline.grid.scene_list import SceneColumns
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]


def places(scenes: list[Scene]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = SceneColumns.of(scenes)
    return columns.transforms, columns.sizes


def test_edges_run_around_each_scene(make_scene: MakeScene) -> None:
    turned = Affine.translation(7, 9) @ Affine.rotation(30) @ Affine.scale(2, -3)
    scenes = [make_scene(width=4, height=6), make_scene(transform=tuple(turned)[:6], width=5, height=2)]
    found = edge_points(*places(scenes), 3)
    assert found.shape == (2, 12, 2)
    for scene, points in zip(scenes, found, strict=True):
        w, h = scene.width, scene.height
        corners = [(0, 0), (w / 2, 0), (w, 0), (w, 0), (w, h / 2), (w, h)]
        corners += [(w, h), (w / 2, h), (0, h), (0, h), (0, h / 2), (0, 0)]
        corners[9:] = [(0, 0), (0, h / 2), (0, h)]
        expected = [Affine(*scene.transform) @ corner for corner in corners]
        assert {tuple(np.round(p, 9)) for p in points} == {tuple(np.round(p, 9)) for p in expected}


def test_points_are_moved_as_pyproj_moves_each_of_them(make_scene: MakeScene) -> None:
    scenes = [make_scene(), make_scene(transform=(0.5, 0.0, 460000.0, 0.0, -0.5, 50000.0))]
    source, target = (pyproj.CRS(code).to_wkt() for code in ("EPSG:32636", "EPSG:32637"))
    own = edge_points(*places(scenes), 2)
    found = moved_points(own, source, target)
    move = pyproj.Transformer.from_crs("EPSG:32636", "EPSG:32637", always_xy=True)
    for point, moved in zip(own.reshape(-1, 2), found.reshape(-1, 2), strict=True):
        assert tuple(moved) == move.transform(*point)


def test_a_line_over_180_degrees_has_no_jump() -> None:
    wkt = pyproj.CRS("EPSG:4326").to_wkt()
    line = np.array([[[700000.0, 0.0], [1_300_000.0, 0.0]]])
    found = moved_points(line, pyproj.CRS("EPSG:32660").to_wkt(), wkt)
    assert abs(found[0, 1, 0] - found[0, 0, 0]) < 10


def test_large_scenes_get_more_points_than_small_ones(make_scene: MakeScene) -> None:
    small = make_scene(width=100, height=100)
    large = make_scene(width=200_000, height=160_000, transform=(0.5, 0.0, 6e5, 0.0, -0.5, 5.7e6))
    source, target = (pyproj.CRS(code).to_wkt() for code in ("EPSG:32636", "EPSG:3857"))
    found = moved_edges(*places([small, large, small]), source, target, pixel=0.8)
    assert len(found[0]) == len(found[2]) == 4 * 21
    assert len(found[1]) > 4 * 21
    assert found[1].tolist() == moved_edges(*places([large]), source, target, pixel=0.8)[0].tolist()
