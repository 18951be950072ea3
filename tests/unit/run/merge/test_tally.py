"""Sums of one query in any order, and the QA table made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import record_runs as runs
import stitch_worlds as worlds

from pipeline.run.merge.audit_tasks import AuditCounts
from pipeline.run.merge.finished_rows import LeftOut, RowCounts, SeamDensity
from pipeline.run.merge.resolve_tasks import ResolveCounts
from pipeline.run.merge.tally import Tally, join_bounds
from pipeline.stitch.block_picture import FoundPixels
from pipeline.stitch.supertile_seams import SCORE_BINS


def seams(*, n_edges: int, bin_: int) -> ResolveCounts:
    scores = np.zeros(SCORE_BINS, dtype=np.int64)
    scores[bin_] = n_edges
    return ResolveCounts(query_index=0, n_fragments=5, n_ghosts=1, n_edges=n_edges, scores=scores)


def test_bounds_around_several_leave_out_those_that_are_none() -> None:
    assert join_bounds([None, (1.0, 8.0, 3.0, 9.0), None, (0.0, 8.5, 2.0, 12.0)]) == (0.0, 8.0, 3.0, 12.0)
    assert join_bounds([None, None]) is None
    assert join_bounds([]) is None


def test_tallies_add_in_any_order() -> None:
    parts = [
        RowCounts(n_rows=2, n_objects=2, area_px=7, n_truncated=1, bounds=(1.0, 2.0, 3.0, 4.0)),
        RowCounts(),
        RowCounts(n_rows=3, n_objects=1, area_px=4, at_seam=1, n_one_sided=1, bounds=(0.0, 3.0, 2.0, 9.0)),
    ]
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        tally = Tally()
        for i in order:
            tally.add_rows(parts[i])
        results.append(tally.rows)
    assert results[0] == results[1]
    assert results[0] == RowCounts(
        n_rows=5,
        n_objects=3,
        area_px=11,
        n_truncated=1,
        n_one_sided=1,
        at_seam=1,
        bounds=(0.0, 2.0, 3.0, 9.0),
    )


def test_seams_are_summed_and_edges_that_the_audit_cut_no_longer_count() -> None:
    tally = Tally()
    tally.add_seams(seams(n_edges=4, bin_=19))
    tally.add_seams(seams(n_edges=3, bin_=0))
    tally.add_audit(AuditCounts(query_index=0, contradictions=2, components=1, cut_edges=2))
    figures = tally.figures()
    assert (figures["fragments"], figures["ghosts"], figures["edges"]) == (10, 2, 5)
    assert figures["match_scores"] == [3, *[0] * 18, 4]
    assert figures["audit"] == {"contradictions": 2, "components": 1, "cut_edges": 2}


def test_what_was_left_out_and_what_has_no_area_is_summed_by_reason() -> None:
    tally = Tally()
    tally.add_rows(RowCounts(n_unknown_m2=1, left_out=LeftOut(outside_aoi=2, below_min_area_m2=3)))
    tally.add_rows(RowCounts(n_unknown_m2=4, left_out=LeftOut(below_min_area_px=5, mostly_covered=6)))
    figures = tally.figures()
    assert figures["area_unknown"] == 5
    assert figures["left_out"] == {
        "outside_aoi": 2,
        "below_min_area_px": 5,
        "below_min_area_m2": 3,
        "mostly_covered": 6,
    }


def test_kept_pixels_are_summed_and_shared_out() -> None:
    """2,999 of 3,000 are not all of them: the share is rounded down."""
    tally = Tally()
    assert tally.figures()["pixels"] == {"given": 0, "kept": 0, "kept_share": None, "published": 0}
    tally.add_found(FoundPixels(given_px=1000, kept_px=1000))
    assert tally.figures()["pixels"]["kept_share"] == 1.0
    tally.add_found(FoundPixels(given_px=2000, kept_px=1999))
    tally.add_rows(RowCounts(n_rows=2, n_objects=1, area_px=3005))
    assert tally.figures()["pixels"] == {
        "given": 3000,
        "kept": 2999,
        "kept_share": 0.9996,
        "published": 3005,
    }


def test_an_audit_that_found_nothing_differs_from_none() -> None:
    tally = Tally()
    assert tally.figures()["audit"] is None
    tally.add_audit(AuditCounts())
    assert tally.figures()["audit"] == {"contradictions": 0, "components": 0, "cut_edges": 0}


def test_the_density_at_seams_is_set_against_the_rest() -> None:
    """3 objects on 1 Mpx of seams, 6 on 4 Mpx of interior: twice as dense."""
    tally = Tally()
    tally.add_ground(SeamDensity(seam_px=400_000, core_px=2_000_000))
    tally.add_ground(SeamDensity(seam_px=600_000, core_px=3_000_000))
    tally.add_rows(RowCounts(n_rows=9, n_objects=9, at_seam=3))
    assert tally.figures()["density"] == {
        "seam_per_mpx": 3.0,
        "interior_per_mpx": 1.5,
        "ratio": 2.0,
        "seam_px": 1_000_000,
        "interior_px": 4_000_000,
    }


def test_a_ratio_needs_ground_and_objects_on_both_sides() -> None:
    assert Tally().figures()["density"]["ratio"] is None
    at_seams_alone = Tally()
    at_seams_alone.add_ground(SeamDensity(seam_px=100, core_px=300))
    at_seams_alone.add_rows(RowCounts(n_rows=1, n_objects=1, at_seam=1))
    density = at_seams_alone.figures()["density"]
    assert (density["seam_per_mpx"], density["interior_per_mpx"], density["ratio"]) == (10_000.0, 0.0, None)
    one_tile = Tally()
    one_tile.add_ground(SeamDensity(seam_px=0, core_px=300))
    assert one_tile.figures()["density"]["seam_per_mpx"] is None


def test_qa_counts_agreement_and_density(tmp_path: Path) -> None:
    truth = np.zeros((20, 20), dtype=np.int64)
    truth[9:11, 2:4] = 1
    truth[5, 5] = 2
    truth[15, 15] = 3
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="whole"))
    published = runs.merge(runs.job_for(tmp_path, tmp_path / "out", lattice))
    qa = published.qa["anything"]
    assert qa["match_scores"] == [0] * 19 + [1]
    assert (qa["fragments"], qa["edges"], qa["objects"], qa["rows"], qa["ghosts"]) == (4, 1, 3, 3, 0)
    assert (qa["density"]["seam_px"], qa["density"]["interior_px"]) == (400 - 4 * 64, 4 * 64)
    assert qa["density"]["seam_per_mpx"] == pytest.approx(1e6 / 144, rel=1e-4)
    assert qa["density"]["ratio"] == pytest.approx((1 / 144) / (2 / 256), rel=1e-4)


def test_qa_says_what_was_disputed_and_kept(tmp_path: Path) -> None:
    """The shed that a stray piece of a roof touches, seen whole by one tile: both stay, to the pixel."""
    source, lattice = worlds.roof_and_shed()
    runs.write_records(tmp_path, lattice, source)
    published = runs.merge(runs.job_for(tmp_path, tmp_path / "out", lattice))
    qa = published.qa["anything"]
    assert (qa["objects"], qa["edges"], qa["disputed"]) == (2, 1, 1)
    assert qa["pixels"] == {"given": 84, "kept": 84, "kept_share": 1.0, "published": 84}
    runs.assert_raster_equals_vector(tmp_path / "out")
