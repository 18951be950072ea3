"""Simulate what a sensor does to a picture: season, air, optics, detector and processing.

`apply_sensor` applies what `sensor_effects.draw_sensor` drew. Labels stay as they are.

1. Ground: `shift_season` recolours greenish ground without labels, `texture_gain` adds noise of several
   scales.
2. Air: `add_haze`.
3. Optics: `blur` or `resample`, never both, so that an object of 8 px stays visible.
4. Detector: `detector_gain` (illumination, stripes, seam), then `digitise` (11 to 16 bits, and the loader's
   percentile stretch).
5. Processing: `misregister`, `bend` (gamma), `kill_lines`, `compress` (JPEG).
6. In the end, exactly those pixels are black that were black (nodata) before.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.sensor_effects import CLEAN, SensorEffects
from pipeline.load.stretch import Stretch, apply_stretch

TEXTURE_PERIODS_PX = (3, 12, 48)
"""Lattice spacings of the ground texture, in pixels."""

PERCENTILES = (2.0, 98.0)
"""Percentiles of the loader's default stretch."""

PATTERN_PX = 96
"""Side of smooth patterns, in pixels, before they are enlarged."""

Rgb = NDArray[np.uint8]
Gain = NDArray[np.float32]


def apply_sensor(
    rgb: Rgb, effects: SensorEffects, rng: np.random.Generator, *, free: NDArray[np.bool_] | None = None
) -> Rgb:
    """Make a new picture (H, W, 3) uint8 as the sensor would deliver it; the input stays as it is.

    `free` (H, W): True where no labelled object lies. Only there may the season change; None: nowhere. `rng`
    draws patterns and noise. Pixels that are 0 in all bands stay 0; all others keep at least one band above
    0. There is no sun glint on water: it depends on the angle of waves, which the renderer does not have.
    """
    if effects == CLEAN:
        return rgb.copy()
    nodata = _black(rgb)
    out = rgb if free is None else shift_season(rgb, effects.season, free & ~nodata)
    if effects.texture:
        out = _times(out, texture_gain(rgb.shape[:2], effects.texture, rng))
    if effects.haze:
        out = add_haze(out, effects, rng)
    out = resample(blur(out, effects.blur_px), effects.resample)
    gain = detector_gain(rgb.shape[:2], effects, rng)
    if gain is not None:
        out = _times(out, gain)
    out = digitise(out, effects, rng, valid=~nodata)
    out = misregister(out, effects.colour_ratio, effects.colour_shift_xy)
    out = bend(out, effects.gamma)
    out = kill_lines(out, effects.dead_lines, rng)
    out = compress(out, effects.jpeg_quality)
    out = out.copy() if out is rgb else out
    out[_black(out)] = 1
    out[nodata] = 0
    return out


def _black(rgb: Rgb) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (rgb[..., 0] | rgb[..., 1] | rgb[..., 2]) == 0
    return found


def _to_bytes(values: NDArray[np.float32]) -> Rgb:
    """Round and clip to 0..255; overwrites `values`."""
    values += np.float32(0.5)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def _times(rgb: Rgb, gain: Gain) -> Rgb:
    """Multiply rgb by a gain (H, W)."""
    return _to_bytes(np.multiply(rgb, gain[..., None], dtype=np.float32))


