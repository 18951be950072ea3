"""Rules of quality masks: what they hide, value by value, and their text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema.quality_rule import QualityRule


def test_values_hide_and_fill_is_no_imagery() -> None:
    rule = QualityRule.of("values:3,8,9,10;fill:0")
    classes = np.arange(12, dtype=np.uint8)
    assert np.flatnonzero(rule.hides(classes)).tolist() == [3, 8, 9, 10]
    assert np.flatnonzero(rule.lacks(classes)).tolist() == [0]


def test_values_of_a_float_raster_that_are_no_numbers_hide() -> None:
    rule = QualityRule.of("values:1")
    assert rule.hides(np.array([0.0, 1.0, np.nan, np.inf])).tolist() == [False, True, True, True]
    assert not rule.lacks(np.array([np.nan])).any()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64"])
def test_one_bit_is_enough(dtype: str) -> None:
    rule = QualityRule.of("bits:1,3;fill:0")
    values = np.arange(64).astype(dtype)
    want = [bool(v >> 1 & 1 or v >> 3 & 1) and not v & 1 for v in range(64)]
    assert rule.hides(values).tolist() == want
    assert rule.lacks(values).tolist() == [bool(v & 1) for v in range(64)]


def test_the_sign_bit_is_a_bit_and_bits_beyond_the_type_are_never_set() -> None:
    assert QualityRule.of("bits:7").hides(np.array([-128, 127], np.int8)).tolist() == [True, False]
    assert not QualityRule.of("bits:8").hides(np.full(3, 255, np.uint8)).any()


def test_a_probability_above_the_limit_hides_and_so_does_an_unknown_one() -> None:
    rule = QualityRule.of("above:50")
    assert rule.hides(np.array([50.0, 50.5, np.nan])).tolist() == [False, True, True]
    assert rule.hides(np.array([[0, 50, 51]], np.uint8)).tolist() == [[False, False, True]]


def test_only_whole_numbers_have_bits() -> None:
    assert QualityRule.of("bits:1").fits("uint16")
    assert not QualityRule.of("bits:1").fits("float32")
    assert QualityRule.of("above:0.5").fits("float32")


@pytest.mark.parametrize(
    "text", ["", "3,8", "none:1", "values:", "values:a", "bits:64", "bits:1.5", "bits:-1", "above:1,2"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rule|bits|could not convert"):
        QualityRule.of(text)


numbers = st.lists(st.integers(0, 63), min_size=1, max_size=5).map(lambda found: tuple(map(float, found)))


@given(kind=st.sampled_from(["values", "bits"]), hide=numbers, fill=st.one_of(st.just(()), numbers))
def test_the_text_says_the_whole_rule(kind: str, hide: tuple[float, ...], fill: tuple[float, ...]) -> None:
    rule = QualityRule(kind=kind, numbers=hide, fill=fill)  # type: ignore[arg-type]
    assert QualityRule.of(str(rule)) == rule


def test_limits_keep_their_fraction() -> None:
    assert str(QualityRule(kind="above", numbers=(0.4,))) == "above:0.4"
