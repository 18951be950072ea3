from __future__ import annotations

import numpy as np
from stitch_worlds import make_lattice

from pipeline.run.merge.finished_rows import in_seam_zone


def test_the_seam_zone_is_where_another_tile_sees_too() -> None:
    """Against the read windows themselves, pixel by pixel."""
    lattice = make_lattice((31, 42), 10, 3, 2)
    seen = np.zeros((31, 42), dtype=np.int64)
    for row in range(lattice.n_tile_rows):
        for col in range(lattice.n_tile_cols):
            seen[lattice.tile(row, col).read.slices_in(lattice.grid.window)] += 1
    r, c = (a.ravel() for a in np.indices(seen.shape))
    zone = in_seam_zone(lattice, np.stack([c, r, c + 1, r + 1], axis=1).astype(np.float64))
    np.testing.assert_array_equal(zone.reshape(seen.shape), seen > 1)
