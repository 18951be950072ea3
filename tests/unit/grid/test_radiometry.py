"""What --radiometry says."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.grid.radiometry import LANDSAT_C2_L2, SENTINEL_2_L2A, decided, parse_radiometry
from pipeline.schema.imagery import Reflectance


def test_words_presets_and_numbers() -> None:
    assert parse_radiometry("auto") == "auto"
    assert parse_radiometry(" Stored ") == "stored"
    assert parse_radiometry("sentinel-2-l2a") is SENTINEL_2_L2A
    assert parse_radiometry("LANDSAT-C2-L2") is LANDSAT_C2_L2
    assert parse_radiometry("0.0001,-0.1") == Reflectance(scale=0.0001, offset=-0.1, source="--radiometry")
    assert parse_radiometry("1e-4, 0") == Reflectance(scale=0.0001, offset=0.0, source="--radiometry")


@pytest.mark.parametrize(
    "text", ["", "sentinel-2", "0.0001", "1,2,3", "0,0", "-1,0", "nan,0", "1,inf", "0.0001;0", "a,b"]
)
def test_anything_else_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(InputError, match=r"auto, stored, sentinel-2-l2a, landsat-c2-l2.*e\.g\. --radiometry"):
        parse_radiometry(text)


def test_presets_are_those_of_the_providers() -> None:
    """Worked examples: 18,639 of Landsat is 0.313 (USGS FAQ), and ESA's (DN - 1000) / 10000."""
    assert 18_639 * LANDSAT_C2_L2.scale + LANDSAT_C2_L2.offset == pytest.approx(0.313, abs=5e-4)
    assert 4000 * SENTINEL_2_L2A.scale + SENTINEL_2_L2A.offset == pytest.approx(0.3)


def test_the_user_wins_over_what_a_scene_says() -> None:
    own = Reflectance(scale=2.0, offset=1.0, source="the file's tags")
    assert decided("auto", own) is own
    assert decided("auto", None) is None
    assert decided("stored", own) is None
    assert decided(SENTINEL_2_L2A, own) is SENTINEL_2_L2A
    assert decided(SENTINEL_2_L2A, None) is SENTINEL_2_L2A
