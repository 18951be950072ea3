"""How often each effect of a sensor is drawn, and how far it goes."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.sensor_effects import CLEAN, SensorEffects, draw_sensor


def drawn(n: int, strength: float = 1.0) -> list[SensorEffects]:
    return [draw_sensor(np.random.default_rng(k), strength=strength) for k in range(n)]


def test_about_a_third_of_the_draws_change_nothing() -> None:
    assert np.mean([effects == CLEAN for effects in drawn(2000)]) == pytest.approx(0.35, abs=0.05)


def test_every_effect_is_drawn_now_and_then() -> None:
    effects = drawn(2000)
    for name in SensorEffects.__dataclass_fields__:
        assert any(getattr(item, name) != getattr(CLEAN, name) for item in effects), name


def test_drawn_values_lie_in_their_ranges() -> None:
    for item in drawn(1000):
        assert 0 <= item.haze <= 0.45
        assert item.blur_px == 0 or (0.3 <= item.blur_px <= 1.2 and item.resample == 1)
        assert 0.4 <= item.resample <= 1
        assert max(map(abs, item.colour_shift_xy)) <= 1
        assert item.jpeg_quality is None or 30 <= item.jpeg_quality <= 95


def test_strength_scales_how_far_the_effects_go() -> None:
    for weak, full in zip(drawn(200, 0.5), drawn(200), strict=True):
        assert weak.texture == pytest.approx(full.texture / 2)
        assert weak.seam - 1 == pytest.approx((full.seam - 1) / 2)
        assert 1 - weak.resample == pytest.approx((1 - full.resample) / 2)
