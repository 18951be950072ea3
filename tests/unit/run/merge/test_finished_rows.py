from __future__ import annotations

import numpy as np
from stitch_worlds import make_lattice

from pipeline.run.merge.finished_rows import RowCounts, in_seam_zone
from pipeline.run.merge.tally import Tally, join_bounds


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


def test_tallies_add_in_any_order() -> None:
    parts = [
        RowCounts(n_rows=2, n_objects=2, n_truncated=1, bounds=(1.0, 2.0, 3.0, 4.0)),
        RowCounts(),
        RowCounts(n_rows=3, n_objects=1, at_seam=1, n_one_sided=1, bounds=(0.0, 3.0, 2.0, 9.0)),
    ]
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        tally = Tally()
        for i in order:
            tally.add_rows(parts[i])
        results.append(tally.rows)
    assert results[0] == results[1]
    assert results[0] == RowCounts(
        n_rows=5, n_objects=3, n_truncated=1, n_one_sided=1, at_seam=1, bounds=(0.0, 2.0, 3.0, 9.0)
    )
    assert join_bounds([None, None]) is None
    assert Tally().figures()["density"]["ratio"] is None
