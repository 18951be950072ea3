"""The two-level merge in memory, for tests: the functions that the tasks of a run call, without files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.block_picture import BlockPainter, BlockPicture, concatenate_paint, near_blocks
from pipeline.stitch.components import Roots
from pipeline.stitch.contradictions import Links, cut_edges, forbidden_pairs, join_links
from pipeline.stitch.describe import (
    CROSSING,
    ComponentColumns,
    FragmentColumns,
    MemberColumns,
    PaintColumns,
    describe_fragments,
    incoming_bits,
    whole_roots,
)
from pipeline.stitch.flat.flat_sources import TileSource
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.join import JoinStats, Relabel, join_borders
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertile_regions import RegionPaint, describe_regions, region_picture, resolve_regions
from pipeline.stitch.supertile_seams import resolve_fragments
from pipeline.stitch.supertiles import SuperLattice, SuperTile

INTS = ("local", "prompt_index", "score_q", "full_px", "core_px", "anchor", "censored", "margin")
STEPS = {NORTH: (-1, 0), EAST: (0, 1), SOUTH: (1, 0), WEST: (0, -1)}


class BlockWise:
    """A tile source (`TileSource`) asked block by block, as `BlockSource` wants it."""

    def __init__(self, source: TileSource, lattice: TileLattice) -> None:
        self.source = source
        self.lattice = lattice
        self._by_block: defaultdict[tuple[int, int], list[tuple[int, ...]]] = defaultdict(list)
        k = lattice.block_tiles
        for record in source.records():
            for f in record.fragments:
                w = f.window
                row = (
                    record.tile_row,
                    record.tile_col,
                    *(getattr(f, name) for name in INTS),
                    w.row0,
                    w.col0,
                    w.row1,
                    w.col1,
                )
                self._by_block[record.tile_row // k, record.tile_col // k].append(row)

    def fragments(self, block_row: int, block_col: int) -> dict[str, NDArray[np.int64]]:
        names = ("tile_row", "tile_col", *INTS, "row0", "col0", "row1", "col1")
        rows = np.array(self._by_block[block_row, block_col], dtype=np.int64).reshape(-1, len(names))
        return {name: rows[:, i] for i, name in enumerate(names)}

    def strip(self, tile_row: int, tile_col: int, side: int) -> NDArray[np.uint16] | None:
        labels = self.source.labels(tile_row, tile_col)
        tile = self.lattice.tile(tile_row, tile_col)
        dr, dc = STEPS[side]
        seam = tile.read.intersect(self.lattice.tile(tile_row + dr, tile_col + dc).read)
        assert seam is not None
        return None if labels is None else np.ascontiguousarray(labels[seam.slices_in(tile.read)])

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        return self.source.labels(tile_row, tile_col)

    def paintable(self, tile_row: int, tile_col: int) -> bool:
        return self.source.paintable(tile_row, tile_col)


@dataclass
class Store:
    """`BorderStore` in memory."""

    resolved: dict[str, Any]
    relabels: dict[str, Relabel] = field(default_factory=dict)

    def border(self, tile: SuperTile) -> Any:
        return self.resolved[tile.name].border

    def roots(self, tile: SuperTile) -> Roots:
        return self.resolved[tile.name].roots  # type: ignore[no-any-return]

    def save(self, tile: SuperTile, relabel: Relabel) -> None:
        self.relabels[tile.name] = relabel


@dataclass
class Result:
    """Everything that the two-level merge of one query says."""

    raster: NDArray[np.uint64]
    scores: NDArray[np.float32]
    rows: dict[int, dict[str, Any]]
    """id -> n_px, complete, truncated (blocked included), one_sided, rep_place, rep_prompt, score, tiles;
    painted ids only.
    """
    local: dict[int, int]
    """id -> block number of components said to show in one block alone."""
    pictures: dict[tuple[int, int], BlockPicture]
    stats: JoinStats
    histogram: NDArray[np.int64]
    given_px: int
    """Pixels that tiles found in their cores, and how many of them some object shows."""
    kept_px: int


def two_level(
    lattice: TileLattice,
    source: TileSource,
    options: StitchOptions,
    *,
    side: int,
    mode: str = "instances",
    order: int = 0,
    min_px: int = 1,
) -> Result:
    """Merge with super-tiles of `side` tiles; `order` seeds the order of super-tiles and blocks."""
    rng = np.random.default_rng(order)
    supers = SuperLattice(lattice, side)
    tiles = BlockWise(source, lattice)
    everyone = list(supers.all())
    shuffled = [everyone[i] for i in rng.permutation(len(everyone))]
    if mode == "semantic":
        resolved: dict[str, Any] = {
            tile.name: resolve_regions(supers, tile, tiles, options) for tile in shuffled
        }
    else:
        resolved = {tile.name: resolve_fragments(supers, tile, tiles, options) for tile in shuffled}
    store = Store(resolved)
    stats = join_borders(supers, store)
    if options.audit and mode == "instances":
        cuts = _cuts(supers, store, tiles)
        resolved |= {tile.name: resolve_fragments(supers, tile, tiles, options, cuts) for tile in shuffled}
        stats = join_borders(supers, store)
    described = {tile.name: _describe(supers, tile, store, options=options, mode=mode) for tile in shuffled}
    blocks = [block for tile in everyone for block in supers.blocks(tile)]
    pictures = {}
    for i in rng.permutation(len(blocks)):
        pictures[blocks[i]] = _paint(supers, blocks[i], described, source=tiles, mode=mode, options=options)
    histogram = (
        np.zeros(20, dtype=np.int64)
        if mode == "semantic"
        else np.sum([r.scores for r in resolved.values()], axis=0)
    )
    return _collect(lattice, pictures, described, stats=stats, histogram=histogram, min_px=min_px)


def _cuts(supers: SuperLattice, store: Store, source: BlockWise) -> NDArray[np.int64]:
    """(k, 2) places of the edges that the audit cuts."""
    forbidden = [np.zeros((3, 0), dtype=np.int64)]
    keys = []
    links = []
    for tile in supers.all():
        found = store.resolved[tile.name]
        relabel = store.relabels[tile.name]
        key = whole_roots(found.roots, relabel)[0].key[found.component]
        forbidden.append(
            forbidden_pairs(found.table, key, lambda n: source.labels(*divmod(n, supers.lattice.n_tile_cols)))
        )
        of_place = dict(zip(found.table.place.tolist(), key.tolist(), strict=True))
        keys.append([of_place[place] for place in found.links.a.tolist()])
        links.append(found.links)
    pairs = np.concatenate(forbidden, axis=1)
    every = join_links(links)
    suspect = np.isin(np.concatenate([np.zeros(0), *keys]), pairs[2])
    mine = Links(a=every.a[suspect], b=every.b[suspect], score=every.score[suspect])
    return np.stack([mine.a, mine.b], axis=1)[cut_edges(mine, pairs)]


def _describe(
    supers: SuperLattice, tile: SuperTile, store: Store, *, options: StitchOptions, mode: str
) -> tuple[PaintColumns | RegionPaint, ComponentColumns, MemberColumns]:
    found = store.resolved[tile.name]
    relabel = store.relabels[tile.name]
    if mode == "semantic":
        return describe_regions(found.regions, found.witnesses, own=found.roots, relabel=relabel)
    left = supers.before(tile, 1)
    upper = supers.before(tile, 0)
    neighbours = {EAST: left and store.border(left), SOUTH: upper and store.border(upper)}
    fragments = FragmentColumns(table=found.table, component=found.component, matched=found.matched)
    incoming = incoming_bits(neighbours)
    return describe_fragments(
        supers,
        tile,
        fragments=fragments,
        own=found.roots,
        relabel=relabel,
        incoming=incoming,
        options=options,
    )


def _take_block(paint: Any, number: int) -> Any:
    rows = paint.block == number
    return type(paint)(**{name: getattr(paint, name)[rows] for name in paint.__slots__})


def _paint(
    supers: SuperLattice,
    block: tuple[int, int],
    described: dict[str, Any],
    *,
    source: BlockWise,
    mode: str,
    options: StitchOptions,
) -> BlockPicture:
    lattice = supers.lattice
    cache = TileCache(source, supers.lattice)

    def of(row: int, col: int) -> Any:
        return _take_block(described[supers.of_block(row, col).name][0], row * lattice.n_block_cols + col)

    if mode == "semantic":
        return region_picture(supers, cache, of(*block), block=block)
    fragments = concatenate_paint([of(*near) for near in near_blocks(lattice, *block)])
    return BlockPainter(lattice, cache, fragments, options.keep_share).picture(*block)


def _collect(
    lattice: TileLattice,
    pictures: dict[tuple[int, int], BlockPicture],
    described: dict[str, Any],
    *,
    stats: Any,
    histogram: Any,
    min_px: int,
) -> Result:
    raster = np.zeros((lattice.grid.height, lattice.grid.width), dtype=np.uint64)
    scores = np.zeros(raster.shape, dtype=np.float32)
    blocked: set[int] = set()
    for block, picture in pictures.items():
        where = lattice.block_core(*block).slices_in(lattice.grid.window)
        raster[where], scores[where] = picture.ids[picture.image], picture.score[picture.image]
        blocked |= set(picture.blocked.tolist())
    areas = dict(zip(*(v.tolist() for v in np.unique(raster[raster > 0], return_counts=True)), strict=True))
    rows: dict[int, dict[str, Any]] = {}
    local: dict[int, int] = {}
    for _, components, members in described.values():
        for i, instance in enumerate(components.id.tolist()):
            if components.home[i] != CROSSING:
                assert instance not in rows, "a local component belongs to one super-tile"
                local[instance] = int(components.home[i])
            row = rows.setdefault(instance, {"truncated": False, "one_sided": False, "tiles": set()})
            row["truncated"] |= bool(components.truncated[i])
            row["one_sided"] |= bool(components.one_sided[i])
            for name in ("complete", "rep_place", "rep_prompt", "score", "least_px"):
                value = getattr(components, name)[i].item()
                assert row.setdefault(name, value) == value, name
        for instance, tile in zip(members.id.tolist(), members.tile.tolist(), strict=True):
            rows[instance]["tiles"].add(tile)
    for instance, row in rows.items():
        row["n_px"], row["truncated"] = areas.get(instance, 0), row["truncated"] or instance in blocked
    shown = {instance: row for instance, row in rows.items() if row["n_px"] >= max(row["least_px"], min_px)}
    low = np.array(
        [instance for instance, row in rows.items() if row["n_px"] < row["least_px"]], dtype=np.uint64
    )
    raster[np.isin(raster, low)] = 0
    assert set(areas) <= set(rows)
    return Result(
        raster=raster,
        scores=scores,
        rows=shown,
        local=local,
        pictures=pictures,
        stats=stats,
        histogram=histogram,
        given_px=sum(picture.found.given_px for picture in pictures.values()),
        kept_px=sum(picture.found.kept_px for picture in pictures.values()),
    )
