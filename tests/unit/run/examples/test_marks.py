"""What a file of marks says, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from prompt.prompt_tiles import UTM, grid, lattice

from pipeline.errors import InputError
from pipeline.run.config import build_preset, merge_tables, preset_tables
from pipeline.run.examples.marks import check_examples, mark_column, read_marks
from pipeline.write.edit_layer import EDITS, EditMark, keep_edits
from pipeline.write.run_dir import RunDir


def write_marks(path: Path, columns: dict[str, list[Any]], *, shift: float = 0.0) -> Path:
    n = len(next(iter(columns.values())))
    places = [shapely.Point(500_005 + 10 * i + shift, 39_990) for i in range(n)]
    geopandas.GeoDataFrame(columns, geometry=places, crs=UTM).to_file(path)
    return path


@pytest.mark.parametrize(
    "values", [["yes", "No"], ["TRUE", "false"], [1, 0], [True, False], ["1", " 0 "], [1.0, 0.0]]
)
def test_yes_and_no_in_many_words(values: list[Any]) -> None:
    rows = [{"name": "x", "keep": value} for value in values]
    assert mark_column(rows, "m.geojson") == "keep"


def test_of_two_such_columns_the_one_named_mark_counts() -> None:
    assert mark_column([{"a": 1, "mark": "no"}, {"a": 0, "mark": "yes"}], "m.geojson") == "mark"
    with pytest.raises(InputError, match=r"of which a, b could be it"):
        mark_column([{"a": 1, "b": 0}], "m.geojson")
    with pytest.raises(InputError, match=r"of which none could be it"):
        mark_column([{"mark": "yes"}, {"mark": None}], "m.geojson")


def test_marks_know_their_tile(tmp_path: Path) -> None:
    """Points at columns 5, 15, ... 95; cores of 40 px."""
    path = write_marks(tmp_path / "m.geojson", {"mark": ["yes", "no"] * 5})
    found = read_marks(str(path), grid())
    tiles = lattice(grid())
    assert [mark.yes for mark in found.marks] == [True, False] * 5
    assert [mark.tile(tiles) for mark in found.marks] == [(0, 0)] * 4 + [(0, 1)] * 4 + [(0, 2)] * 2


def test_too_few_of_a_kind_are_refused(tmp_path: Path) -> None:
    path = write_marks(tmp_path / "m.geojson", {"mark": ["yes"] * 7 + ["no"] * 2})
    with pytest.raises(InputError, match=r"Got: 7 yes and 2 no in column 'mark'"):
        read_marks(str(path), grid())
    away = write_marks(tmp_path / "away.geojson", {"mark": ["yes", "no"] * 4}, shift=5000.0)
    with pytest.raises(InputError, match=r"the file of --examples must lie on the imagery"):
        read_marks(str(away), grid())
    with pytest.raises(InputError, match=r"the file of --examples"):
        read_marks(str(tmp_path / "none.geojson"), grid())


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"segmenter": {"kind": "oracle", "checkpoint": "oracle:l.tif"}}, "looks at pixels"),
        ({"verifier": {"mode": "crop"}}, "in place of the verifier"),
        ({"segmenter": {"dual": {"routes": "b", "sam3": "x/y"}}}, "is prompted itself"),
        ({"segmenter": {"crop_share": 0.5}}, "not for a grid of points or for examples"),
    ],
)
def test_models_that_do_not_go_with_it_are_refused(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    path = write_marks(tmp_path / "m.geojson", {"mark": ["yes", "no"] * 4})
    every = merge_tables(preset_tables("embedded"), {"examples": {"marks": str(path)}, **tables})
    with pytest.raises(InputError, match=said):
        check_examples(_config(every), grid())
    assert check_examples(_config(preset_tables("embedded")), grid()) == ()


def _config(tables: dict[str, Any]) -> Any:
    from pipeline.grid.source import SourceOptions
    from pipeline.run.config import AreaOptions, GridChoice, RunConfig

    return RunConfig(
        queries=("x",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=("scene.tif",)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(tables),
    )


def test_edits_of_a_run_are_marks(tmp_path: Path) -> None:
    """As jobs/edit_run.py keeps them, whatever else their columns hold."""
    shapes = [shapely.box(500_003 + 10 * i, 39_988, 500_007 + 10 * i, 39_992) for i in range(9)]
    actions = ["accept", "reject", "redraw", "add", "reject", "accept", "reject", "accept", "reject"]
    marks = [
        EditMark(query="roofs", action=action, instance_id=at, was=shape, shape=shape)
        for at, (action, shape) in enumerate(zip(actions, shapes, strict=True))
    ]
    run_dir = RunDir(tmp_path)
    keep_edits(run_dir, marks, grid=grid(), run_id="run-1", reviewer="A", source="m.gpkg")
    found = read_marks(str(tmp_path / EDITS), grid())
    assert [mark.yes for mark in found.marks] == [action != "reject" for action in actions]
