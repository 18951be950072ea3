"""Draw the effects of season, air, optics, detector and processing on a picture.

`draw_sensor` draws some of them, or none for CLEAN_SHARE of the pictures. `sensor.apply_sensor` applies them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLEAN_SHARE = 0.35
"""Share of draws without any effect, so that training also shows pictures as they are rendered."""

SEASONS = (
    ((1.12, 1.38), (0.97, 1.08), (0.70, 0.95)),  # straw
    ((1.10, 1.30), (0.84, 0.95), (0.75, 0.95)),  # brown
    ((0.72, 0.92), (0.78, 0.95), (0.72, 0.95)),  # dark green
)
"""Ranges of the factors on red, green and blue of greenish ground."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorEffects:
    """Strengths of the effects. The defaults change nothing; lengths are pixels of the picture."""

    season: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on red, green and blue of fully green ground."""
    texture: float = 0.0
    """Standard deviation of the relative brightness of the ground texture."""
    haze: float = 0.0
    """Largest share of the veil in a pixel, 0..1."""
    haze_cells: tuple[int, int] = (3, 3)
    """Lattice cells of the veil along and across its direction; unequal numbers make streaks."""
    haze_degrees: float = 0.0
    blur_px: float = 0.0
    """Standard deviation of the point spread."""
    resample: float = 1.0
    """Share of its side to which the picture is reduced before it is enlarged again."""
    gradient_xy: tuple[float, float] = (0.0, 0.0)
    """Relative change of brightness from left to right and from top to bottom."""
    vignette: float = 0.0
    """Relative loss of brightness in the corners."""
    stripes: float = 0.0
    """Standard deviation of the relative gain of the columns."""
    seam: float = 1.0
    """Gain of the far side of a mosaic seam over the near side."""
    seam_degrees: float = 0.0
    """Direction from the near to the far side; 0 = to the right, 90 = downwards."""
    seam_offset: float = 0.0
    """Distance of the seam from the centre, in half sides of the picture."""
    bits: int = 8
    """Bits of the stored numbers, 9 to 16. 8: the picture is not digitised anew."""
    dark: float = 0.0
    """Dark offset as a share of the range of the stored numbers."""
    fill: float = 0.5
    """Share of the range that the brightest pixel reaches above the dark offset."""
    full_well: float = 20_000.0
    """Photo-electrons at the end of the range; fewer make more noise."""
    stretch_share: float = 1.0
    """Stretch between the percentiles of this picture (1) and the full range (0): a whole scene has a wider
    range than this picture.
    """
    colour_ratio: int = 1
    """Pixels of brightness per pixel of colour, along a side."""
    colour_shift_xy: tuple[float, float] = (0.0, 0.0)
    """Pixels by which the colour is moved to the right and downwards."""
    gamma: float = 1.0
    dead_lines: int = 0
    jpeg_quality: int | None = None
    """Quality of the JPEG, 1 to 95. None: it is not compressed."""


CLEAN = SensorEffects()


def draw_sensor(rng: np.random.Generator, *, strength: float = 1.0) -> SensorEffects:
    """Draw the effects on one picture. `strength` scales each: 0 = hardly any change, 1 = as described."""
    if rng.random() < CLEAN_SHARE:
        return CLEAN

    def drawn(chance: float, low: float, high: float) -> float:
        value = float(rng.uniform(low, high)) * strength
        return value if rng.random() < chance else 0.0

    season = SEASONS[int(rng.integers(len(SEASONS)))]
    season_share = drawn(0.35, 1.0, 1.0)
    red, green, blue = (1.0 + (float(rng.uniform(*span)) - 1.0) * season_share for span in season)
    streaks = rng.random() < 0.4
    slope = drawn(0.35, 0.05, 0.35)
    direction = float(rng.uniform(0, 2 * np.pi))
    sharp = rng.random()
    far = drawn(0.25, 0.2, 1.0)
    shift = float(rng.uniform(0, 2 * np.pi))
    loss = drawn(0.45, 5.0, 70.0)
    return SensorEffects(
        season=(red, green, blue),
        texture=drawn(0.4, 0.02, 0.09),
        haze=min(drawn(0.3, 0.08, 0.45), 0.9),
        haze_cells=(int(rng.integers(2, 4)), int(rng.integers(8, 16)))
        if streaks
        else (int(rng.integers(2, 6)), int(rng.integers(2, 6))),
        haze_degrees=float(rng.uniform(0, 180)),
        blur_px=float(rng.uniform(0.3, 1.2)) * strength if sharp < 0.3 else 0.0,
        resample=1.0 - float(rng.uniform(0.1, 0.6)) * min(strength, 1.0) if sharp > 0.75 else 1.0,
        gradient_xy=(slope * float(np.cos(direction)), slope * float(np.sin(direction))),
        vignette=min(drawn(0.2, 0.05, 0.35), 0.9),
        stripes=drawn(0.05, 0.005, 0.03),
        seam=1.0 + drawn(0.12, 0.05, 0.2) * (1 if rng.random() < 0.5 else -1),
        seam_degrees=float(rng.uniform(0, 360)),
        seam_offset=float(rng.uniform(-0.8, 0.8)),
        bits=int(rng.choice([11, 12, 14, 16])) if rng.random() < 0.3 else 8,
        dark=float(rng.uniform(0.0, 0.12)),
        fill=float(rng.uniform(0.2, 0.85)),
        full_well=float(np.exp(rng.uniform(np.log(6_000), np.log(100_000)))),
        stretch_share=float(rng.uniform(0.3, 0.9)) * min(strength, 1.0),
        colour_ratio=int(rng.integers(2, 5)) if far else 1,
        colour_shift_xy=(far * float(np.cos(shift)), far * float(np.sin(shift))),
        gamma=float(np.exp(drawn(0.35, -0.3, 0.3))),
        dead_lines=int(rng.integers(1, 4)) if rng.random() < 0.03 else 0,
        jpeg_quality=max(round(100 - loss), 5) if loss else None,
    )