def _enlarged(field: NDArray[np.floating], shape: tuple[int, int]) -> Gain:
    """Enlarge a small field smoothly to (H, W)."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(field, np.float32)).resize(
        shape[::-1], Image.Resampling.BICUBIC
    )
    return np.asarray(image, np.float32).copy()


def shift_season(rgb: Rgb, season: tuple[float, float, float], free: NDArray[np.bool_]) -> Rgb:
    """Multiply red, green and blue of `free` pixels by `season`, in proportion to how green they are.

    They become straw, brown or dark green. Labelled pixels must not change: a green field could become a ripe
    one, and its label would be wrong. Greenness is 2.5 times the excess of green over the mean of red and
    blue, relative to the brightness, clipped to 0..1.
    """
    if season == (1.0, 1.0, 1.0):
        return rgb
    red, green, blue = (rgb[..., band].astype(np.float32) for band in range(3))
    others = (red + blue) / 2
    weight: Gain = (
        np.clip(2.5 * (green - others) / ((green + others) / 2 + 16), 0, 1).astype(np.float32) * free
    )
    return np.stack(
        [
            _to_bytes(band * (1 + weight * np.float32(factor - 1)))
            for band, factor in zip((red, green, blue), season, strict=True)
        ],
        axis=-1,
    )


def texture_gain(shape: tuple[int, int], amount: float, rng: np.random.Generator) -> Gain:
    """Make gains (H, W) around 1 with standard deviation `amount`.

    They are noise of the periods TEXTURE_PERIODS_PX, with random weights.
    """
    total = np.zeros(shape, np.float32)
    for period in TEXTURE_PERIODS_PX:
        lattice = rng.standard_normal((shape[0] // period + 2, shape[1] // period + 2), dtype=np.float32)
        total += _enlarged(lattice, shape) * np.float32(rng.uniform(0.3, 1.0))
    total *= np.float32(amount / max(float(total.std()), 1e-6))
    return np.clip(1 + total, 0.5, 1.5)


def add_haze(rgb: Rgb, effects: SensorEffects, rng: np.random.Generator) -> Rgb:
    """Mix every pixel with a bluish white by a slowly varying share of 0 to `effects.haze`.

    The veil has round patches (haze) or streaks (thin cirrus).
    """
    from PIL import Image

    side = PATTERN_PX * 3 // 2  # large enough that the turned pattern still covers the middle
    along, across = effects.haze_cells
    pattern = Image.fromarray(_enlarged(rng.random((across + 1, along + 1)), (side, side)))
    pattern = pattern.rotate(effects.haze_degrees, Image.Resampling.BILINEAR)
    edge = PATTERN_PX // 4
    middle = np.asarray(pattern)[edge : edge + PATTERN_PX, edge : edge + PATTERN_PX]
    share = np.clip((middle - middle.min()) / max(float(np.ptp(middle)), 1e-6), 0, 1) ** 1.5 * effects.haze
    veil = np.asarray([214, 220, 228], np.float32) * np.float32(rng.uniform(0.8, 1.08))
    share_at = np.clip(_enlarged(share, rgb.shape[:2]), 0, 1)[..., None]
    values = np.multiply(rgb, 1 - share_at, dtype=np.float32)
    values += share_at * veil
    return _to_bytes(values)


def blur(rgb: Rgb, sigma_px: float) -> Rgb:
    """Blur with a Gaussian point spread, as PIL approximates it."""
    from PIL import Image, ImageFilter

    if sigma_px <= 0:
        return rgb
    return np.array(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma_px)))


def resample(rgb: Rgb, share: float) -> Rgb:
    """Reduce the sides to `share` (area mean) and enlarge again (bicubic).

    So looks imagery that is stored at a finer resolution than it was taken.
    """
    from PIL import Image

    if share >= 1:
        return rgb
    height, width = rgb.shape[:2]
    small = Image.fromarray(rgb).resize(
        (max(round(width * share), 1), max(round(height * share), 1)), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def detector_gain(shape: tuple[int, int], effects: SensorEffects, rng: np.random.Generator) -> Gain | None:
    """Multiply the gains (H, W) of illumination, stripes and seam. None: all are 1."""
    gains = []
    if effects.gradient_xy != (0.0, 0.0) or effects.vignette:
        gains.append(illumination_gain(shape, effects.gradient_xy, effects.vignette))
    if effects.stripes:
        gains.append(stripe_gain(shape, effects.stripes, rng))
    if effects.seam != 1.0:
        gains.append(seam_gain(shape, effects))
    if not gains:
        return None
    total = gains[0]
    for gain in gains[1:]:
        total = total * gain
    return total


def _axes(shape: tuple[int, int]) -> tuple[Gain, Gain]:
    """Make x (1, W) and y (H, 1) of the pixel centres, -1..1 from edge to edge."""
    y, x = ((np.arange(n, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / n) - 1 for n in shape)
    return x[None, :], y[:, None]


def illumination_gain(shape: tuple[int, int], gradient_xy: tuple[float, float], vignette: float) -> Gain:
    """Make gains of 1 in the centre that change by `gradient_xy` and lose `vignette` in the corners."""
    x, y = _axes(shape)
    slope = 1 + np.float32(gradient_xy[0] / 2) * x + np.float32(gradient_xy[1] / 2) * y
    return slope - np.float32(vignette / 2) * (x * x + y * y)


def stripe_gain(shape: tuple[int, int], amount: float, rng: np.random.Generator) -> Gain:
    """Draw one gain per column, or per row, around 1 with standard deviation `amount`.

    A line scanner with unequal detectors makes such stripes.
    """
    flown_down = rng.random() < 0.5
    line = 1 + np.float32(amount) * rng.standard_normal(
        shape[1] if flown_down else shape[0], dtype=np.float32
    )
    return np.broadcast_to(line[None, :] if flown_down else line[:, None], shape)


def seam_gain(shape: tuple[int, int], effects: SensorEffects) -> Gain:
    """Make gains of 1 / sqrt(seam) before and sqrt(seam) beyond a line, as in a mosaic of two scenes."""
    x, y = _axes(shape)
    angle = np.deg2rad(effects.seam_degrees)
    far = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) > effects.seam_offset
    root = effects.seam**0.5
    return np.where(far, np.float32(root), np.float32(1 / root))


def digitise(rgb: Rgb, effects: SensorEffects, rng: np.random.Generator, *, valid: NDArray[np.bool_]) -> Rgb:
    """Store as numbers of `effects.bits` bits with noise, then bring them back to 8 bits as the loader does.

    A number is dark offset + brightness * fill, as shares of the range; n electrons have a noise of sqrt(n).
    The limits of the stretch lie between the percentiles of this picture's `valid` pixels and the full range.
    """
    if effects.bits <= 8 or not valid.any():
        return rgb
    top = float(2**effects.bits - 1)
    span = effects.fill * top
    base = effects.dark * top
    share = np.moveaxis(rgb, -1, 0).astype(np.float32) * np.float32(1 / 255)
    noise = rng.standard_normal(share.shape, dtype=np.float32)
    noise *= np.sqrt(share * np.float32(effects.fill / effects.full_well))
    share *= np.float32(span)
    share += noise * np.float32(top)
    share += np.float32(base + 0.5)
    stored = np.clip(share, 0, top, out=share).astype(np.uint16)
    step = max(1, int((valid.size / 50_000) ** 0.5))
    sample = stored[:, ::step, ::step][:, valid[::step, ::step]]
    sample = sample if sample.size else stored[:, valid]
    low_cut, high_cut = np.percentile(sample, PERCENTILES, axis=1)
    part = effects.stretch_share
    low = low_cut * part + base * (1 - part)
    high = np.maximum(high_cut * part + (base + span) * (1 - part), low + 1)
    red, green, blue = ((float(a), float(b)) for a, b in zip(low, high, strict=True))
    limits = Stretch(kind="percentile", lo=(red[0], green[0], blue[0]), hi=(red[1], green[1], blue[1]))
    return apply_stretch(stored, limits)


def misregister(rgb: Rgb, ratio: int, shift_xy: tuple[float, float]) -> Rgb:
    """Coarsen the colour `ratio` times per side and move it by `shift_xy` pixels (right, down).

    So looks pan-sharpened imagery. The brightness stays.
    """
    from PIL import Image

    if ratio == 1 and shift_xy == (0.0, 0.0):
        return rgb
    height, width = rgb.shape[:2]
    small = (max(width // ratio, 1), max(height // ratio, 1))
    brightness, *colours = Image.fromarray(rgb).convert("YCbCr").split()
    moved = []
    for colour in colours:
        coarse = (
            colour.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
            if ratio > 1
            else colour
        )
        moved.append(Image.fromarray(_moved(np.asarray(coarse), shift_xy)))
    return np.array(Image.merge("YCbCr", (brightness, *moved)).convert("RGB"))


def _moved(band: NDArray[np.uint8], shift_xy: tuple[float, float]) -> NDArray[np.uint8]:
    """Move a band (H, W) by at most one pixel in x and y, linear between pixels; edges are repeated."""
    values = band.astype(np.float32)
    for axis, shift in ((1, shift_xy[0]), (0, shift_xy[1])):
        step = 1 if shift > 0 else -1
        part = np.float32(min(abs(shift), 1.0))
        neighbour = np.roll(values, step, axis)
        edge = 0 if step > 0 else -1
        if axis == 1:
            neighbour[:, edge] = values[:, edge]
        else:
            neighbour[edge] = values[edge]
        values = values + (neighbour - values) * part
    return _to_bytes(values)


def bend(rgb: Rgb, gamma: float) -> Rgb:
    """Compute 255 * (v / 255) ** gamma."""
    if gamma == 1.0:
        return rgb
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[rgb]


def kill_lines(rgb: Rgb, n_lines: int, rng: np.random.Generator) -> Rgb:
    """Replace `n_lines` rows by the row above at a third of its brightness, as a failing detector does."""
    if not n_lines:
        return rgb
    out = rgb.copy()
    for row in rng.integers(1, rgb.shape[0], n_lines):
        out[row] = rgb[row - 1] // 3
    return out


def compress(rgb: Rgb, quality: int | None) -> Rgb:
    """Write a JPEG of that quality in memory and read it back."""
    from PIL import Image

    if quality is None:
        return rgb
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=min(quality, 95))
    return np.array(Image.open(file))
