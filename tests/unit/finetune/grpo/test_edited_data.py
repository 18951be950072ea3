"""A corrected run becomes training data: tiles whose objects all have a mark, with the masks meant."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import zarr
from assessed_runs import AssessedRun, make_assessed_run
from hypothesis import given
from hypothesis import strategies as st
from job_files import load_job
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.finetune.grpo.edited_data import judged_part, write_edited
from pipeline.finetune.grpo.grpo_data import TrainingSample, check_pixels, read_samples
from pipeline.schema.tiling import TileSpec, Window
from pipeline.write.edit_layer import EDITS

ROWS = slice(120, 200)
COLS = slice(56, 136)
"""What tile (2, 1) reads: tiles of 80 px with a halo of 8, so cores of 64."""

NAME = "r00002c00001_0.png"


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> AssessedRun:
    return make_assessed_run(tmp_path_factory.mktemp("corrected"))


def keep(run: AssessedRun, folder: Path, marks: Mapping[int, str], added: shapely.Geometry | None) -> None:
    """Make marks of objects, and an added shape in pixels, the only edits of the run. What is redrawn becomes
    the box around it."""
    (run.run / EDITS).unlink(missing_ok=True)
    rows = gpd.read_parquet(run.run / "instances")[["instance_id", "query", "geometry"]]
    rows["edit"] = [marks.get(int(number)) for number in rows["instance_id"]]
    redrawn = rows["edit"] == "redraw"
    rows.loc[redrawn, "geometry"] = rows[redrawn].geometry.envelope
    if added is not None:
        drawn = shapely.transform(added, lambda xy: xy * (0.5, -0.5) + (500000, 5500000))
        one = gpd.GeoDataFrame({"query": ["roofs"], "edit": ["add"]}, geometry=[drawn], crs=rows.crs)
        rows = gpd.GeoDataFrame(pd.concat([rows, one], ignore_index=True), crs=rows.crs)
    path = folder / "marks.geojson"
    rows.to_crs(4326).to_file(path)
    assert load_job("edit_run").main([str(run.run), "--edits", str(path), "--reviewer", "A"]) == 0


def published(run: AssessedRun) -> NDArray[np.uint64]:
    return np.asarray(zarr.open_group(str(run.run / "masks.zarr"), mode="r")["instance_id"][0])


def samples_of(folder: Path) -> dict[str, TrainingSample]:
    return {sample.image.name: sample for sample in read_samples(folder)}


def test_tiles_whose_objects_all_have_a_mark_become_questions(corrected: AssessedRun, tmp_path: Path) -> None:
    ids = published(corrected)[ROWS, COLS]
    rejected, redrawn, *rest = (np.unique(ids[ids > 0])).tolist()
    marks = dict.fromkeys(rest, "accept") | {rejected: "reject", redrawn: "redraw"}
    keep(corrected, tmp_path, marks, shapely.box(60, 121, 69, 127))
    told = write_edited(str(corrected.run), tmp_path / "out")
    assert told.n_open, "neighbours hold objects without a mark"
    assert f"{told.n_open} with objects that have no mark" in told.text()
    sample = samples_of(told.folder)[NAME]
    check_pixels([sample])
    with rasterio.open(corrected.scene) as scene:
        assert np.array_equal(sample.rgb(), np.moveaxis(scene.read(), 0, -1)[ROWS, COLS])
    meant = np.isin(ids, rest)
    rows, cols = np.nonzero(published(corrected) == redrawn)
    box = np.zeros((320, 320), dtype=np.bool_)
    box[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1] = True
    box[121:127, 60:69] = True
    assert np.array_equal(sample.truth((80, 80)), meant | box[ROWS, COLS])
    assert sample.query == "roofs"
    again = write_edited(str(corrected.run), tmp_path / "out")
    assert again == told, "the same edits make the same folder"


def test_where_all_was_rejected_the_target_is_not_there(corrected: AssessedRun, tmp_path: Path) -> None:
    ids = published(corrected)[ROWS, COLS]
    keep(corrected, tmp_path, dict.fromkeys(np.unique(ids[ids > 0]).tolist(), "reject"), None)
    told = write_edited(str(corrected.run), tmp_path / "out")
    assert samples_of(told.folder)[NAME].mask is None
    job = load_job("train_prompter")
    words = ["grpo", "--data", f"edits:{corrected.run}", "--out", str(tmp_path / "out")]
    assert job.data_of(job.build_parser().parse_args(words)) == told.folder
    assert told.n_absent >= 1


def test_a_run_without_a_tile_that_is_wholly_marked_is_refused(
    corrected: AssessedRun, tmp_path: Path
) -> None:
    (corrected.run / EDITS).unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"needs a run with edits"):
        write_edited(str(corrected.run), tmp_path / "out")
    ids = published(corrected)[ROWS, COLS]
    keep(corrected, tmp_path, {int(ids[ids > 0][0]): "accept"}, None)
    with pytest.raises(InputError, match=r"every object in it(.|\n)*0 tiles with the target(.|\n)*no mark"):
        write_edited(str(corrected.run), tmp_path / "out")
    assert not list(tmp_path.glob("out-edits-*/questions.jsonl"))


def test_imagery_that_is_gone_is_said(corrected: AssessedRun, tmp_path: Path) -> None:
    keep(corrected, tmp_path, {int(published(corrected).max()): "accept"}, None)
    moved = corrected.scene.rename(corrected.scene.with_suffix(".away"))
    try:
        with pytest.raises(InputError, match=r"imagery of the run must still be there"):
            write_edited(str(corrected.run), tmp_path / "out")
    finally:
        moved.rename(corrected.scene)


def test_a_marked_tile_of_which_not_all_was_judged_is_counted(corrected: AssessedRun, tmp_path: Path) -> None:
    ids = published(corrected)[ROWS, COLS]
    keep(corrected, tmp_path, dict.fromkeys(np.unique(ids[ids > 0]).tolist(), "accept"), None)
    copied = replace(corrected, run=Path(shutil.copytree(corrected.run, tmp_path / "run", symlinks=True)))
    before = write_edited(str(copied.run), tmp_path / "out")
    assert (NAME in samples_of(before.folder), before.n_unjudged) == (True, 0)
    mask = zarr.open_group(str(copied.run / "masks.zarr"), mode="r+")["mask"]
    free = np.argwhere(published(corrected)[128:192, 64:128] == 0)[0] + (128, 64)
    mask[0, free[0], free[1]] = 255
    shutil.rmtree(before.folder)
    try:
        told = write_edited(str(copied.run), tmp_path / "out").text()
    except InputError as error:
        told = str(error)
    assert "1 of which not all was judged" in told


TILE = TileSpec(
    tile_row=0,
    tile_col=0,
    core=Window(row0=12, col0=22, row1=17, col1=26),
    read=Window(row0=10, col0=20, row1=19, col1=28),
)


@given(st.sets(st.tuples(st.integers(0, 8), st.integers(0, 7)), max_size=6))
def test_the_part_of_a_tile_that_was_judged(left: set[tuple[int, int]]) -> None:
    judged = np.ones((9, 8), dtype=np.bool_)
    for place in left:
        judged[place] = False
    part = judged_part(judged, TILE)
    if part is None:
        assert not judged[2:7, 2:6].all()
        return
    assert shapely.box(part.col0, part.row0, part.col1, part.row1).contains(shapely.box(22, 12, 26, 17))
    assert judged[part.row0 - 10 : part.row1 - 10, part.col0 - 20 : part.col1 - 20].all()
    if not left:
        assert part == TILE.read
