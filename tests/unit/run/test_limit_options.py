"""Limits of time and of failures, as a user may write them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.run.config import build_preset, known_presets, preset_tables
from pipeline.run.limit_options import LimitOptions


@pytest.mark.parametrize("name", known_presets())
def test_every_preset_has_limits(name: str) -> None:
    limits = build_preset(preset_tables(name)).limits
    assert 60 <= limits.tile_s < limits.block_s


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"tile_s": 0}, "tile_s is a positive number of seconds"),
        ({"block_s": float("inf")}, "block_s is a positive number of seconds"),
        ({"source_pause_s": -1.0}, "source_pause_s is a positive number"),
        ({"source_failures": -1}, "source_failures must not be negative"),
        ({"failures_in_row": -5}, "failures_in_row must not be negative"),
        ({"tiles_s": 5}, "did you mean 'tile_s'"),
    ],
)
def test_what_makes_no_sense_is_refused(table: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build_preset({**preset_tables("embedded"), "limits": table})


def test_zero_turns_a_breaker_off() -> None:
    assert LimitOptions(source_failures=0, first_failures=0, failures_in_row=0).first_failures == 0
