"""What is settled once per scene, and what of the options pins a result. Worlds painted by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from pipeline.errors import InputError
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, SceneSource, prepare_scenes

MakeTif = Callable[..., str]


def test_what_enters_a_fingerprint_is_what_changes_a_result() -> None:
    options = LoadOptions(open_files=3)
    assert options.result_parameters() == LoadOptions().result_parameters()
    assert options.result_parameters() == {
        "scale": None,
        "reflectance_range": (0.0, 0.3),
        "percentiles": (2.0, 98.0),
        "nodata": "file",
        "collar": "auto",
        "resampling": "bilinear",
    }
    assert LoadOptions(scale=(0.0, 3000.0)).result_parameters() != options.result_parameters()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": (5.0, 5.0)}, "--scale"),
        ({"scale": (0.0, float("inf"))}, "--scale"),
        ({"percentiles": (98.0, 2.0)}, "percentiles"),
        ({"percentiles": (0.0, 101.0)}, "percentiles"),
        ({"open_files": 0}, "at least one file"),
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LoadOptions(**wrong)  # type: ignore[arg-type]


def prepared(path: str, options: LoadOptions | None = None, **source: object) -> SceneSource:
    scenes = open_scenes(SourceOptions(hrefs=(path,), **source))  # type: ignore[arg-type]
    plan = plan_tiles(None, scenes, GridOptions(tile_px=64, halo_px=8))
    (ready,) = prepare_scenes(
        plan.scenes, options or LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows
    )
    return ready


def lake_scene(dtype: str = "uint8") -> np.ndarray:
    pixels = np.random.default_rng(0).integers(40, 220, (3, 300, 300)).astype(dtype)
    rows, cols = np.mgrid[:300, :300]
    lake = (cols - 20) ** 2 + (rows - 150) ** 2 < 70**2
    pixels[:, lake] = np.random.default_rng(1).integers(2, 8, (3, int(lake.sum())))
    return pixels


def test_dark_water_at_the_border_is_judged_and_told(make_tif: MakeTif) -> None:
    path = make_tif("a.tif", lake_scene())
    source = prepared(path)
    assert source.collar is None
    assert source.unjudged == {}
    (note,) = source.notes
    assert "nearly black and reaches its border" in note
    assert "--nodata" in note
    assert "--collar black" in note
    assert prepared(path, LoadOptions(collar="off")).notes == ()
    black = prepared(path, LoadOptions(collar="black"))
    dark = (lake_scene() <= 8).all(axis=0).mean()
    assert black.unjudged == {"collar": pytest.approx(dark)}
    assert any("--collar off" in note for note in black.notes)


def test_a_sixteen_bit_border_does_not_set_the_grey_levels(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(5000, 9000, (3, 300, 300)).astype("uint16")
    pixels[:, :, :90] = 0
    source = prepared(make_tif("a.tif", pixels))
    assert source.collar is not None
    assert source.collar.share == pytest.approx(0.3)
    assert min(source.stretch.lo) > 5000


def test_a_band_that_lacks_values_is_fitted_on_those_it_has(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(400, 3000, (3, 300, 300)).astype("int16")
    pixels[0, :20] = -9999
    source = prepared(make_tif("a.tif", pixels, nodata=-9999))
    clean = np.percentile(pixels[0, 20:], (2, 98))
    assert (source.stretch.lo[0], source.stretch.hi[0]) == pytest.approx(tuple(clean))
    assert source.unjudged == {}
    assert any(
        "6.7 % of its imagery has no value in one or two of the bands" in note for note in source.notes
    )


def test_a_scene_without_imagery_is_told(make_tif: MakeTif) -> None:
    source = prepared(make_tif("a.tif", np.zeros((3, 90, 90), dtype="uint16"), nodata=0))
    assert source.unjudged == {"nodata": 1.0}
    assert any("no imagery" in note for note in source.notes)


def test_a_scene_that_comes_out_black_is_told(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(100, 3000, (3, 90, 90)).astype("uint16")
    source = prepared(make_tif("a.tif", pixels), LoadOptions(scale=(0.0, 65535.0)))
    assert any("nearly black" in note and "--scale" in note for note in source.notes)


def test_a_large_scene_without_overviews_says_that_no_border_was_searched(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.load.first_look.FULL_READ_BYTES", 1000)
    source = prepared(make_tif("a.tif", lake_scene()))
    assert source.collar is None
    assert any("not searched for a black border" in note and "--nodata" in note for note in source.notes)


def test_what_an_overview_averages_away_is_no_collar(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sea of 0 with 1 % of noise: constant in an overview of averages, and imagery."""
    pixels = np.random.default_rng(0).integers(40, 220, (3, 512, 512)).astype("uint8")
    pixels[:, 300:] = (np.random.default_rng(1).random((3, 212, 512)) < 0.01) * 4
    path = make_tif("a.tif", pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], Resampling.average)
    monkeypatch.setattr("pipeline.load.first_look.SIDE_PX", 64)
    source = prepared(path)
    assert source.collar is None
    assert any("reaches its border" in note for note in source.notes)


def test_a_wrong_nodata_is_refused() -> None:
    with pytest.raises(InputError, match="--nodata"):
        LoadOptions(nodata="dark")
