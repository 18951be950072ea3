from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from record_world import golden_run, grid_of, id_raster, lattice_of, table_of

from pipeline.write import report_data
from pipeline.write.report_data import (
    Objects,
    choose,
    read_chips,
    read_empty_tiles,
    read_failures,
    read_objects,
    read_outlines,
    read_statuses,
)
from pipeline.write.run_dir import RunDir

TABLE = table_of([id_raster(seed=0), id_raster(seed=1)])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("run")
    golden_run(folder)
    return RunDir(folder)


def objects_of(n: int, n_queries: int = 2) -> Objects:
    rng = np.random.default_rng(0)
    return Objects(
        instance_id=np.arange(1, n + 1, dtype=np.uint64),
        query_index=(np.arange(n) * n_queries // max(n, 1)).astype(np.int64),
        score=rng.random(n),
        area_px=rng.permutation(n) + 1,
        area_m2=np.full(n, np.nan),
    )


def test_numbers_and_outlines_are_those_written(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = read_objects(run_dir)
    assert len(objects) == len(TABLE)
    assert objects.area_px.sum() == TABLE.area_px.sum()
    geometries, queries = read_outlines(run_dir, objects, grid_of())
    assert shapely.area(geometries).sum() == pytest.approx(TABLE.area_px.sum())  # back in pixels
    assert np.bincount(queries).tolist() == np.bincount(TABLE.query_index).tolist()
    monkeypatch.setattr(report_data, "MAX_OUTLINES", 3)
    largest, _ = read_outlines(run_dir, objects, grid_of())
    assert sorted(shapely.area(largest).round()) == sorted(np.sort(TABLE.area_px)[-3:])


@pytest.mark.parametrize("n", [0, 1, 5, 24, 500])
def test_every_group_shows_other_objects(n: int) -> None:
    objects = objects_of(n)
    groups = choose(objects, seed=7)
    assert list(groups) == ["Picked at random", "Lowest scores", "Largest"]
    shown = [key for keys in groups.values() for key in keys]
    assert len(shown) == len(set(shown)) == min(n, 24)
    assert choose(objects, seed=7) == groups
    if n == 500:
        largest = {int(i) for i in objects.instance_id[np.argsort(-objects.area_px)[:6]]}
        assert {key[1] for key in groups["Largest"]} == largest
        lowest = [int(i) for i in objects.instance_id[np.argsort(objects.score)] if int(i) not in largest][:6]
        assert [key[1] for key in groups["Lowest scores"]] == lowest
        assert choose(objects, seed=8)["Picked at random"] != groups["Picked at random"]
        assert {key[0] for key in groups["Picked at random"][:2]} == {0, 1}  # queries take turns


def test_chips_come_in_the_order_asked_for(run_dir: RunDir) -> None:
    keys = [(int(q), int(i)) for q, i in zip(TABLE.query_index, TABLE.instance_id, strict=True)][::-1]
    chips = read_chips(run_dir, keys, grid_of())
    assert [(chip.query_index, chip.instance_id) for chip in chips] == keys
    for chip, want in zip(chips, TABLE.polygons[::-1], strict=True):
        assert chip.geometry.symmetric_difference(want).area < 1e-6
    assert chips[0].rationale == "<b>because</b>"
    assert read_chips(run_dir, [], grid_of()) == []


def test_tiles_failures_and_empty_tiles_are_read_back(run_dir: RunDir) -> None:
    statuses = read_statuses(run_dir, lattice_of())
    want = np.zeros((4, 5), dtype=np.uint8)
    want[:2, :2] = [[1, 1], [2, 3]]
    np.testing.assert_array_equal(statuses, want)
    assert read_failures(run_dir, limit=5) == [("r00001c00001", "malformed", "no JSON in the reply")]
    assert read_failures(run_dir, limit=0) == []
    (empty,) = read_empty_tiles(run_dir, fingerprint="f" * 64, seed=0)
    assert (empty.tile_row, empty.tile_col, empty.tile_id) == (1, 0, "r00001c00000")


def test_a_large_choice_is_bounded(tmp_path: Path) -> None:
    groups = choose(objects_of(100_000, 3), seed=1)
    assert {name: len(keys) for name, keys in groups.items()} == {"Picked at random": 12, "Lowest scores": 6, "Largest": 6}
