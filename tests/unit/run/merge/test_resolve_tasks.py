"""Steps 1 to 3: what a super-tile settles, what the union-find joins, where crossing objects are filed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import record_runs as runs
import stitch_worlds as worlds
from run.merge.two_tiles import INNER, SEAM, resolve, two_tile_job

from pipeline.errors import RecordError
from pipeline.run.merge.resolve_tasks import describe_super, join_query, resolve_again, resolve_super
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.merge_files import read_columns, write_columns

LEFT = (0, 0)
RIGHT = (0, 1)
SEEN_LEFT = 1
"""Place of the seam's object in tile 0, local id 1."""
SEEN_RIGHT = (1 << 16) + 1
"""The same in tile 1."""


def test_a_super_tile_matches_across_its_right_seam(tmp_path: Path) -> None:
    """Both tiles see the same 8 px: a match of 1, in the last of 20 bins, counted by the left super-tile."""
    job = two_tile_job(tmp_path)
    left = resolve_super(job, LEFT)
    right = resolve_super(job, RIGHT)
    assert (left.n_fragments, left.n_ghosts, left.n_edges) == (2, 0, 1)
    assert (right.n_fragments, right.n_ghosts, right.n_edges) == (1, 0, 0)
    assert left.scores.tolist() == [0] * 19 + [1]
    assert right.scores.tolist() == [0] * 20
    edges = read_columns(job.table("edges", 0, "s00000_00000"))["edges"]
    assert {*edges[0].tolist()} >= {SEEN_RIGHT, SEAM - 1}
    assert len(edges) == 1


def test_an_edge_that_the_audit_cut_is_left_out(tmp_path: Path) -> None:
    job = two_tile_job(tmp_path)
    write_columns(job.table("cuts", 0, "s00000_00000"), {"pairs": np.array([[SEEN_LEFT, SEEN_RIGHT]])})
    assert resolve_again(job, LEFT).n_edges == 0
    resolve_super(job, RIGHT)
    assert join_query(job, 0)[1].n_edges == 0


def test_one_union_find_joins_what_crosses_and_nothing_else(tmp_path: Path) -> None:
    """Roots of the two views of the seam's object; the inner one is settled without it."""
    job = two_tile_job(tmp_path)
    for key in job.super_keys():
        resolve_super(job, key)
    query, joined = join_query(job, 0)
    assert (query, joined.n_roots, joined.n_edges) == (0, 2, 1)
    relabel = [read_columns(job.table("relabel", 0, name)) for name in ("s00000_00000", "s00000_00001")]
    assert [table["key"].tolist() for table in relabel] == [[SEAM - 1], [SEAM - 1]]
    assert [table["local_key"].tolist() for table in relabel] == [[SEAM - 1], [4 * 20 + 10]]


def test_components_are_told_local_or_filed_under_the_owner_of_their_id(tmp_path: Path) -> None:
    job = two_tile_job(tmp_path)
    resolve(job)
    local = read_columns(job.table("components", 0, "s00000_00000"))
    assert (local["id"].tolist(), local["home"].tolist(), local["complete"].tolist()) == (
        [INNER],
        [0],
        [True],
    )
    assert read_columns(job.table("components", 0, "s00000_00001"))["id"].size == 0
    for name, tile in (("00000000", 0), ("00000001", 1)):
        crossing = read_columns(job.table("crossing/0", 0, name))
        assert (crossing["id"].tolist(), crossing["truncated"].tolist()) == ([SEAM], [False])
        members = read_columns(job.table("crossing-members/0", 0, name))
        assert (members["id"].tolist(), members["tile"].tolist()) == ([SEAM], [tile])


def test_the_owner_is_the_tile_of_the_smallest_pixel(tmp_path: Path) -> None:
    """An object whose first row lies in the right tile alone: the left one files it under number 1."""
    truth = np.zeros((10, 20), dtype=np.int64)
    truth[4, 10:12] = 1
    truth[5, 8:12] = 1
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="pieces"))
    job = runs.job_for(tmp_path, tmp_path / "out", lattice, super_tile_tiles=1)
    resolve(job)
    for name in ("00000000", "00000001"):
        assert read_columns(job.table("crossing/1", 0, name))["id"].tolist() == [4 * 20 + 10 + 1]
    assert not job.table("crossing/0", 0, "x").parent.exists()


def test_one_super_tile_of_both_tiles_settles_the_seam_itself(tmp_path: Path) -> None:
    """Its blocks are still two, so the object crosses; nothing is left for the union-find."""
    job = two_tile_job(tmp_path, super_tile_tiles=2)
    counts = resolve_super(job, LEFT)
    assert (counts.n_fragments, counts.n_edges) == (3, 1)
    assert join_query(job, 0)[1].n_edges == 0
    describe_super(job, LEFT)
    assert read_columns(job.table("components", 0, "s00000_00000"), 0)["id"].tolist() == [INNER]
    assert read_columns(job.table("components", 0, "s00000_00000"), 1)["id"].tolist() == []
    members = read_columns(job.table("crossing-members/0", 0, "00000000"))
    assert (members["id"].tolist(), members["tile"].tolist()) == ([SEAM, SEAM], [0, 1])


def test_regions_join_where_pixels_touch_over_the_seam(tmp_path: Path) -> None:
    """Semantic: no scores are matched; the same two components come out, with the same ids."""
    job = two_tile_job(tmp_path, mode="semantic")
    counts = [resolve_super(job, key) for key in job.super_keys()]
    assert [(found.n_ghosts, found.n_edges, found.scores.sum()) for found in counts] == [(0, 0, 0), (0, 0, 0)]
    join_query(job, 0)
    for key in job.super_keys():
        describe_super(job, key)
    assert read_columns(job.table("components", 0, "s00000_00000"))["id"].tolist() == [INNER]
    for name in ("00000000", "00000001"):
        assert read_columns(job.table("crossing/0", 0, name))["id"].tolist() == [SEAM]


def test_rescued_objects_are_counted(tmp_path: Path) -> None:
    """The owner saw nothing at all; the object crosses the border of two blocks that are not its finder's."""
    lattice = worlds.make_lattice((10, 30), 5, 7, 1)
    left = np.zeros((10, 12), dtype=np.uint16)
    left[3:7, 6:9] = 1
    runs.write_records(tmp_path, lattice, worlds.ArraySource(lattice=lattice, tiles={(0, 0): left}))
    published = runs.merge(
        runs.job_for(
            tmp_path, tmp_path / "out", lattice, stitch=StitchOptions(rescue_share=0.7), super_tile_tiles=1
        )
    )
    qa = published.qa["anything"]
    assert (qa["ghosts"], qa["objects"], qa["rescued"], qa["one_sided"]) == (1, 1, 1, 1)
    frame = runs.assert_raster_equals_vector(tmp_path / "out")
    assert (frame["instance_id"].tolist(), frame["area_px"].tolist()) == ([2**62 + 2], [12])


def test_a_torn_intermediate_table_is_refused_and_never_half_believed(tmp_path: Path) -> None:
    job = two_tile_job(tmp_path)
    for key in job.super_keys():
        resolve_super(job, key)
    path = job.table("edges", 0, "s00000_00000")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RecordError, match=r"edges.*cannot be read"):
        join_query(job, 0)
