"""Grey levels. The golden file tests/golden/load/stretches.json is how a stretch stands in run.json; it is
written by hand.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import InputError
from pipeline.load.stretch import (
    IDENTITY,
    Stretch,
    apply_stretch,
    check_reflectance_range,
    fit_stretch,
    grey_doubt,
    reflectance_stretch,
    without_fill,
)
from pipeline.schema.imagery import Reflectance

GOLDEN = Path(__file__).parents[2] / "golden" / "load" / "stretches.json"


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


def drawn(dtype: str, low: float, high: float, n: int = 5000, bands: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(low, high, n).astype(dtype) for _ in range(bands)]


def test_bytes_are_not_stretched_unless_asked() -> None:
    samples = drawn("uint8", 0, 255)
    assert fit_stretch(samples, "uint8") == (IDENTITY, ())
    linear = Stretch(kind="linear", lo=(10, 10, 10), hi=(200, 200, 200))
    assert fit_stretch(samples, "uint8", scale=(10, 200)) == (linear, ())


@pytest.mark.parametrize("scale", [(5.0, 5.0), (5.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_refuses_a_scale_that_does_not_rise(scale: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="--scale"):
        fit_stretch(drawn("uint8", 0, 9), "uint8", scale=scale)


def test_percentiles_are_those_of_each_bands_own_values() -> None:
    """Bands may have different numbers of values: one of them lacks some."""
    samples = [
        np.arange(100, 1101, dtype="uint16"),
        np.arange(5000, dtype="uint16"),
        np.arange(7, 58).astype("uint16"),
    ]
    fitted, notes = fit_stretch(samples, "uint16")
    assert fitted.kind == "percentile"
    assert fitted.lo == pytest.approx((120, 99.98, 8))
    assert fitted.hi == pytest.approx((1080, 4899.02, 56))
    assert notes == ()
    assert fit_stretch(samples, "uint16", percentiles=(0, 100))[0].hi == (1100, 4999, 57)


def test_a_constant_band_becomes_mid_grey() -> None:
    samples = [np.full(400, 777, dtype="uint16")] * 3
    fitted, _ = fit_stretch(samples, "uint16")
    assert (apply_stretch(np.full((3, 20, 20), 777, dtype="uint16"), fitted) == 128).all()
    assert grey_doubt(samples, fitted).startswith("all of its pixels have the same colour; ")
    assert "--nodata 777" in grey_doubt(samples, fitted)
    assert "--nodata" not in grey_doubt([*samples[:2], samples[2] + 1], fitted)


@pytest.mark.parametrize(
    ("dtype", "lo", "hi"), [("int16", -32768, 32767), ("uint16", 0, 65535), ("float32", 0, 1)]
)
def test_nothing_to_see_gives_the_full_range_and_a_word(dtype: str, lo: float, hi: float) -> None:
    nothing = [np.empty(0, dtype=dtype)] * 3
    fitted, notes = fit_stretch(nothing, dtype)
    assert fitted == Stretch(kind="percentile", lo=(lo,) * 3, hi=(hi,) * 3)
    assert len(notes) == 1
    assert "--scale" in notes[0]
    assert grey_doubt(nothing, fitted) == ""


@pytest.mark.parametrize(("dtype", "fill"), [("int16", -9999), ("float32", -3.4e38), ("uint16", 65535)])
def test_fill_that_nobody_declared_does_not_set_the_limits(dtype: str, fill: float) -> None:
    samples = drawn(dtype, 400, 3000)
    clean, _ = fit_stretch(samples, dtype)
    samples[1] = np.concatenate([samples[1], np.full(300, fill, dtype=dtype)])
    fitted, notes = fit_stretch(samples, dtype)
    assert fitted == clean
    assert len(notes) == 1
    assert f"green is {fill:g}" in notes[0]
    assert f"--nodata {fill:g}" in notes[0]


def test_dark_land_and_saturated_clouds_are_no_fill() -> None:
    land = drawn("uint16", 0, 4000)[0]
    for values in (land, np.concatenate([land, np.full(900, 4095, dtype="uint16")])):
        kept, fill = without_fill(values)
        assert fill is None
        assert kept is values
    for few in ([5], [5, 5], [5, 90], []):
        assert without_fill(np.array(few, dtype="uint16"))[1] is None


def test_a_result_that_is_nearly_black_or_white_is_told() -> None:
    samples = drawn("uint16", 200, 3000)
    fitted, _ = fit_stretch(samples, "uint16")
    assert grey_doubt(samples, fitted) == ""
    for scale, word in (((0.0, 65535.0), "nearly black"), ((0.0, 150.0), "nearly white")):
        linear, _ = fit_stretch(samples, "uint16", scale=scale)
        assert word in grey_doubt(samples, linear)
    assert "nearly black" in grey_doubt(drawn("uint8", 0, 12), IDENTITY)
    clouds = [np.concatenate([band, np.full(300, 60000, dtype="uint16")]) for band in samples]
    fitted, _ = fit_stretch(clouds, "uint16")
    assert fitted.hi[0] == 60000 or "nearly black" not in grey_doubt(clouds, fitted)


REFLECTANCES = {
    "S2 since baseline 04.00": (Reflectance(scale=1e-4, offset=-0.1, source="a"), "uint16"),
    "S2 before": (Reflectance(scale=1e-4, offset=0.0, source="b"), "uint16"),
    "signed": (Reflectance(scale=1e-4, offset=0.0, source="c"), "int16"),
    "twice as fine": (Reflectance(scale=5e-5, offset=-0.2, source="d"), "uint16"),
    "wide": (Reflectance(scale=1e-5, offset=0.05, source="e"), "int32"),
    "32 bits": (Reflectance(scale=1.0, offset=0.0, source="f"), "float32"),
    "64 bits": (Reflectance(scale=0.01, offset=-1.0, source="g"), "float64"),
}


def stored(steps: np.ndarray, reflectance: Reflectance, dtype: str) -> np.ndarray:
    """How a provider stores a reflectance of `steps` / 10000, by exact arithmetic where it is whole."""
    scale, offset = Fraction(str(reflectance.scale)), Fraction(str(reflectance.offset))
    values = [(Fraction(int(step), 10_000) - offset) / scale for step in steps.ravel()]
    if np.issubdtype(np.dtype(dtype), np.integer):
        assert all(value.denominator == 1 for value in values)
    return np.array([float(value) for value in values]).astype(dtype).reshape(steps.shape)


@pytest.mark.parametrize("limits", [(0.0, 0.3), (0.02, 0.17), (-0.1, 1.0)])
def test_one_reflectance_has_one_grey_however_it_is_stored(limits: tuple[float, float]) -> None:
    """Every ten-thousandth of reflectance, with those that lie between two grey levels."""
    steps = np.tile(np.arange(0, 6000), (3, 1, 1))
    levels = {
        name: apply_stretch(stored(steps, known, dtype), reflectance_stretch(known, limits))
        for name, (known, dtype) in REFLECTANCES.items()
    }
    first = levels["S2 before"]
    lo, hi = limits
    exact = np.clip((steps[0, 0] / 10_000 - lo) / (hi - lo), 0, 1) * 255
    assert np.abs(first[0, :, 0] - exact).max() < 0.5 + 2e-4
    for name, own in levels.items():
        assert (own == first).all(), name


@given(data=st.data())
def test_grey_depends_on_reflectance_alone(data: st.DataObject) -> None:
    """Any scale and offset of whole ten-thousandths: the same ground, stored in two ways, has equal bytes."""
    steps = data.draw(hnp.arrays(np.int64, (3, 4, 5), elements=st.integers(0, 3500)))
    found = []
    for _ in range(2):
        finer = data.draw(st.sampled_from([1, 2, 4, 5]))
        shift = data.draw(st.integers(-2000, 0))
        dtype = data.draw(st.sampled_from(["uint16", "int32", "float32", "float64"]))
        known = Reflectance(scale=1e-4 / finer, offset=shift / 10_000, source="drawn")
        values = ((steps - shift) * finer).astype(dtype)
        found.append(apply_stretch(values, reflectance_stretch(known, (0.0, 0.3))))
    assert (found[0] == found[1]).all()


def test_reflectance_below_and_above_the_range_is_clipped() -> None:
    known, _ = REFLECTANCES["S2 since baseline 04.00"]
    values = np.array([0, 900, 1000, 2500, 4000, 65535], dtype="uint16")
    got = apply_stretch(np.tile(values, (3, 1, 1)), reflectance_stretch(known, (0.0, 0.3)))
    assert got[0, :, 1].tolist() == [0, 0, 0, 128, 255, 255]


def test_each_band_may_have_coefficients_of_its_own() -> None:
    """One reflectance, 0.15 of 0.3, is stored as 2500, 1500 and 3000."""
    known = Reflectance(
        scale=1e-4, offset=-0.1, source="a test", by_band=((1e-4, -0.1), (1e-4, 0.0), (5e-5, 0.0))
    )
    stretch = reflectance_stretch(known, (0.0, 0.3))
    assert (stretch.lo, stretch.hi) == ((1000.0, 0.0, 0.0), (4000.0, 3000.0, 6000.0))
    values = np.array([2500, 1500, 3000], dtype="uint16")[:, None, None]
    assert apply_stretch(values, stretch).tolist() == [[[128, 128, 128]]]
    assert stretch.meaning == (
        "reflectance 0..0.3 = value * 0.0001 - 0.1 in red, value * 0.0001 + 0 in green, "
        "value * 5e-05 + 0 in blue, by a test"
    )
    assert Stretch.from_dict(stretch.to_dict()) == stretch


def test_the_record_says_what_was_mapped_and_who_said_so() -> None:
    known = Reflectance(scale=2.75e-5, offset=-0.2, source="Landsat Collection 2")
    found = reflectance_stretch(known, (0.0, 0.3))
    assert found.meaning == "reflectance 0..0.3 = value * 2.75e-05 - 0.2, by Landsat Collection 2"
    assert found.lo[0] == pytest.approx(7272.727, abs=1e-3)  # USGS: valid from 7273
    assert Stretch.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("limits", [(0.3, 0.0), (0.1, 0.1), (float("nan"), 1.0), (0.0, 3000.0), (-5.0, 1.0)])
def test_refuses_a_range_that_is_none_of_reflectance(limits: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="range of reflectance"):
        check_reflectance_range(limits)
