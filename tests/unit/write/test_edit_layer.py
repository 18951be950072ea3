"""Marks of a file against the run, and what is kept of them."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from job_files import load_job
from record_world import QUERIES, golden_run, grid_of

from pipeline.errors import InputError
from pipeline.write.edit_layer import EDITS, EditMark, keep_edits, read_edits, read_marks
from pipeline.write.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    golden_run(tmp_path / "run")
    return RunDir(tmp_path / "run")


def objects_of(run_dir: RunDir, query: int = 0) -> gpd.GeoDataFrame:
    rows = gpd.read_parquet(run_dir.instances)
    return rows[rows["query_index"] == query].sort_values("instance_id")[["instance_id", "query", "geometry"]]


def marked(path: Path, rows: gpd.GeoDataFrame, edits: list[str | None]) -> Path:
    rows.assign(edit=edits).to_file(path)
    return path


def test_marked_features_are_read_and_others_say_nothing(run_dir: RunDir, tmp_path: Path) -> None:
    """In degrees, as a GeoJSON is; an outline that was not redrawn is the run's own, to the bit."""
    rows = objects_of(run_dir)
    words = ["accept", " Reject ", "redraw", *[None] * (len(rows) - 3)]
    path = marked(tmp_path / "m.geojson", rows.to_crs(4326), words)
    accepted, rejected, redrawn = read_marks(path, run_dir, grid_of(), QUERIES, run_id="run-1")
    ids = rows["instance_id"].tolist()
    assert [m.instance_id for m in (accepted, rejected, redrawn)] == ids[:3]
    assert [m.action for m in (accepted, rejected, redrawn)] == ["accept", "reject", "redraw"]
    for mark, own in zip((accepted, rejected, redrawn), rows.geometry, strict=False):
        assert mark.was is not None
        assert mark.was.equals(own)
    assert accepted.shape.equals(rows.geometry.iloc[0])
    assert redrawn.shape.symmetric_difference(rows.geometry.iloc[2]).area < 1e-3


def test_a_new_feature_needs_no_id_but_a_query(run_dir: RunDir, tmp_path: Path) -> None:
    new = gpd.GeoDataFrame(
        {"query": ["été"]}, geometry=[shapely.box(450001, 35990, 450003, 35992)], crs=32636
    )
    (mark,) = read_marks(
        marked(tmp_path / "n.gpkg", new, ["add"]), run_dir, grid_of(), QUERIES, run_id="run-1"
    )
    assert (mark.query, mark.action, mark.instance_id, mark.was) == ("été", "add", None, None)
    with pytest.raises(InputError, match=r"needs a query of the run.*'roofs', 'été'"):
        read_marks(
            marked(tmp_path / "o.gpkg", new.drop(columns="query"), ["add"]),
            run_dir,
            grid_of(),
            QUERIES,
            run_id="run-1",
        )
    (only,) = read_marks(tmp_path / "n.gpkg", run_dir, grid_of(), ("été",), run_id="run-1")
    assert only.query == "été"


@pytest.mark.parametrize(
    ("edits", "change", "says"),
    [
        ([None, None], {}, "at least one feature must be marked"),
        (["delete", None], {}, r"must be one of accept, reject, redraw, add, undo.*'delete' in feature 0"),
        (["reject", None], {"instance_id": 999_999}, "must be an object of the run"),
        (["reject", "accept"], {"instance_id": "first"}, "an object is marked once"),
        (
            ["redraw", None],
            {"geometry": shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])},
            "must be a valid polygon",
        ),
    ],
)
def test_marks_that_say_nothing_of_this_run_are_refused(
    run_dir: RunDir, tmp_path: Path, edits: list[str | None], change: dict[str, object], says: str
) -> None:
    rows = objects_of(run_dir).iloc[:2].reset_index(drop=True)
    for name, value in change.items():
        own = rows["instance_id"].iloc[0] if value == "first" else value
        rows[name] = [own, own] if name == "instance_id" else [own, rows.geometry.iloc[1]]
    path = marked(tmp_path / "m.gpkg", rows, edits)
    with pytest.raises(InputError, match=says):
        read_marks(path, run_dir, grid_of(), QUERIES, run_id="run-1")


