"""Each effect does what its name says on a picture small enough to check by hand; black stays black; labels'
fields keep their colours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.finetune import sensor
from pipeline.finetune.sensor import apply_sensor
from pipeline.finetune.sensor_effects import CLEAN, SensorEffects
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.render import render


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def flat(colour: tuple[int, int, int], side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


EVERYTHING = SensorEffects(
    season=(1.3, 1.0, 0.8), texture=0.05, haze=0.3, haze_cells=(3, 12), haze_degrees=30.0, blur_px=0.7,
    resample=0.6, gradient_xy=(0.1, 0.1), vignette=0.2, stripes=0.02, seam=1.1, seam_degrees=20.0, bits=12,
    dark=0.05, colour_ratio=3, colour_shift_xy=(0.5, -0.5), gamma=1.2, dead_lines=1, jpeg_quality=60,
)  # fmt: skip


def test_no_effect_returns_an_equal_copy() -> None:
    rgb = generator().integers(0, 256, (40, 50, 3), dtype=np.uint8)
    out = apply_sensor(rgb, CLEAN, generator(), free=np.ones((40, 50), bool))
    assert np.array_equal(out, rgb)
    assert not np.shares_memory(out, rgb)
    almost = apply_sensor(
        rgb, replace(CLEAN, haze_degrees=9.0), generator()
    )  # every step is asked and declines
    assert np.array_equal(almost, rgb)
    assert not np.shares_memory(almost, rgb)


def test_same_generator_same_picture_and_the_input_is_untouched() -> None:
    rgb = generator().integers(1, 256, (90, 70, 3), dtype=np.uint8)
    before = rgb.copy()
    free = np.ones((90, 70), bool)
    one, two = (apply_sensor(rgb, EVERYTHING, np.random.default_rng(1), free=free) for _ in range(2))
    assert one.shape == rgb.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, two)
    assert not np.array_equal(one, apply_sensor(rgb, EVERYTHING, np.random.default_rng(2), free=free))
    assert np.array_equal(rgb, before)


def test_black_stays_black_and_nothing_else_becomes_black() -> None:
    rgb = generator().integers(0, 30, (96, 96, 3), dtype=np.uint8)
    rgb[:, 60:] = 0
    black = (rgb == 0).all(-1)
    for effects in (EVERYTHING, replace(EVERYTHING, gamma=3.0), replace(EVERYTHING, haze=0.0, bits=16)):
        out = apply_sensor(rgb, effects, generator(), free=np.ones((96, 96), bool))
        assert np.array_equal((out == 0).all(-1), black)
    assert not apply_sensor(np.zeros((64, 64, 3), np.uint8), EVERYTHING, generator()).any()


def test_season_turns_green_ground_and_spares_objects_and_grey() -> None:
    rgb = np.concatenate([flat((60, 110, 40), 8), flat((100, 100, 100), 8)], axis=1)
    free = np.zeros((8, 16), bool)
    free[:4] = True
    out = sensor.shift_season(rgb, (1.5, 1.0, 0.5), free)
    assert out[0, 0].tolist() == [90, 110, 20]  # greenness 2.5 * 60 / 96 > 1: the whole factor
    assert np.array_equal(out[4:], rgb[4:])
    assert np.array_equal(out[:, 8:], rgb[:, 8:])
    assert np.array_equal(
        apply_sensor(rgb, SensorEffects(season=(1.5, 1.0, 0.5)), generator()), rgb
    )  # no free pixels named


@pytest.mark.parametrize("seed", [100_003, 100_014])
def test_season_leaves_the_fields_of_a_world_alone(seed: int) -> None:
    rendering = render(World.from_seed(seed), Window(row0=0, col0=0, row1=400, col1=400))
    free = rendering.labels == 0
    out = apply_sensor(rendering.rgb, SensorEffects(season=(1.4, 1.0, 0.7)), generator(), free=free)
    assert not free.all()
    assert np.array_equal(out[~free], rendering.rgb[~free])


def test_texture_has_the_wanted_spread_around_one() -> None:
    gain = sensor.texture_gain((300, 200), 0.05, generator())
    assert gain.shape == (300, 200)
    assert float(gain.std()) == pytest.approx(0.05, rel=0.05)
    assert float(gain.mean()) == pytest.approx(1.0, abs=0.03)


def test_haze_brightens_dark_ground_unevenly_and_up_to_its_share() -> None:
    out = sensor.add_haze(flat((0, 0, 0), 128), SensorEffects(haze=0.4), generator()).astype(int)
    assert out.min() == 0
    assert 0.4 * 214 * 0.8 * 0.9 < out.max() <= 0.4 * 228 * 1.08 * 1.05
    assert np.abs(np.diff(out, axis=0)).max() <= 6  # slow


def test_blur_spreads_a_point_and_keeps_its_sum() -> None:
    rgb = flat((0, 0, 0), 21)
    rgb[10, 10] = 250
    out = sensor.blur(rgb, 1.0)[..., 0].astype(float)
    assert out[10, 10] == out.max() < 100
    assert out[10, 9] == out[9, 10] > 10
    assert out.sum() == pytest.approx(250, rel=0.15)
    assert np.array_equal(sensor.blur(rgb, 0.0), rgb)


def test_resampling_removes_what_is_finer_than_the_coarse_pixel() -> None:
    rgb = flat((0, 0, 0), 64)
    rgb[:, ::2] = 200
    assert np.abs(sensor.resample(rgb, 0.5).astype(int) - 100).max() <= 1
    wide = flat((0, 0, 0), 64)
    wide[:, 32:] = 200
    out = sensor.resample(wide, 0.5)
    assert np.abs(out[:, 40:].astype(int) - 200).max() <= 1
    assert out[:, :24].max() <= 1


def test_gradient_and_vignette() -> None:
    slope = sensor.illumination_gain((2, 4), (0.4, 0.0), 0.0)
    np.testing.assert_allclose(slope, np.tile([0.85, 0.95, 1.05, 1.15], (2, 1)), rtol=1e-6)
    dark = sensor.illumination_gain((101, 101), (0.0, 0.0), 0.3)
    assert dark[50, 50] == pytest.approx(1.0)
    assert dark[0, 0] == pytest.approx(0.7, abs=0.01)


def test_the_sides_of_a_seam_differ_by_its_gain() -> None:
    gain = sensor.seam_gain((4, 8), SensorEffects(seam=1.21, seam_degrees=0.0, seam_offset=0.5))
    np.testing.assert_allclose(gain[:, :6], 1 / 1.1, rtol=1e-6)
    np.testing.assert_allclose(gain[:, 6:], 1.1, rtol=1e-6)
    out = apply_sensor(flat((100, 100, 100)), SensorEffects(seam=1.21, seam_degrees=90.0), generator())
    assert np.unique(out[:32]).tolist() == [91]
    assert np.unique(out[32:]).tolist() == [110]


def test_stripes_are_constant_along_the_flight() -> None:
    seen = set()
    for seed in range(8):
        gain = sensor.stripe_gain((200, 300), 0.02, np.random.default_rng(seed))
        along = [axis for axis in (0, 1) if not np.ptp(gain, axis=axis).any()]
        assert len(along) == 1
        seen.add(along[0])
        assert float(gain.std()) == pytest.approx(0.02, rel=0.25)
    assert seen == {0, 1}


def test_digitising_without_noise_stretches_as_the_loader_does() -> None:
    ramp = np.repeat(np.arange(50, 150, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2)
    quiet = SensorEffects(bits=16, dark=0.1, fill=0.8, full_well=1e12)
    valid = np.ones((100, 100), bool)
    out = sensor.digitise(ramp, quiet, generator(), valid=valid)
    low, high = np.percentile(np.arange(50, 150), (2, 98))
    expected = np.rint(np.clip((np.arange(50, 150) - low) / (high - low) * 255, 0, 255))
    assert np.abs(out[0, :, 1] - expected).max() <= 1
    unstretched = sensor.digitise(ramp, replace(quiet, stretch_share=0.0), generator(), valid=valid)
    assert np.abs(unstretched.astype(int) - ramp).max() <= 1


def test_photon_noise_grows_with_the_root_of_the_signal() -> None:
    rgb = np.concatenate([flat((40, 40, 40), 200), flat((160, 160, 160), 200)], axis=1)
    effects = SensorEffects(bits=16, fill=0.8, full_well=2_000.0, stretch_share=0.0)
    out = sensor.digitise(rgb, effects, generator(), valid=np.ones((200, 400), bool)).astype(float)
    assert out[:, 200:].std() / out[:, :200].std() == pytest.approx(2.0, rel=0.05)
    assert out[:, :200].std() == pytest.approx(255 * (40 / 255 / 0.8 / 2000) ** 0.5, rel=0.05)


def test_nodata_has_no_part_in_the_stretch() -> None:
    rgb = np.repeat(np.arange(50, 150, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2)
    quiet = SensorEffects(bits=16, full_well=1e12)
    whole = apply_sensor(rgb, quiet, generator())
    half = rgb.copy()
    half[50:] = 0
    assert np.abs(apply_sensor(half, quiet, generator())[:50].astype(int) - whole[:50]).max() <= 1


def test_misregistration_moves_colour_and_leaves_brightness() -> None:
    rgb = np.concatenate([flat((200, 60, 60), 16), flat((60, 130, 60), 16)], axis=1)
    out = sensor.misregister(rgb, 1, (1.0, 0.0)).astype(int)
    weights = np.asarray([0.299, 0.587, 0.114])
    assert np.abs(out[:, :15] - rgb[:, :15]).max() <= 3
    assert np.abs(out[:, 17:] - rgb[:, 17:]).max() <= 3
    assert out[5, 16, 0] > out[5, 16, 1] + 80  # the first green column is red now
    assert np.abs(out[5, 16] @ weights - rgb[5, 16] @ weights) <= 8
    back = sensor.misregister(rgb, 1, (-1.0, 0.0)).astype(int)
    assert back[5, 15, 1] > back[5, 15, 0]  # the last red column is green


def test_half_a_pixel_is_the_mean_of_two() -> None:
    band = np.repeat(np.asarray([[0, 0, 100, 100]], np.uint8), 3, 0)
    assert sensor._moved(band, (0.5, 0.0))[1].tolist() == [0, 0, 50, 100]
    assert sensor._moved(band, (-0.5, 0.0))[1].tolist() == [0, 50, 100, 100]
    assert sensor._moved(band.T.copy(), (0.0, 0.5))[:, 1].tolist() == [0, 0, 50, 100]


def test_gamma() -> None:
    assert sensor.bend(flat((128, 255, 0), 2), 2.0)[0, 0].tolist() == [64, 255, 0]


def test_dead_lines_are_few_and_dark() -> None:
    out = sensor.kill_lines(flat((90, 90, 90)), 2, generator())
    dark = np.flatnonzero((out == 30).all((1, 2)))
    assert 1 <= len(dark) <= 2
    assert (np.delete(out, dark, axis=0) == 90).all()


def test_jpeg_keeps_a_constant_and_damages_noise_more_the_lower_its_quality() -> None:
    grey = flat((77, 77, 77))
    assert np.array_equal(sensor.compress(grey, 30), grey)
    noise = generator().integers(0, 256, (64, 64, 3), dtype=np.uint8)
    errors = [np.abs(sensor.compress(noise, quality).astype(int) - noise).mean() for quality in (30, 60, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
