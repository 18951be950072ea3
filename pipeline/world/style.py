"""The look of one world: palettes, sun, sensor and land use, all derived from the seed.

A model trained on one look fails on the next sensor, so every parameter varies widely between seeds.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import CLASSES
from pipeline.world.hashing import direction, hash_cell, unit

# Indexes into Style.numbers.
MESH_COS = 0
MESH_SIN = 1
SUPER = 2
ASPECT = 3
JITTER = 4
T_URBAN = 5
T_AGRI = 6
P_MIXED = 7
SUN_X = 8
SUN_Y = 9
SHADOW_SLOPE = 10
SHADOW_DARK = 11
TREE_LEVEL = 12
FOREST = 13
TREE_SIZE = 14
PATHS = 15
BARE = 16
GROUND_CONTRAST = 17
CLOUD = 18
BLUR = 19
NOISE = 20
GAIN_R = 21
GAIN_G = 22
GAIN_B = 23
HAZE = 24
SATURATION = 25
CONTRAST = 26
BRIGHTNESS = 27
GAMMA = 28
ROW_VISIBLE = 29
FIELD_MIX = 30
ROAD_WIDTH = 31
PAVED = 32
HOUSE_SIZE = 33
DENSE = 34
TEXTURE = 35
P_LAKE = 36
P_RUNWAY = 37
POOLS = 38
NUMBERS = 40

# First rows of the groups of Style.palette (n, 3).
GROUND = 0
SOIL = 6
TREE = 9
WATER = 12
ROOF = 16
RIPE_C = 24
GREEN_C = 28
ROAD = 32
PANEL = 34
HAZE_C = 36
TARMAC = 37
TANK_C = 39
PALETTE_ROWS = 43

_BIOMES: Final = (
    ((98, 116, 66), (128, 138, 86), (76, 96, 54), (118, 98, 74), (46, 68, 38)),  # meadow
    ((74, 104, 52), (96, 124, 64), (56, 84, 44), (124, 94, 66), (34, 62, 30)),  # lush
    ((188, 162, 122), (206, 184, 146), (164, 136, 100), (196, 176, 140), (84, 92, 58)),  # desert
    ((154, 110, 84), (134, 114, 78), (112, 106, 70), (160, 110, 82), (58, 78, 40)),  # red earth
    ((126, 108, 84), (146, 126, 98), (104, 92, 70), (110, 88, 68), (62, 74, 46)),  # ploughland
    ((212, 216, 220), (194, 200, 206), (176, 178, 176), (158, 150, 138), (78, 88, 76)),  # pale, snow
    ((64, 80, 50), (52, 70, 44), (86, 90, 62), (98, 84, 64), (36, 54, 34)),  # forest floor
    ((156, 146, 100), (174, 160, 116), (132, 126, 84), (170, 146, 108), (80, 90, 52)),  # savanna
    ((140, 142, 132), (158, 158, 146), (120, 124, 112), (150, 142, 126), (70, 84, 58)),  # stony
)
_WATERS: Final = (
    (26, 44, 74),
    (22, 60, 84),
    (40, 72, 70),
    (58, 70, 52),
    (84, 82, 60),
    (16, 28, 44),
    (44, 86, 104),
    (34, 50, 48),
)
_ROOFS: Final = (
    (168, 84, 62),
    (192, 112, 78),
    (146, 70, 58),
    (120, 118, 116),
    (150, 150, 150),
    (196, 196, 194),
    (226, 224, 218),
    (84, 86, 92),
    (92, 116, 146),
    (104, 84, 70),
    (176, 150, 120),
    (74, 124, 112),
)
_RIPES: Final = (
    (214, 182, 96),
    (226, 200, 124),
    (200, 164, 84),
    (218, 192, 110),
    (190, 158, 92),
    (228, 206, 142),
)
_GREENS: Final = ((74, 136, 52), (58, 118, 48), (102, 152, 62), (84, 146, 74), (48, 102, 50), (122, 160, 76))
_ROADS: Final = (
    (92, 92, 94),
    (116, 114, 112),
    (142, 138, 132),
    (72, 74, 78),
    (168, 150, 124),
    (154, 124, 94),
)
_PANELS: Final = ((26, 36, 72), (34, 48, 92), (20, 26, 44), (44, 62, 104), (30, 34, 52))
_TANKS: Final = (
    (232, 232, 228),
    (208, 208, 204),
    (186, 190, 192),
    (222, 214, 190),
    (168, 128, 104),
    (150, 160, 150),
    (196, 208, 216),
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """Numbers (NUMBERS,) and colours (PALETTE_ROWS, 3), both float64, at the indexes of this module."""

    numbers: NDArray[np.float64]
    palette: NDArray[np.float64]


class _Draw:
    """Draws uniform numbers by name, so that a new parameter leaves the others as they were."""

    def __init__(self, seed: int, salt: int) -> None:
        self._h = np.uint64(hash_cell(np.uint64(seed & (2**64 - 1)), salt, 0, 0))

    def u(self, key: str) -> float:
        return float(unit(self._h, int.from_bytes(key.encode()[:7], "little")))

    def between(self, key: str, low: float, high: float) -> float:
        return low + (high - low) * self.u(key)

    def pick(self, key: str, n: int) -> int:
        return min(int(self.u(key) * n), n - 1)


def absent_classes(seed: int) -> frozenset[str]:
    """Choose the one or two classes that the world of this seed leaves out."""
    d = _Draw(seed, 901)
    first = d.pick("first", len(CLASSES))
    if d.u("two") < 0.5:
        return frozenset({CLASSES[first]})
    return frozenset(
        {CLASSES[first], CLASSES[(first + 1 + d.pick("second", len(CLASSES) - 1)) % len(CLASSES)]}
    )


def derive_style(seed: int) -> Style:
    """Derive all style parameters of a seed."""
    return Style(numbers=_numbers(_Draw(seed, 902)), palette=_palette(_Draw(seed, 903)))


def _numbers(d: _Draw) -> NDArray[np.float64]:
    p = np.zeros(NUMBERS)
    p[MESH_COS], p[MESH_SIN] = direction(d.between("mesh", 0.0, 1.5707963))
    p[SUPER] = d.between("super", 640, 840)
    p[ASPECT] = d.between("aspect", 0.8, 1.15)
    p[JITTER] = d.between("jitter", 0.04, 0.16)
    p[T_URBAN] = d.between("urban", 0.73, 0.83)
    p[T_AGRI] = d.between("agri", 0.47, 0.57)
    p[P_MIXED] = d.between("mixed", 0.55, 0.75)
    p[SUN_X], p[SUN_Y] = direction(d.between("sun", 0.0, 6.2831853))
    p[SHADOW_SLOPE] = 1.0 / d.between("shadow", 0.25, 1.7)
    p[SHADOW_DARK] = d.between("shdark", 0.25, 0.7)
    p[TREE_LEVEL] = d.u("trees") ** 2 * 0.12
    p[FOREST] = d.between("forest", 0.55, 0.85)
    p[TREE_SIZE] = d.between("trsize", 0.8, 1.35)
    p[PATHS] = d.between("pathw", 1.5, 4.5) if d.u("paths") < 0.55 else 0.0
    p[BARE] = d.between("bare", 0.58, 0.95)
    p[GROUND_CONTRAST] = d.between("gcontr", 0.10, 0.42)
    p[TEXTURE] = d.between("texture", 0.5, 1.5)
    p[CLOUD] = d.between("cloud", 0.1, 0.4) if d.u("clouds") < 0.25 else 0.0
    p[BLUR] = d.between("blur", 0.15, 1.0)
    p[NOISE] = d.u("noise") ** 2 * 9.0
    p[GAIN_R] = d.between("gr", 0.9, 1.1)
    p[GAIN_G] = d.between("gg", 0.93, 1.07)
    p[GAIN_B] = d.between("gb", 0.88, 1.12)
    p[HAZE] = d.u("haze") ** 1.6 * 0.30
    p[SATURATION] = d.between("satur", 0.6, 1.15)
    p[CONTRAST] = d.between("contra", 0.75, 1.2)
    p[BRIGHTNESS] = d.between("bright", -20, 20)
    p[GAMMA] = d.between("gamma", 0.78, 1.25)
    p[ROW_VISIBLE] = d.between("rows", 0.35, 1.1)
    p[FIELD_MIX] = d.between("fmix", 0.35, 0.65)
    p[ROAD_WIDTH] = d.between("roadw", 4.0, 7.5)
    p[PAVED] = d.u("paved")
    p[HOUSE_SIZE] = d.between("house", 0.85, 1.2)
    p[DENSE] = d.u("dense")
    p[POOLS] = d.between("pools", 0.2, 0.55)
    p[P_LAKE] = d.between("plake", 0.45, 0.8)
    p[P_RUNWAY] = d.between("prun", 0.75, 1.0)
    return p


def _jitter(d: _Draw, key: str, colour: tuple[int, int, int], amount: float) -> list[float]:
    """Shift a colour in hue, saturation and value. An amount of 1 is visible, but a red stays a red."""
    h, s, v = colorsys.rgb_to_hsv(*(c / 255.0 for c in colour))
    h = (h + d.between(key + "h", -0.018, 0.018) * amount) % 1.0
    s = min(max(s * d.between(key + "s", 1 - 0.25 * amount, 1 + 0.25 * amount), 0.0), 1.0)
    v = min(max(v * d.between(key + "v", 1 - 0.14 * amount, 1 + 0.14 * amount), 0.0), 1.0)
    return [c * 255.0 for c in colorsys.hsv_to_rgb(h, s, v)]


def _palette(d: _Draw) -> NDArray[np.float64]:
    pal = np.zeros((PALETTE_ROWS, 3))
    first = _BIOMES[d.pick("biome1", len(_BIOMES))]
    second = _BIOMES[d.pick("biome2", len(_BIOMES))]
    for k in range(3):
        pal[GROUND + k] = _jitter(d, f"g{k}", first[k], 1.0)
        pal[GROUND + 3 + k] = _jitter(d, f"G{k}", second[k], 1.0)
        pal[SOIL + k] = _jitter(d, f"s{k}", (first if k < 2 else second)[3], 1.0)
        pal[TREE + k] = _jitter(d, f"t{k}", (first if k < 2 else second)[4], 1.3)
    groups = (
        (WATER, 4, _WATERS, 1.0),
        (ROOF, 8, _ROOFS, 1.0),
        (RIPE_C, 4, _RIPES, 1.0),
        (GREEN_C, 4, _GREENS, 1.0),
    )
    more = ((ROAD, 2, _ROADS, 0.8), (PANEL, 2, _PANELS, 1.0), (TANK_C, 4, _TANKS, 0.6))
    for start, count, source, amount in groups + more:
        for k in range(count):
            pal[start + k] = _jitter(d, f"{start}.{k}", source[d.pick(f"{start}:{k}", len(source))], amount)
    pal[HAZE_C] = _jitter(d, "haze", (186, 196, 208), 1.0)
    pal[TARMAC] = _jitter(d, "tarm", ((86, 88, 92), (70, 72, 76), (112, 112, 112))[d.pick("tarmac", 3)], 0.8)
    pal[TARMAC + 1] = _jitter(d, "conc", (158, 156, 150), 0.7)
    return pal
