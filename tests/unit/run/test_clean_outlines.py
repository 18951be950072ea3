"""Outlines of a whole run, made square by square, against the raster cleaned at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from object_table import write_objects
from record_world import META, golden_run, grid_of, lattice_of, table_of, write_rasters
from scipy import ndimage

from pipeline.errors import InputError
from pipeline.run.clean_outlines import (
    CleaningRequest,
    CleaningRules,
    OutlineRules,
    clean_rules,
    make_outlines,
)
from pipeline.stitch.clean_pixels import clean_pixels
from pipeline.stitch.trace import polygonise
from pipeline.write.export.score_floor import KEEP_ALL, score_floor
from pipeline.write.run_dir import RunDir

RULES = CleaningRules(hole_px=3, speck_px=2)


def blobs(seed: int) -> np.ndarray:  # type: ignore[type-arg]
    """Objects with holes, and with specks: pieces far apart share an id."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 1.0)
    ids = np.digitize(field, np.quantile(field, [0.5, 0.8])).astype(np.uint64)
    ids[20:] += np.where(ids[20:] > 0, np.uint64(2), np.uint64(0))
    ids[5:7, 45] = 9  # an object that is nothing but a speck
    return ids


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    golden_run(tmp_path / "run")
    run_dir = RunDir(tmp_path / "run")
    rasters = [blobs(0), blobs(1)]
    table = table_of(rasters)
    write_objects(run_dir, table, grid=grid_of(), meta=META)
    run_dir.masks.delete_tree()
    write_rasters(tmp_path / "run/masks.zarr", lattice_of(), rasters, table)
    return run_dir


@pytest.mark.parametrize("square_px", [8, 17, 2048])
def test_squares_give_what_the_whole_raster_gives(run_dir: RunDir, tmp_path: Path, square_px: int) -> None:
    looked_at = np.ones((40, 50), dtype=np.bool_)
    looked_at[0] = False
    told: list[float] = []
    with make_outlines(
        tmp_path / "o.sqlite",
        run_dir,
        grid=grid_of(),
        queries=(0, 1),
        rules=OutlineRules(cleaning=RULES, tolerance_px=0.0),
        floor=KEEP_ALL,
        progress=told.append,
        square_px=square_px,
    ) as store:
        for query in (0, 1):
            whole = clean_pixels(blobs(query), looked_at, RULES, exempt=np.array([9], dtype=np.uint64))
            assert (whole != blobs(query)).any()
            values, shapes, _ = polygonise(whole, (0, 0))
            assert 9 in values
            for want, got in zip(shapes, store.outlines(query, values), strict=True):
                assert shapely.to_wkb(got) == shapely.to_wkb(want)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_objects_below_the_score_make_room_for_holes(run_dir: RunDir, tmp_path: Path) -> None:
    """What is left out is background: the holes around it are filled as if it had not been found."""
    scores = {1: 0.9, 2: 0.2, 3: 0.9, 4: 0.2, 9: 0.2}
    rasters = [blobs(0), blobs(1)]
    table = table_of(rasters)
    table = replace(table, score=np.array([scores[i] for i in table.instance_id.tolist()], dtype=np.float32))
    write_objects(run_dir, table, grid=grid_of(), meta=META)
    run_dir.masks.delete_tree()
    write_rasters(tmp_path / "run/masks.zarr", lattice_of(), rasters, table)
    with make_outlines(
        tmp_path / "o.sqlite",
        run_dir,
        grid=grid_of(),
        queries=(0,),
        rules=OutlineRules(cleaning=replace(RULES, hole_px=30), tolerance_px=1.0),
        floor=score_floor(run_dir, (0,), 0.5),
        progress=lambda _: None,
    ) as store:
        kept = store.outlines(0, np.array([1, 2, 3, 4, 9], dtype=np.uint64))
    assert [shape is not None for shape in kept] == [True, False, True, False, False]
    assert kept[0].intersection(kept[2]).area == 0


def test_limits_on_the_ground_become_pixels() -> None:
    """Pixels of 0.5 m: four of them are a square metre, but for the scale of UTM."""
    request = CleaningRequest(fill_holes_m2=2.6, drop_specks_m2=1.1, simplify_m=1.0)
    rules = clean_rules(request, grid_of())
    assert rules.cleaning == CleaningRules(hole_px=10, speck_px=4)
    assert rules.tolerance_px == pytest.approx(2.0, rel=2e-3)
    assert request.text == "holes up to 2.6 m2 filled, specks up to 1.1 m2 dropped, simplified by 1 m"
    assert request.asked
    assert not CleaningRequest().asked


def test_a_run_without_ground_has_no_metres() -> None:
    with pytest.raises(InputError, match="measured on the ground"):
        clean_rules(CleaningRequest(simplify_m=1.0), grid_of(crs=None))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_sizes_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"--simplify-m must not be negative"):
        CleaningRequest(simplify_m=value)