def test_a_drawn_outline_must_lie_on_the_imagery(run_dir: RunDir, tmp_path: Path) -> None:
    """A file in degrees whose CRS was lost lies elsewhere; one that reaches over the border is fine."""
    far = gpd.GeoDataFrame(
        {"query": ["roofs"], "edit": ["add"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=grid_of().crs_wkt
    )
    far.to_file(tmp_path / "far.gpkg")
    words = (run_dir, grid_of(), ["roofs"])
    with pytest.raises(InputError, match=r"must lie on the run's imagery(.|\n)*1 beside it"):
        read_marks(tmp_path / "far.gpkg", *words, run_id="run-1")
    over = far.set_geometry([shapely.box(449000, 35990, 450003, 35992)])
    over.to_file(tmp_path / "over.gpkg")
    assert len(read_marks(tmp_path / "over.gpkg", *words, run_id="run-1")) == 1


def test_a_later_mark_replaces_an_earlier_one(run_dir: RunDir) -> None:
    square = shapely.box(450001, 35990, 450003, 35992)

    def keep(action: str, number: int | None, reviewer: str) -> None:
        was = None if number is None else square
        mark = EditMark(query="roofs", action=action, instance_id=number, was=was, shape=square)
        keep_edits(run_dir, [mark], grid=grid_of(), run_id="run-1", reviewer=reviewer, source="m.gpkg")

    assert read_edits(run_dir) is None
    keep("reject", 7, "A")
    keep("add", None, "A")
    keep("accept", 8, "B")
    keep("accept", 7, "B")
    rows = gpd.read_parquet(run_dir.path / EDITS)
    assert [(r.action, r.instance_id, r.reviewer) for r in rows.itertuples() if r.action != "add"] == [
        ("accept", 8, "B"),
        ("accept", 7, "B"),
    ]
    assert (rows["action"] == "add").sum() == 1
    assert rows.crs == grid_of().crs_wkt
    assert rows.geometry.iloc[0].equals(square)
    assert (rows["run_id"] == "run-1").all()
    assert rows["at"].notna().all()


def test_the_same_outline_is_added_once_and_marks_can_be_undone(run_dir: RunDir) -> None:
    square = shapely.box(450001, 35990, 450003, 35992)
    nearly = shapely.box(450001, 35990, 450003, 35992.001)
    other = shapely.box(450006, 35990, 450008, 35992)

    def keep(action: str, number: int | None, shape: shapely.Geometry) -> list[tuple[str, int | None]]:
        mark = EditMark(query="roofs", action=action, instance_id=number, was=None, shape=shape)
        kept = keep_edits(run_dir, [mark], grid=grid_of(), run_id="run-1", reviewer="", source="m.gpkg")
        return list(zip(kept["action"].to_pylist(), kept["instance_id"].to_pylist(), strict=True))

    keep("add", None, square)
    assert keep("add", None, nearly) == [("add", None)]
    assert keep("add", None, other) == [("add", None)] * 2
    assert keep("reject", 7, square) == [("add", None), ("add", None), ("reject", 7)]
    assert keep("undo", 7, square) == [("add", None)] * 2
    assert keep("undo", None, square) == [("add", None)]
    assert keep("undo", None, other) == []


def test_objects_of_another_run_are_refused_and_an_added_one_can_be_rejected(
    run_dir: RunDir, tmp_path: Path
) -> None:
    rows = objects_of(run_dir).iloc[:1].assign(run_id="run-9")
    path = marked(tmp_path / "m.gpkg", rows, ["reject"])
    with pytest.raises(InputError, match=r"of this run.*objects of run run-9.*this one is run-1"):
        read_marks(path, run_dir, grid_of(), QUERIES, run_id="run-1")
    added = rows.assign(instance_id=None, run_id=None)
    (mark,) = read_marks(
        marked(tmp_path / "a.gpkg", added, ["reject"]), run_dir, grid_of(), QUERIES, run_id="run-1"
    )
    assert (mark.action, mark.instance_id) == ("undo", None)


def test_the_job_keeps_marks_and_says_how_to_apply_them(
    run_dir: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = objects_of(run_dir)
    path = marked(tmp_path / "m.gpkg", rows, ["reject", "accept", *[None] * (len(rows) - 2)])
    main = load_job("edit_run").main
    run = str(run_dir.path)
    assert main([run, "--edits", str(path), "--reviewer", "A"]) == 0
    said = capsys.readouterr().out
    assert "1 accept, 1 reject; 2 edits in all" in said
    assert main([str(tmp_path), "--edits", str(path)]) == 2
    assert "an edit needs the directory of a run" in capsys.readouterr().err
    export = load_job("export_results").main
    assert export([run, "--gpkg", "--edits", "--out", str(tmp_path / "e"), "--quiet"]) == 0
    assert "edits: 1 accepted, 1 rejected; 0 about objects that are not there" in capsys.readouterr().out
    table = gpd.read_file(tmp_path / "e/results.gpkg", layer="instances")
    own = table[table["query_index"] == 0].set_index("instance_id")
    ids = rows["instance_id"].tolist()
    assert ids[0] not in own.index
    assert own["edited"][ids[1]] == "accepted"
    assert len(table) == len(gpd.read_parquet(run_dir.instances)) - 1
