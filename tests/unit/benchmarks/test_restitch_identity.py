"""The comparison of two merges says "same" for the same and counts what differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import record_runs as runs
import stitch_worlds as worlds
import zarr
from benchmarks.restitch_identity import compare_raster, compare_tables, id_strips


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The same world in many tiles and in one; two objects, one of them over a seam."""
    truth = np.zeros((20, 30), dtype=np.int64)
    truth[2:6, 7:13], truth[15:18, 25:28] = 1, 2
    for name, core in (("many", 10), ("single", 40)):
        lattice = worlds.make_lattice(truth.shape, core, 2, 1)
        source = worlds.cut(truth, lattice, mode="whole")
        source.scores = {key: [65535] * len(scores) for key, scores in source.scores.items()}
        runs.write_records(tmp_path / name, lattice, source)
        runs.merge(runs.job_for(tmp_path / name, tmp_path / name, lattice))
    return runs.results_of(tmp_path / "many"), runs.results_of(tmp_path / "single")


def test_one_tile_and_many_are_identical(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    many, single = pair
    assert compare_raster("single tile", many, id_strips(single)) == 0
    assert compare_tables(many, single) == 0
    text = capsys.readouterr().out
    assert "0 of 600 pixels differ (33 show an object)" in text
    assert "2 merged, 2 of the single tile" in text
    assert "objects that more than one tile saw: 1; the widest lies in 2 tiles" in text


def test_a_pixel_and_a_column_that_differ_are_counted(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    many, single = pair
    ids = zarr.open_group(str(single / "masks.zarr"), mode="r+")["instance_id"]
    ids[0, 0, 0] = 5  # type: ignore[index]
    (part,) = (single / "instances").glob("*.parquet")
    table = pq.read_table(part)
    area = [area + 1 for area in table["area_px"].to_pylist()]
    pq.write_table(
        table.set_column(table.schema.get_field_index("area_px"), table.schema.field("area_px"), [area]), part
    )
    assert compare_raster("single tile", many, id_strips(single)) == 1
    assert compare_tables(many, single) == 1
    text = capsys.readouterr().out
    assert "1 of 600 pixels differ" in text
    assert "area_px: 2 rows differ" in text


def test_a_lost_object_and_an_empty_world_do_not_pass(pair: tuple[Path, Path]) -> None:
    many, single = pair
    (part,) = (single / "instances").glob("*.parquet")
    pq.write_table(pq.read_table(part).slice(1), part)
    assert compare_tables(many, single) == 1
    empty = (np.zeros((20, 30), dtype=np.uint64) for _ in range(1))
    assert compare_raster("nothing", many, empty) == 1
