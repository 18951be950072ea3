"""Edits find their objects by outline, whatever the ids are now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from object_table import write_objects
from record_world import META, QUERIES, golden_run, grid_of, id_raster, table_of

from pipeline.errors import InputError
from pipeline.write.edit_layer import EditMark, keep_edits
from pipeline.write.export.edited_instances import find_edited
from pipeline.write.export.export_run import ExportRequest, export_run, plan_export
from pipeline.write.run_dir import RunDir

TABLE = table_of([id_raster(seed=0), id_raster(seed=1)])
DRAWN = shapely.box(450001, 35990, 450004, 35993)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    """A run with four edits of its first query: the first three objects, and one that was missed."""
    golden_run(tmp_path / "run")
    run_dir = RunDir(tmp_path / "run")
    rows = gpd.read_parquet(run_dir.instances)
    own = rows[rows["query_index"] == 0].sort_values("instance_id")
    marks = [
        EditMark(
            query="roofs",
            action=action,
            instance_id=int(number),
            was=shape,
            shape=DRAWN if action == "redraw" else shape,
        )
        for action, number, shape in zip(
            ("accept", "reject", "redraw"), own["instance_id"], own.geometry, strict=False
        )
    ]
    marks.append(EditMark(query="roofs", action="add", instance_id=None, was=None, shape=DRAWN))
    keep_edits(run_dir, marks, grid=grid_of(), run_id="run-1", reviewer="A", source="m.gpkg")
    return run_dir


def ids_of(run_dir: RunDir) -> list[int]:
    rows = gpd.read_parquet(run_dir.instances)
    return sorted(rows[rows["query_index"] == 0]["instance_id"].tolist())


def test_every_edit_finds_its_object(run_dir: RunDir) -> None:
    edited = find_edited(run_dir, QUERIES, (0, 1))
    assert edited is not None
    first, second, third, *_ = ids_of(run_dir)
    assert edited.actions == {(0, first): "accept", (0, second): "reject", (0, third): "redraw"}
    assert edited.outlines[0, third].equals(DRAWN)
    assert edited.counts() == {"accepted": 1, "rejected": 1, "redrawn": 1, "added": 1}
    assert edited.n_gone == 0
    other = find_edited(run_dir, QUERIES, (1,))
    assert other is not None
    assert (other.actions, other.added) == ({}, ())


def test_other_ids_and_small_changes_are_no_matter_and_what_is_gone_is_counted(run_dir: RunDir) -> None:
    """As after another merge: new ids, outlines of a pixel more, and the second object is not there."""
    before = ids_of(run_dir)
    own = TABLE.query_index == 0
    kept = TABLE.take(np.flatnonzero(~(own & (TABLE.instance_id == before[1]))))
    grown = shapely.union(kept.polygons, shapely.box(0, 0, 1, 1))
    kept = replace(kept, instance_id=kept.instance_id + np.uint64(5000), polygons=grown)
    write_objects(run_dir, kept, grid=grid_of(), meta=META)
    edited = find_edited(run_dir, QUERIES, (0, 1))
    assert edited is not None
    assert edited.actions == {(0, before[0] + 5000): "accept", (0, before[2] + 5000): "redraw"}
    assert edited.n_gone == 1


def test_an_export_has_the_corrected_objects(run_dir: RunDir, tmp_path: Path) -> None:
    request = ExportRequest(
        run=str(run_dir.path), gpkg=True, pmtiles=True, edits=True, oriented=True, out=str(tmp_path / "e")
    )
    export_run(plan_export(request), progress=lambda *_: None)
    table = gpd.read_file(tmp_path / "e/results.gpkg", layer="instances")
    first, second, third, *others = ids_of(run_dir)
    own = table[table["query_index"] == 0]
    assert sorted(own["instance_id"].dropna()) == [first, third, *others]
    assert second not in own["instance_id"].tolist()
    words = own.set_index("instance_id")["edited"]
    assert (words[first], words[third]) == ("accepted", "redrawn")
    assert words[others].isna().all()
    (new,) = own[own["edited"] == "added"].itertuples()
    assert (new.query, new.geometry.area) == ("roofs", pytest.approx(9.0))
    assert new.length_m == pytest.approx(3.0, rel=1e-2)
    assert own.set_index("instance_id").geometry[third].equals(shapely.MultiPolygon([DRAWN]))
    boxes = gpd.read_file(tmp_path / "e/results.gpkg", layer="rectangles")
    assert second not in boxes[boxes["query_index"] == 0]["instance_id"].tolist()
    tiles = gpd.read_file(tmp_path / "e/instances.pmtiles")
    assert {"accepted", "redrawn", "added"} == set(tiles["edited"].dropna())
    plain = replace(request, edits=False, out=str(tmp_path / "plain"))
    export_run(plan_export(plain), progress=lambda *_: None)
    assert "edited" not in gpd.read_file(tmp_path / "plain/results.gpkg", layer="instances").columns


def test_what_a_person_says_comes_before_the_score(run_dir: RunDir, tmp_path: Path) -> None:
    request = ExportRequest(
        run=str(run_dir.path),
        gpkg=True,
        edits=True,
        min_score=1.0,
        out=str(tmp_path / "e"),
        queries=("roofs",),
    )
    export_run(plan_export(request), progress=lambda *_: None)
    table = gpd.read_file(tmp_path / "e/results.gpkg", layer="instances")
    first, _, third, *_ = ids_of(run_dir)
    kept = table.set_index("instance_id")["edited"].to_dict()
    assert {first: "accepted", third: "redrawn"}.items() <= kept.items()
    assert (table["edited"] == "added").sum() == 1
    assert (table[table["edited"].isna()]["score"] >= 1.0).all()


def test_a_run_without_edits_says_how_to_make_some(tmp_path: Path) -> None:
    golden_run(tmp_path / "run")
    assert find_edited(RunDir(tmp_path / "run"), QUERIES, (0,)) is None
    with pytest.raises(InputError, match=r"needs a run with edits.*edit_run"):
        plan_export(ExportRequest(run=str(tmp_path / "run"), gpkg=True, edits=True))
    with pytest.raises(InputError, match="neither --gpkg nor --pmtiles"):
        plan_export(ExportRequest(run=str(tmp_path / "run"), cog=True, edits=True))
