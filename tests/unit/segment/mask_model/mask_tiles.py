"""Tiles and options for tests of mask models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import TileImage
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.mask_model.mask_options import MaskModelOptions

COLOURS = Path(__file__).parents[3] / "colour_adapter.py"


def tile_of(rgb: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> TileImage:
    """The picture as a tile whose core is all of it."""
    height, width = rgb.shape[:2]
    window = Window(row0=0, col0=0, row1=height, col1=width)
    spec = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
    return TileImage(tile=spec, rgb=rgb, valid=np.ones((height, width), bool) if valid is None else valid)


def red_squares(height: int = 21, width: int = 13) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A grey picture with two red squares, and where they are."""
    rgb = np.full((height, width, 3), 80, dtype=np.uint8)
    red = np.zeros((height, width), dtype=np.bool_)
    red[2:5, 1:4] = True
    red[10:19, 6:12] = True
    rgb[red, 0] = 200
    return rgb, red


def colours(**changes: Any) -> MaskModelOptions:
    """The colour model in this Python, in a process of its own."""
    named = {"kind": "process", "python": sys.executable, "adapter": str(COLOURS), "limit_s": 30.0}
    return MaskModelOptions(**{**named, **changes})
