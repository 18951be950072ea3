"""What counts as imagery, as files say it. Oracle: rasterio's dataset_mask, and pixels painted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from pipeline.errors import InputError
from pipeline.load.validity import (
    ValidityRule,
    alpha_band,
    alpha_doubt,
    band_validity,
    can_hold,
    dataset_validity,
    opened_by,
    parse_nodata,
    same_value,
    settle_rule,
    unused_mask,
)

MakeTif = Callable[..., str]


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "none"])
def test_validity_is_the_datasets_own(make_tif: MakeTif, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 3, (3, 70, 90)).astype("uint8")
    extra: dict[str, object] = {}
    if kind == "nodata":
        extra = {"nodata": 0}
    if kind == "mask":
        extra = {"mask": pixels[0] > 0}
    if kind == "alpha":
        pixels, extra = np.concatenate([pixels, pixels[:1] * 100]), {"alpha": "yes"}
    with rasterio.open(make_tif("a.tif", pixels, **extra)) as dataset:
        window = rasterio.windows.Window(13, 7, 50, 40)
        got = dataset_validity(dataset, dataset.read([1, 2, 3], window=window), window=window)
        assert (got == (dataset.dataset_mask()[7:47, 13:63] > 0)).all()
    here = pixels[:, 7:47, 13:63]
    expected = {
        "nodata": (here != 0).any(axis=0),
        "mask": here[0] > 0,
        "alpha": here[-1] > 0,
        "none": np.ones(got.shape, dtype=bool),
    }
    assert (got == expected[kind]).all()
    assert got.all() == (kind == "none")


def test_a_pixel_needs_one_band_that_is_a_number(make_tif: MakeTif) -> None:
    """As for nodata: one missing band makes no hole."""
    pixels = np.ones((3, 20, 20), dtype="float32")
    pixels[1, 3, 4] = np.nan
    pixels[:, 5, 6] = (np.nan, np.inf, np.nan)
    with rasterio.open(make_tif("a.tif", pixels)) as dataset:
        got = dataset_validity(dataset, dataset.read())
    assert np.argwhere(~got).tolist() == [[5, 6]]


@pytest.mark.parametrize("nodata", [np.nan, -9999.0])
def test_nan_and_nodata_together_leave_nothing(make_tif: MakeTif, nodata: float) -> None:
    pixels = np.ones((3, 20, 20), dtype="float32")
    pixels[:, 2, 2] = nodata
    pixels[:, 3, 3] = (nodata, np.nan, nodata)
    pixels[:, 4, 4] = (nodata, 0.5, np.nan)
    with rasterio.open(make_tif("a.tif", pixels, nodata=nodata)) as dataset:
        got = dataset_validity(dataset, dataset.read())
    assert np.argwhere(~got).tolist() == [[2, 2], [3, 3]]


def test_bands_are_valid_one_by_one() -> None:
    values = np.array([[[-9999, 5]], [[7, 5]], [[7, -9999]]], dtype="int16")
    assert band_validity(values, -9999.0)[:, 0].tolist() == [[False, True], [True, True], [True, False]]
    assert band_validity(values, None).all()
    floats = np.array([[[np.nan, 5]]], dtype="float32")
    assert band_validity(floats, np.nan)[0, 0].tolist() == [False, True]


def rule_of(
    path: str, sample: np.ndarray | None = None, **options: object
) -> tuple[ValidityRule, tuple[str, ...]]:
    with rasterio.open(path) as dataset:
        index = alpha_band(dataset)
        values = dataset.read(index) if index is not None and sample is None else sample
        given = {"nodata": "file", "textured": True} | options
        return settle_rule(dataset, alpha_sample=values, **given)  # type: ignore[arg-type]


def coloured(fourth: np.ndarray | None = None, dtype: str = "uint8") -> np.ndarray:
    pixels = np.random.default_rng(0).integers(30, 250, (3, 60, 70)).astype(dtype)
    return pixels if fourth is None else np.concatenate([pixels, fourth[None].astype(dtype)])


def test_the_file_decides_and_its_header_stays(make_tif: MakeTif) -> None:
    alpha = np.full((60, 70), 255)
    alpha[:10] = 0
    rule, notes = rule_of(make_tif("a.tif", coloured(alpha), alpha="yes"))
    assert (rule, notes) == (ValidityRule(kind="alpha", alpha=4), ())
    rule, notes = rule_of(make_tif("n.tif", coloured(), nodata=0))
    assert (rule, notes) == (ValidityRule(kind="nodata", nodata=0.0), ())
    rule, notes = rule_of(make_tif("m.tif", coloured(), mask=alpha > 0))
    assert (rule, notes) == (ValidityRule(kind="mask"), ())
    assert rule_of(make_tif("p.tif", coloured())) == (ValidityRule(kind="none"), ())


def test_a_rule_is_json(make_tif: MakeTif) -> None:
    rule, _ = rule_of(make_tif("n.tif", coloured(dtype="float32"), nodata=np.nan))
    assert json.loads(json.dumps(rule.to_dict(), allow_nan=False))["nodata"] == "nan"


FADE = np.linspace(0, 255, 70).round() + np.zeros((60, 1))
SHARP = np.where(FADE < 60, 0, 255)
SOFT = np.where(np.abs(FADE - 60) < 8, FADE, SHARP)


@pytest.mark.parametrize(
    "alpha",
    [SHARP, SHARP // 255, SOFT, np.full((60, 70), 255), np.where(FADE < 60, 0, np.where(FADE < 90, 1, 255))],
    ids=["0 and 255", "0 and 1", "soft edge", "all 255", "0, 1 and 255"],
)
def test_a_band_with_the_values_of_a_mask_is_alpha(make_tif: MakeTif, alpha: np.ndarray) -> None:
    path = make_tif("a.tif", coloured(alpha), alpha="yes")
    assert rule_of(path)[0].alpha == 4
    with rasterio.open(path) as dataset:
        assert (dataset_validity(dataset, dataset.read([1, 2, 3])) == (alpha > 0)).all()


def near_infrared() -> np.ndarray:
    """Bright land and water that is 0."""
    light = np.random.default_rng(1).integers(60, 256, (60, 70))
    light[20:30] = 0
    return light


@pytest.mark.parametrize(
    ("fourth", "description", "tags", "words"),
    [
        (near_infrared(), None, {}, "neither 0 nor 255"),
        (SHARP, "NIR", {}, "described as 'NIR'"),
        (SHARP, "B8", {}, "described as 'B8'"),
        (SHARP, None, {"wavelength": "842"}, "tag wavelength"),
        (np.zeros((60, 70)), "alpha", {}, "0 everywhere"),
    ],
    ids=["values", "name", "code", "wavelength", "empty"],
)
def test_a_band_of_light_that_is_tagged_alpha_hides_nothing(
    make_tif: MakeTif, fourth: np.ndarray, description: str | None, tags: dict[str, str], words: str
) -> None:
    path = make_tif("a.tif", coloured(fourth), alpha="yes")
    with rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(4, description)
        dataset.update_tags(4, **tags)
    rule, notes = rule_of(path)
    assert (rule.kind, rule.alpha, rule.rewritten) == ("none", None, True)
    assert len(notes) == 1
    assert words in notes[0]
    with rasterio.open(path) as dataset, opened_by(dataset, rule) as opened:
        assert alpha_band(opened) is None
        assert dataset_validity(opened, opened.read([1, 2, 3])).all()
        assert (opened.read() == dataset.read()).all()


@pytest.mark.parametrize("name", ["Alpha", "mask", "Band 4", "", "opacity"])
def test_names_of_an_alpha_band(make_tif: MakeTif, name: str) -> None:
    path = make_tif("a.tif", coloured(SHARP), alpha="yes")
    with rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(4, name)
    with rasterio.open(path) as dataset:
        assert alpha_doubt(dataset, 4, dataset.read(4), textured=True) == ""


def test_a_transparent_scene_without_colours_is_transparent(make_tif: MakeTif) -> None:
    path = make_tif("a.tif", coloured(np.zeros((60, 70))), alpha="yes")
    assert rule_of(path, textured=False)[0].alpha == 4


@pytest.mark.parametrize("extra", [{}, {"nodata": 7}])
def test_nodata_given_takes_the_place_of_the_files(make_tif: MakeTif, extra: dict[str, int]) -> None:
    pixels = coloured()
    pixels[:, :9] = 7
    pixels[:, 50:] = 0
    path = make_tif("a.tif", pixels, **extra)
    for text, expected in (("0", pixels.any(axis=0)), ("none", np.ones((60, 70), dtype=bool))):
        rule, _ = rule_of(path, nodata=text)
        with rasterio.open(path) as dataset, opened_by(dataset, rule) as opened:
            assert (dataset_validity(opened, opened.read()) == expected).all()
            assert opened.transform == dataset.transform
            assert opened.crs == dataset.crs


def test_a_mask_holds_whatever_nodata_is_given(make_tif: MakeTif) -> None:
    mask = FADE > 100
    path = make_tif("a.tif", coloured(), mask=mask)
    rule, _ = rule_of(path, nodata="200")
    assert rule.kind == "mask"
    with rasterio.open(path) as dataset, opened_by(dataset, rule) as opened:
        assert (dataset_validity(opened, opened.read()) == mask).all()


def test_a_files_own_value_that_cannot_occur_hides_nothing(make_tif: MakeTif) -> None:
    """Other programs write -1 into files of uint16, whose roofs may be 0 and whose snow 65535."""
    pixels = np.ones((3, 30, 30), dtype="uint16")
    pixels[:, :10] = 0
    pixels[:, 10:20] = 65535
    path = Path(make_tif("a.tif", pixels, nodata=54321))
    content = path.read_bytes()
    assert content.count(b"54321\0") == 1
    path.write_bytes(content.replace(b"54321\0", b"-1.00\0"))
    rule, _ = rule_of(str(path))
    assert (rule.kind, rule.nodata) == ("none", None)
    with rasterio.open(path) as dataset, opened_by(dataset, rule) as opened:
        assert dataset_validity(opened, opened.read()).all()


def test_black_roofs_survive_a_nodata_value_that_is_a_real_one(make_tif: MakeTif) -> None:
    """0 in one or two bands is dark, 0 in all is nodata; whoever knows better says --nodata none."""
    pixels = coloured()
    pixels[:, :10] = np.maximum(pixels[:, :10], 1)
    pixels[0, :10] = 0
    pixels[:, 10:20] = 0
    path = make_tif("a.tif", pixels, nodata=0)
    for given, black in (("file", False), ("none", True)):
        rule, _ = rule_of(path, nodata=given)
        with rasterio.open(path) as dataset, opened_by(dataset, rule) as opened:
            valid = dataset_validity(opened, opened.read())
        assert valid[:10].all()
        assert valid[10:20].all() == black


def test_a_value_that_cannot_occur_is_no_nodata(make_tif: MakeTif) -> None:
    rule, notes = rule_of(make_tif("a.tif", coloured(dtype="uint16")), nodata="-1")
    assert (rule.kind, rule.nodata) == ("none", None)
    assert "-1 cannot occur in uint16" in notes[0]
    assert [
        can_hold(kind, value) for kind, value in (("uint8", 256.0), ("int16", 0.5), ("int16", np.nan))
    ] == [False] * 3
    assert can_hold("float32", np.nan)
    assert can_hold("uint16", 65535.0)


def test_nodata_is_a_number_or_none() -> None:
    assert parse_nodata("None") is None
    assert parse_nodata("-9999") == -9999
    assert same_value(parse_nodata("nan"), np.nan)
    assert not same_value(None, 0.0)
    with pytest.raises(InputError, match="--nodata"):
        parse_nodata("black")


@pytest.mark.parametrize(
    ("fourth", "description", "told"),
    [
        (SHARP, None, True),
        (SHARP // 255, "valid", True),
        (SHARP, "NIR", False),
        (near_infrared(), None, False),
        (np.full((60, 70), 255), None, False),
        (SHARP // 255 * 7, None, False),
    ],
    ids=["untagged", "named", "named otherwise", "light", "hides nothing", "another value"],
)
def test_a_mask_that_nothing_tags_is_told(
    make_tif: MakeTif, fourth: np.ndarray, description: str | None, told: bool
) -> None:
    path = make_tif("a.tif", coloured(fourth))
    with rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(4, description)
    with rasterio.open(path) as dataset:
        notes = unused_mask(dataset, 4, dataset.read(4))
    assert len(notes) == told
    assert not told or f"0 in {np.mean(fourth == 0):.1%} of the scene" in notes[0]


def test_alpha_is_found_by_its_tag_in_any_place(make_tif: MakeTif) -> None:
    path = make_tif("a.tif", np.concatenate([coloured(SHARP), coloured()[:1]]))
    with rasterio.open(path, "r+") as dataset:
        names = [
            ColorInterp.red,
            ColorInterp.green,
            ColorInterp.blue,
            ColorInterp.alpha,
            ColorInterp.undefined,
        ]
        dataset.colorinterp = names
    with rasterio.open(path) as dataset:
        assert alpha_band(dataset) == 4
        assert (dataset_validity(dataset, dataset.read([1, 2, 3])) == (SHARP > 0)).all()
