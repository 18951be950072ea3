"""Masks of two small tiles, for tests of the files and of the processes."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.seams.adapters.exchange import TileMasks


@pytest.fixture
def small_masks() -> TileMasks:
    """A grid of 4 x 6 px in two tiles; the WKB is no geometry, since nobody reads it as such."""
    return TileMasks(
        shape=(4, 6),
        tile_px=4,
        halo_px=1,
        tile_rc=np.array([(0, 0), (0, 1)]),
        read=np.array([(0, 0, 3, 3), (0, 1, 4, 6)]),
        core=np.array([(0, 0, 2, 2), (0, 2, 4, 6)]),
        labels=(np.eye(3, dtype=np.uint16), np.arange(20, dtype=np.uint16).reshape(4, 5)),
        tile=np.array([0, 1, 1]),
        local=np.array([1, 1, 2]),
        score=np.array([0.5, 0.25, 1.0]),
        box=np.array([(0, 0, 3, 3), (2, 0, 3, 1), (3, 0, 4, 1)]),
        wkb=(b"abc", b"", b"\x00\xff"),
    )
