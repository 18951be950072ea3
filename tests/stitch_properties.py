"""Properties of the merge as functions of a seed: hypothesis draws a few seeds in CI, `make fuzz-stitch` as
many as time allows.

Each function builds a random world, tiling, noise and order from its seed and raises AssertionError when the
property fails.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import record_runs as runs
import stitch_worlds as worlds
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from two_level import Result, two_level

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.flat.flat_merge import Merge, merge_region
from pipeline.stitch.stitch_options import StitchOptions


def random_case(
    seed: int, *, largest_core: int = 13
) -> tuple[np.random.Generator, np.ndarray, TileLattice, Any]:
    """(generator, truth, lattice, oracle source) of a seed: any kind of world, any cut, both oracle modes."""
    rng = np.random.default_rng(seed)
    core = int(rng.integers(1, largest_core + 1))
    halo = int(rng.integers(1, 6))
    k = int(rng.integers(1, 4))
    truth = worlds.random_world(rng, str(rng.choice(worlds.KINDS)), min(33, 8 * core))
    lattice = worlds.make_lattice(truth.shape, core, halo, k)
    source = worlds.cut(truth, lattice, mode=str(rng.choice(["whole", "pieces"])), seed=seed)
    return rng, truth, lattice, source


def disturb(source: Any, rng: np.random.Generator, *, blind: float = 0.1) -> Any:
    """Tiles disagree by a pixel, forget and fuse objects; a share `blind` of them sees nothing, every other
    one of those is closed.
    """
    for key, labels in list(source.tiles.items()):
        moved = np.roll(labels, tuple(rng.integers(-1, 2, 2)), axis=(0, 1))
        moved[rng.random(labels.shape) < 0.02] = 0
        n = int(labels.max())
        table = np.arange(n + 1)
        table[1:][rng.random(n) < 0.15] = 0
        fused = rng.random(n) < 0.1
        table[1:][fused] = rng.integers(1, n + 1, int(fused.sum()))
        kept, local = np.unique(table[moved], return_inverse=True)
        local = local.reshape(labels.shape) + (0 if kept[0] == 0 else 1)
        source.tiles[key] = local.astype(np.uint16)
        source.scores[key] = rng.integers(0, 65536, int(local.max())).tolist()
        unseen = rng.random() < blind
        if unseen or not local.any():
            del source.tiles[key]
            if unseen and rng.random() < 0.5:
                source.closed = source.closed | {key}
    return source


def random_options(rng: np.random.Generator) -> StitchOptions:
    """Any of the rules that noise may call for."""
    return StitchOptions(
        complete_first=rng.random() < 0.75,
        tau=float(rng.choice([0.3, 0.5, 0.7])),
        keep_share=float(rng.choice([0.0, 0.5, 0.97, 1.0])),
        trusted_margin_px=int(rng.choice([0, 1, 4, 100])),
        audit=rng.random() < 0.5,
        rescue_share=float(rng.choice([0.0, 0.3, 0.7, 1.0])),
    )


def check_oracle_is_exact(seed: int) -> None:
    """With perfect masks: the ids of the uncut image, for any cut, super-tile size and order of work."""
    rng, truth, lattice, source = random_case(seed)
    rescue = float(rng.choice([0.0, 0.5]))
    options = StitchOptions(
        complete_first=bool(rng.integers(0, 2)), audit=bool(rng.integers(0, 2)), rescue_share=rescue
    )
    result = two_level(lattice, source, options, side=int(rng.integers(1, 6)), order=seed)
    np.testing.assert_array_equal(result.raster, worlds.canonical(truth))
    assert not any(row["truncated"] or row["one_sided"] for row in result.rows.values())


def check_two_level_is_flat(seed: int) -> None:
    """Noise, failed tiles, either mode: two levels give the raster and every column of the flat merge."""
    rng, _, lattice, source = random_case(seed)
    disturb(source, rng)
    mode = "semantic" if rng.random() < 0.4 else "instances"
    options = random_options(rng)
    flat = merge_region(lattice, source, options, mode=mode)  # type: ignore[arg-type]
    result = two_level(lattice, source, options, side=int(rng.integers(1, 6)), mode=mode, order=seed)
    assert_same(flat, worlds.raster(flat), result)


def assert_same(flat: Merge, raster: np.ndarray, result: Result) -> None:
    """Raster and every column of the table, the flat merge being the reference."""
    np.testing.assert_array_equal(result.raster, raster)
    table = flat.instances
    cols = flat.lattice.n_tile_cols
    side = flat.lattice.shard_px
    assert sorted(result.rows) == table.instance_id.tolist()
    for i, instance in enumerate(table.instance_id.tolist()):
        row = result.rows[instance]
        place = (int(table.rep_tile_row[i] * cols + table.rep_tile_col[i]) << 16) | int(table.rep_local[i])
        assert row["n_px"] == table.area_px[i]
        assert row["complete"] == table.complete[i]
        assert row["truncated"] == table.truncated[i]
        assert row["one_sided"] == table.one_sided[i]
        assert (row["rep_place"], row["rep_prompt"]) == (place, table.rep_prompt[i])
        assert row["score"] == np.float32(table.score[i])
        assert sorted(row["tiles"]) == [r * cols + c for r, c in table.tiles_of(i)]
        if instance in result.local:
            row0, col0, row1, col1 = table.window[i].tolist()
            block = divmod(result.local[instance], flat.lattice.n_block_cols)
            assert block == (row0 // side, col0 // side) == ((row1 - 1) // side, (col1 - 1) // side)


def check_published(seed: int, folder: Path) -> None:
    """Records on disk, tasks in any order, two super-tile sizes: same bytes; raster == vector; raster == the
    flat merge's.
    """
    rng, _, lattice, source = random_case(seed)
    disturb(source, rng)
    mode = "semantic" if rng.random() < 0.3 else "instances"
    small = {
        "min_area_px": int(rng.choice([0, 0, 4])),
        "split_tiles": int(rng.choice([3, 10_000])),
        "part_tiles": 2,
    }
    options = replace(random_options(rng), **small)
    runs.write_records(folder, lattice, source)
    results = []
    for number in range(2):
        job = runs.job_for(
            folder,
            folder / f"out{number}",
            lattice,
            stitch=options,
            mode=mode,
            super_tile_tiles=int(rng.integers(1, 7)),
        )
        runs.merge(job, seed=seed + number)
        results.append(runs.result_bytes(folder / f"out{number}"))
        assert not job.run_dir.merge.exists()
    assert results[0] == results[1]
    runs.assert_raster_equals_vector(folder / "out0")
    flat = merge_region(lattice, source, options, mode=mode)  # type: ignore[arg-type]
    np.testing.assert_array_equal(runs.published_raster(folder / "out0"), worlds.raster(flat))


def check_nothing_is_lost(seed: int) -> None:
    """Whatever tiles disagree on: of every fragment at least `keep_share` of the core pixels is published, so
    with the default at least 97 % of all that tiles found.
    """
    rng, _, lattice, source = random_case(seed)
    disturb(source, rng)
    keep_share = float(rng.choice([0.5, 0.97, 0.97, 1.0]))
    options = replace(random_options(rng), keep_share=keep_share)
    result = two_level(lattice, source, options, side=int(rng.integers(1, 6)), order=seed)
    given = kept = 0
    for key, labels in source.tiles.items():
        tile = lattice.tile(*key)
        if key in source.closed:
            continue
        own = labels[tile.core.slices_in(tile.read)]
        shown = result.raster[tile.core.slices_in(lattice.grid.window)] > 0
        px = np.bincount(own.ravel(), minlength=2)
        left = np.bincount(own[shown].ravel(), minlength=px.size)
        assert (left[1:] >= keep_share * px[1:]).all(), f"tile {key} has lost a fragment"
        given += int(px[1:].sum())
        kept += int(left[1:].sum())
    assert (result.given_px, result.kept_px) == (given, kept)


def check_lower_threshold_is_coarser(seed: int) -> None:
    """The mutual-best pairs do not depend on tau, so a lower tau never parts what a higher one joined."""
    rng, _, lattice, source = random_case(seed)
    disturb(source, rng)
    low, high = sorted(rng.random(2).tolist())
    rasters = [
        two_level(lattice, source, StitchOptions(tau=tau + 1e-6, complete_first=False), side=3).raster
        for tau in (low, high)
    ]
    np.testing.assert_array_equal(rasters[0] > 0, rasters[1] > 0)
    together = np.unique(np.stack([rasters[1].ravel(), rasters[0].ravel()]), axis=1)
    assert np.unique(together[0]).size == together.shape[1], (
        "each object of the higher threshold lies in one of the lower"
    )


def check_far_tiles_change_nothing(seed: int) -> None:
    """Without one tile's detections, all pixels stay that neither it nor an object with a fragment of its own
    can reach.
    """
    rng, _, lattice, source = random_case(seed, largest_core=9)
    disturb(source, rng)
    if not source.tiles:
        return
    before = two_level(lattice, source, StitchOptions(), side=2).raster
    gone = sorted(source.tiles)[int(rng.integers(0, len(source.tiles)))]
    near = pixels_shared_with(source, lattice, gone)
    del source.tiles[gone]
    after = two_level(lattice, source, StitchOptions(), side=2).raster
    np.testing.assert_array_equal(before[~near], after[~near])


def pixels_shared_with(source: Any, lattice: TileLattice, tile: tuple[int, int]) -> np.ndarray:
    """(H, W) True in the tile's read window, and wherever any tile sees an object that may hold a fragment of
    the tile.

    Such an object may be named by a core pixel of the tile that it does not show, because another tile paints
    it whole. Two fragments may be one object when `may_match` says so of their seam; chains of them by scipy.
    """
    first = {}
    n = 0
    for key, labels in source.tiles.items():
        first[key] = n - 1  # node of local id 1 is first + 1
        n += int(labels.max())
    links = [np.zeros((2, 0), dtype=np.int64)]
    for row, col in source.tiles:
        for other in ((row, col + 1), (row + 1, col)):
            if other in source.tiles:
                found = may_match(source, lattice, (row, col), other)
                links.append(found + np.array([[first[row, col]], [first[other]]]))
    a, b = np.concatenate(links, axis=1)
    _, component = connected_components(coo_matrix((np.ones(a.size), (a, b)), shape=(n, n)), directed=False)
    mine = np.arange(int(source.tiles[tile].max())) + first[tile] + 1
    shared = np.isin(component, component[mine])
    near = np.zeros((lattice.grid.height, lattice.grid.width), dtype=np.bool_)
    near[lattice.tile(*tile).read.slices_in(lattice.grid.window)] = True
    for key, labels in source.tiles.items():
        n_here = int(labels.max())
        show = np.append(False, shared[first[key] + 1 : first[key] + 1 + n_here])
        near[lattice.tile(*key).read.slices_in(lattice.grid.window)] |= show[labels]
    return near


def may_match(source: Any, lattice: TileLattice, tile: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
    """(2, k) local ids of two neighbours that hold a pair of pieces of their seam of which neither overlaps
    another piece more.

    No rule that matches mutual bests can join any other pair, whatever its thresholds and ties. Pieces are
    4-connected, by scipy.
    """
    specs = [lattice.tile(*key) for key in (tile, other)]
    seam = specs[0].read.intersect(specs[1].read)
    assert seam is not None
    strips = [
        source.tiles[key][seam.slices_in(spec.read)] for key, spec in zip((tile, other), specs, strict=True)
    ]
    pieces = [worlds.cc(strip.astype(np.int64)) for strip in strips]
    both = (pieces[0] > 0) & (pieces[1] > 0)
    rows = np.stack([*(piece[both] for piece in pieces), *(strip[both] for strip in strips)])
    pairs, common = np.unique(rows, axis=1, return_counts=True)
    kept = [
        common[i] == common[pairs[0] == pairs[0, i]].max() == common[pairs[1] == pairs[1, i]].max()
        for i in range(common.size)
    ]
    return pairs[2:, np.array(kept, dtype=np.bool_)]
