"""Grey levels. The golden file tests/golden/load/stretches.json is how a stretch stands in run.json; it is
written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import InputError
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load import stretch as stretch_module
from pipeline.load.stretch import IDENTITY, Stretch, apply_stretch, fit_stretch
from pipeline.schema import Scene

GOLDEN = Path(__file__).parents[2] / "golden" / "load" / "stretches.json"
MakeTif = Callable[..., str]


def scene_of(path: str) -> Scene:
    return open_scenes(SourceOptions(hrefs=(path,)))[0]


def test_golden_records_round_trip() -> None:
    records = json.loads(GOLDEN.read_text())
    assert [Stretch.from_dict(record).to_dict() for record in records] == records
    assert Stretch.from_dict(records[0]) == IDENTITY


@pytest.mark.parametrize(
    "record",
    [{"kind": "magic", "lo": [0, 0, 0], "hi": [1, 1, 1]}, {"kind": "linear", "lo": [0, 0], "hi": [1, 1, 1]}],
)
def test_refuses_foreign_records(record: dict[str, object]) -> None:
    with pytest.raises(InputError, match="recorded stretch"):
        Stretch.from_dict(record)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "float32", "float64"]
)
@given(data=st.data())
def test_levels_are_the_rounded_line(dtype: str, data: st.DataObject) -> None:
    elements = {"min_value": -1e6, "max_value": 1e6} if dtype.startswith("float") else None
    values = data.draw(hnp.arrays(dtype, (3, 4, 5), elements=elements))
    lo = data.draw(st.floats(-4e4, 4e4))
    hi = lo + data.draw(st.floats(1, 7e4))
    got = apply_stretch(values, Stretch(kind="linear", lo=(lo,) * 3, hi=(hi,) * 3))
    exact = np.clip((values.astype(float) - lo) / (hi - lo), 0, 1) * 255
    assert got.shape == (4, 5, 3)
    assert np.abs(np.moveaxis(got, -1, 0) - exact).max() <= 0.5 + 1e-6


def test_bands_have_their_own_limits_and_places() -> None:
    values = np.stack([np.full((2, 2), value, dtype="uint16") for value in (100, 200, 400)])
    got = apply_stretch(values, Stretch(kind="percentile", lo=(100.0, 0.0, 0.0), hi=(200.0, 400.0, 400.0)))
    assert got[0, 0].tolist() == [0, 128, 255]


def test_identity_keeps_bytes() -> None:
    values = np.arange(60, dtype="uint8").reshape(3, 4, 5)
    assert (apply_stretch(values, IDENTITY) == np.moveaxis(values, 0, -1)).all()


def test_what_is_not_a_number_is_black() -> None:
    values = np.array([np.nan, np.inf, -np.inf], dtype="float32").reshape(3, 1, 1)
    assert apply_stretch(values, Stretch(kind="linear", lo=(0, 0, 0), hi=(1, 1, 1)))[0, 0].tolist() == [
        0,
        255,
        0,
    ]


def test_bytes_are_not_stretched_unless_asked(make_tif: MakeTif) -> None:
    scene = scene_of(make_tif("a.tif", np.zeros((3, 10, 10), dtype="uint8")))
    assert fit_stretch(scene) == IDENTITY
    assert fit_stretch(scene, scale=(10, 200)) == Stretch(kind="linear", lo=(10, 10, 10), hi=(200, 200, 200))


@pytest.mark.parametrize("scale", [(5.0, 5.0), (5.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_refuses_a_scale_that_does_not_rise(make_tif: MakeTif, scale: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="--scale"):
        fit_stretch(scene_of(make_tif("a.tif", np.zeros((3, 10, 10), dtype="uint8"))), scale=scale)


def test_percentiles_are_those_of_the_valid_pixels(make_tif: MakeTif) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(500, 5000, (3, 200, 300)).astype("uint16")
    pixels[:, :80] = 0
    fitted = fit_stretch(scene_of(make_tif("a.tif", pixels, nodata=0)))
    expected = np.percentile(pixels[:, 80:].reshape(3, -1), [2, 98], axis=1)
    assert fitted.kind == "percentile"
    assert fitted.lo == pytest.approx(expected[0])
    assert fitted.hi == pytest.approx(expected[1])


def test_bands_are_fitted_in_their_chosen_order(make_tif: MakeTif) -> None:
    ramp = np.linspace(0, 1000, 100 * 100).reshape(100, 100)
    pixels = np.stack([ramp, ramp + 5000, ramp + 20000]).astype("uint16")
    path = make_tif("a.tif", pixels)
    scene = open_scenes(SourceOptions(hrefs=(path,), bands=(3, 2, 1)))[0]
    assert fit_stretch(scene).lo == pytest.approx((20020, 5020, 20), abs=1)


def test_a_constant_band_becomes_mid_grey(make_tif: MakeTif) -> None:
    pixels = np.full((3, 20, 20), 777, dtype="uint16")
    fitted = fit_stretch(scene_of(make_tif("a.tif", pixels)))
    assert (apply_stretch(pixels, fitted) == 128).all()


def test_overviews_give_nearly_the_same_limits(make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(3, 512, 512)), axis=1), axis=2)
    pixels = np.interp(smooth, (smooth.min(), smooth.max()), (100, 60000)).astype("uint16")
    path = make_tif("a.tif", pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8])
    full = fit_stretch(scene_of(path))
    monkeypatch.setattr(stretch_module, "SAMPLE_SIDE_PX", 128)
    coarse = fit_stretch(scene_of(path))
    assert coarse != full
    spread = np.array(full.hi) - np.array(full.lo)
    assert (np.abs(np.array(coarse.lo) - full.lo) < 0.02 * spread).all()
    assert (np.abs(np.array(coarse.hi) - full.hi) < 0.02 * spread).all()


def test_a_large_file_without_overviews_is_sampled_not_read(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(1000, 3000, (3, 700, 900)).astype("uint16")
    scene = scene_of(make_tif("a.tif", pixels))
    monkeypatch.setattr(stretch_module, "FULL_DECIMATION_PX", 1000)
    monkeypatch.setattr(stretch_module, "_SAMPLE_WINDOW_PX", 16)
    reads = list(stretch_module._sample_reads(rasterio.open(scene.href)))
    assert sum(rows * cols for _, (rows, cols) in reads) == 64 * 256
    assert fit_stretch(scene).lo == pytest.approx((1040, 1040, 1040), abs=25)


def test_nothing_valid_gives_the_full_range(make_tif: MakeTif) -> None:
    scene = scene_of(make_tif("a.tif", np.zeros((3, 10, 10), dtype="int16"), nodata=0))
    assert fit_stretch(scene) == Stretch(kind="percentile", lo=(-32768,) * 3, hi=(32767,) * 3)


def test_an_unreadable_scene_still_gets_a_stretch(make_tif: MakeTif) -> None:
    rng = np.random.default_rng(3)
    path = Path(make_tif("a.tif", rng.integers(0, 60000, (3, 256, 256)).astype("uint16")))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        scene = scene_of(str(path))
    except InputError:
        pytest.skip("the header went with the cut")
    assert fit_stretch(scene).hi == (65535, 65535, 65535)
