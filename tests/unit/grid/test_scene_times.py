"""When scenes were taken, and what is said where several dates show one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import shapely

from pipeline.errors import InputError
from pipeline.grid.scene_times import date_in, overlap_note, rfc3339, time_rule, with_times
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.schema.imagery import Scene

MakeTif = Callable[..., str]


def scene(name: str, moment: str | None = None) -> Scene:
    return Scene(
        scene_id=name,
        href=f"/data/{name}.tif",
        crs_wkt=None,
        transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        width=10,
        height=10,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
        identity={},
        datetime=moment,
    )


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("m_4709963_se_14_1_20170827.tif", "2017-08-27T00:00:00Z"),
        ("S2A_MSIL2A_20200714T103031_N0500.tif", "2020-07-14T10:30:31Z"),
        ("ortho-2024-06-01.tif", "2024-06-01T00:00:00Z"),
        ("ortho_2024_06_01.tif", "2024-06-01T00:00:00Z"),
        ("LC08_015034_20210230_20210415.tif", "2021-04-15T00:00:00Z"),  # there is no 30 February
        ("tile_12345678.tif", None),  # month 56
        ("id_1720240601999.tif", None),  # digits around it: a number, no date
        ("2024-0601.tif", None),
        ("scene.tif", None),
    ],
)
def test_a_date_in_a_name(name: str, moment: str | None) -> None:
    assert date_in(name) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-06-01", "2024-06-01T00:00:00Z"),
        ("2024-06-01 10:20:30", "2024-06-01T10:20:30Z"),
        ("2024-06-01T10:20:30+02:00", "2024-06-01T08:20:30Z"),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_become_utc(text: str | None, moment: str | None) -> None:
    assert rfc3339(text) == moment


def test_the_first_rule_that_fits_wins_and_a_files_own_time_before_all() -> None:
    scenes = (scene("a_2020"), scene("b_20210304"), scene("own", "2019-01-01T00:00:00Z"))
    timed = with_times(scenes, ("a_*.tif=2020-07-01", "b*=name", "2024-01-01"))
    assert [item.datetime for item in timed] == [
        "2020-07-01T00:00:00Z",
        "2021-03-04T00:00:00Z",
        "2019-01-01T00:00:00Z",
    ]


def test_no_time_is_made_up() -> None:
    assert with_times((scene("a_20210304"),), ())[0].datetime is None
    assert with_times((scene("a"), scene("b")), ("a*=2020-01-01",))[1].datetime is None


@pytest.mark.parametrize("text", ["", "soon", "a*=", "=2020-01-01", "2020-13-01", "name=2020=01"])
def test_other_text_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"--datetime-of must be.*2024-06-01"):
        time_rule(text)


def test_a_rule_that_fits_no_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"must fit a source's file name.*a\.tif"):
        with_times((scene("a"),), ("b*=2020-01-01",))


def test_a_name_without_a_date_is_refused_with_the_rule_for_it() -> None:
    with pytest.raises(InputError, match=r"--datetime-of 'a\.tif=2024-06-01'"):
        with_times((scene("a"),), ("name",))


def test_opened_scenes_have_the_time_of_their_rule(make_tif: MakeTif) -> None:
    path = make_tif()
    (opened,) = open_scenes(SourceOptions(hrefs=(path,), datetimes=("2024-06-01",)))
    assert opened.datetime == "2024-06-01T00:00:00Z"
    assert open_scenes(SourceOptions(hrefs=(path,)))[0].datetime is None


SQUARE = shapely.box(0, 0, 10, 10)
BESIDE = shapely.box(9, 0, 19, 10)
APART = shapely.box(30, 0, 40, 10)
NEW = "2024-06-01T00:00:00Z"
OLD = "2020-06-01T09:00:00Z"


def test_two_dates_in_one_place_say_which_wins() -> None:
    note = overlap_note((scene("new", NEW), scene("old", OLD), scene("far", OLD)), (SQUARE, BESIDE, APART))
    assert note is not None
    assert note.startswith("2 of 3 scenes show places that another one of another date shows too.")
    assert "for example new (2024-06-01) over old (2020-06-01)" in note
    assert "--datetime-of" not in note


def test_unknown_dates_count_when_most_of_a_scene_is_shown_twice() -> None:
    a, b = scene("a"), scene("b", OLD)
    assert overlap_note((a, b), (SQUARE, BESIDE)) is None  # a tenth, as neighbouring sheets share
    note = overlap_note((a, b), (SQUARE, shapely.box(5, 0, 15, 10)))
    assert note is not None
    assert "a (date unknown) over b (2020-06-01)" in note
    assert note.endswith("--datetime-of says when a scene was taken.")


@pytest.mark.parametrize("other", [APART, shapely.box(10, 0, 20, 10)])
def test_scenes_that_share_no_area_need_no_note(other: shapely.Geometry) -> None:
    assert overlap_note((scene("a", NEW), scene("b", OLD)), (SQUARE, other)) is None


def test_one_day_needs_no_note() -> None:
    assert overlap_note((scene("a", NEW), replace(scene("b"), datetime=NEW)), (SQUARE, SQUARE)) is None
    assert overlap_note((scene("a"),), (SQUARE,)) is None
