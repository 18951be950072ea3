"""What is told of scenes, from the plain values of run.json."""

from __future__ import annotations

from typing import Any

from pipeline.load.prepare_scenes import SceneSource
from pipeline.load.stretch import IDENTITY
from pipeline.load.validity import ValidityRule
from pipeline.run.imagery_text import (
    MAX_SCENES,
    imagery_text,
    levels_text,
    scene_notes,
    unjudged_rows,
)
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window


def entry(name: str = "east", **changes: Any) -> dict[str, Any]:
    return {
        "scene_id": name,
        "bands": "red = 4 (B04), green = 3 (B03), blue = 2 (B02), by descriptions",
        "stretch": {"kind": "percentile", "lo": [452.0, 430.5, 400.0], "hi": [2945.0, 2900.0, 2850.0]},
        "unjudged": {"outside": 0.25, "nodata": 0.05},
        "judged_share": 0.7,
        "notes": [],
    } | changes


def test_a_scene_in_four_lines_and_its_notes() -> None:
    assert imagery_text([entry(notes=["it is dark"])]).split("\n") == [
        "scene east",
        "  bands        red = 4 (B04), green = 3 (B03), blue = 2 (B02), by descriptions",
        "  grey levels  red 452..2945, green 430.5..2900, blue 400..2850 become 0..255 (black..white)",
        "  not judged   25.0 % outside the area, 5.0 % nodata",
        "  note: it is dark",
    ]


def test_a_scene_that_is_judged_whole_says_so() -> None:
    assert "not judged   nothing: all of it is looked at" in imagery_text([entry(unjudged={})])


def test_many_scenes_are_summed_up() -> None:
    said = imagery_text([entry(str(index)) for index in range(MAX_SCENES + 30)])
    assert said.count("scene ") == MAX_SCENES
    assert said.endswith("and 30 more scenes, of which 70.0 % on average is judged")


def test_grey_levels() -> None:
    assert levels_text({"kind": "identity", "lo": [0] * 3, "hi": [255] * 3}) == "as stored"
    linear = {"kind": "linear", "lo": [0.0] * 3, "hi": [3000.0] * 3}
    assert levels_text(linear) == "0..3000 become 0..255 (black..white)"


def test_rows_of_the_final_table() -> None:
    assert unjudged_rows([entry(), entry("west", unjudged={})]) == {
        "not judged": "parts of 1 of 2 scenes, about; ground that one of them does not show another may",
        "  east": "25.0 % outside the area, 5.0 % nodata",
    }
    assert unjudged_rows([entry()])["not judged"] == "parts of 1 of 1 scenes, about"
    assert unjudged_rows([entry(unjudged={})]) == {"not judged": "nothing of the scenes"}
    many = unjudged_rows([entry(str(index)) for index in range(MAX_SCENES + 2)])
    assert many["  others"] == "2 more; see run.json"
    assert len(many) == MAX_SCENES + 2


def test_a_run_that_did_not_record_it_says_nothing() -> None:
    assert unjudged_rows([]) == {}
    assert unjudged_rows([{"scene_id": "old", "stretch": IDENTITY.to_dict()}]) == {}


def source(name: str, notes: tuple[str, ...]) -> SceneSource:
    scene = Scene(
        scene_id=name,
        href=f"/data/{name}.tif",
        crs_wkt=None,
        transform=(1, 0, 0, 0, -1, 0),
        width=9,
        height=9,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )
    window = Window(row0=0, col0=0, row1=9, col1=9)
    rule = ValidityRule(kind="none")
    return SceneSource(
        scene=scene, offset_rc=(0, 0), window=window, stretch=IDENTITY, validity=rule, notes=notes
    )


def test_notes_carry_the_name_of_their_scene_and_are_bounded() -> None:
    assert scene_notes([source("a", ("dark", "small")), source("b", ())]) == ("a: dark", "a: small")
    many = scene_notes([source(str(index), ("dark",)) for index in range(5 * MAX_SCENES + 7)])
    assert len(many) == 5 * MAX_SCENES + 1
    assert many[-1] == "and 7 more notes on scenes"
