"""Steps 1 to 3: seams of each super-tile, one union-find over what crosses, and the answer written back per
super-tile.

1. `resolve_super` writes a super-tile's fragments, components and border; `resolve_again` does so without the
   edges that the audit cut.
2. `join_query` streams the borders of one query through one union-find and writes one relabel table per
   super-tile.
3. `describe_super` reads these and writes what painting needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.run.merge.filed_tables import Filed
from pipeline.run.merge.merge_job import MergeJob
from pipeline.stitch.components import Roots, columns_of, roots_from
from pipeline.stitch.describe import (
    CROSSING,
    ComponentColumns,
    FragmentColumns,
    MemberColumns,
    PaintColumns,
    describe_fragments,
    incoming_bits,
)
from pipeline.stitch.flatten import EAST, SOUTH
from pipeline.stitch.fragment_table import rank_fragments, rows_of
from pipeline.stitch.join import JoinStats, Relabel, join_borders
from pipeline.stitch.supertile_regions import (
    RegionBorder,
    RegionColumns,
    RegionPaint,
    WitnessColumns,
    describe_regions,
    resolve_regions,
)
from pipeline.stitch.supertile_seams import SCORE_BINS, FragmentBorder, resolve_fragments
from pipeline.stitch.supertiles import SuperTile
from pipeline.write.merge_files import read_columns, write_columns

SuperKey = tuple[int, int]
"""(query_index, super-tile number)."""


@dataclass(frozen=True, kw_only=True)
class ResolveCounts:
    """What one super-tile held."""

    query_index: int
    n_fragments: int
    n_ghosts: int
    n_edges: int
    scores: NDArray[np.int64]
    """(SCORE_BINS,) mutual-best pairs of pieces by match score."""
    n_disputed: int = 0
    """Pairs that overlap enough, refused because a whole view speaks against them."""


def resolve_super(job: MergeJob, key: SuperKey) -> ResolveCounts:
    """Step 1 for one super-tile.

    Raises RecordError for records that are damaged, foreign or contradict each other.
    """
    query, number = key
    tile = job.super_at(number)
    source = job.source(query)
    if job.mode == "semantic":
        regions = resolve_regions(job.supers, tile, source, job.stitch)
        write_columns(job.table("regions", query, tile.name), _columns(regions.regions))
        witnesses = {"component": regions.witnesses.component, "tile": regions.witnesses.tile}
        write_columns(job.table("witnesses", query, tile.name), witnesses)
        write_columns(job.table("cut", query, tile.name), {"cut": regions.witnesses.cut})
        border = regions.border
        write_columns(
            job.table("border", query, tile.name),
            *({"line": getattr(border, side)} for side in RegionBorder.__slots__),
        )
        write_columns(job.table("roots", query, tile.name), columns_of(regions.roots))
        counts = {"n_fragments": regions.n_fragments, "n_ghosts": 0, "n_edges": 0}
        return ResolveCounts(query_index=query, **counts, scores=np.zeros(SCORE_BINS, dtype=np.int64))
    return _resolve_fragments(job, key, None)


def resolve_again(job: MergeJob, key: SuperKey) -> ResolveCounts:
    """Step 1 for a super-tile of which the audit cut edges, without these."""
    query, number = key
    return _resolve_fragments(job, key, read_columns(cut_table(job, query, job.super_at(number)))["pairs"])


def cut_table(job: MergeJob, query_index: int, tile: SuperTile) -> StorePath:
    """Where the audit writes which edges of a super-tile it cut."""
    return job.table("cuts", query_index, tile.name)


def _resolve_fragments(job: MergeJob, key: SuperKey, cut: NDArray[np.int64] | None) -> ResolveCounts:
    """Step 1 for fragments. `cut`: (n, 2) pairs of places whose edges do not count."""
    query, number = key
    tile = job.super_at(number)
    found = resolve_fragments(job.supers, tile, job.source(query), job.stitch, cut)
    columns = {"rows": rows_of(found.table), "component": found.component, "matched": found.matched}
    write_columns(job.table("fragments", query, tile.name), columns)
    write_columns(job.table("edges", query, tile.name), {"edges": found.border.edges})
    write_columns(job.table("entry", query, tile.name), {"entry": found.border.entry})
    write_columns(job.table("roots", query, tile.name), columns_of(found.roots))
    if job.stitch.audit:
        write_columns(job.table("links", query, tile.name), _columns(found.links))
    return ResolveCounts(
        query_index=query,
        n_fragments=len(found.table),
        n_ghosts=int((found.table.anchor < 0).sum()),
        n_edges=found.n_edges,
        scores=found.scores,
        n_disputed=found.n_disputed,
    )


class _TableStore:
    """`BorderStore` over the tables of one query."""

    def __init__(self, job: MergeJob, query_index: int) -> None:
        self._job = job
        self._query = query_index

    def border(self, tile: SuperTile) -> FragmentBorder | RegionBorder:
        if self._job.mode == "semantic":
            path = self._job.table("border", self._query, tile.name)
            return RegionBorder(
                **{
                    side: read_columns(path, batch)["line"]
                    for batch, side in enumerate(RegionBorder.__slots__)
                }
            )
        edges = read_columns(self._job.table("edges", self._query, tile.name))["edges"]
        return FragmentBorder(
            edges=edges, entry=read_columns(self._job.table("entry", self._query, tile.name))["entry"]
        )

    def roots(self, tile: SuperTile) -> Roots:
        return roots_from(read_columns(self._job.table("roots", self._query, tile.name)))

    def save(self, tile: SuperTile, relabel: Relabel) -> None:
        columns = {"local_key": relabel.key, **columns_of(relabel.whole)}
        write_columns(self._job.table("relabel", self._query, tile.name), columns)


def join_query(job: MergeJob, query_index: int) -> tuple[int, JoinStats]:
    """Step 2 for one query, returned with its figures: the only task that sees the whole region, of which it
    holds what crosses.
    """
    return query_index, join_borders(job.supers, _TableStore(job, query_index))


def describe_super(job: MergeJob, key: SuperKey) -> tuple[Filed, ...]:
    """Step 3 for one super-tile, from its own tables, its relabel table and the borders of the left and upper
    neighbour.

    Writes what painting needs (one batch per block), the components local to each block, and the rows of
    crossing components, filed for the super-tile that owns their id.
    """
    query, number = key
    tile = job.super_at(number)
    store = _TableStore(job, query)
    columns = read_columns(job.table("relabel", query, tile.name))
    relabel = Relabel(key=columns["local_key"], whole=roots_from(columns))
    own = store.roots(tile)
    paint: PaintColumns | RegionPaint
    if job.mode == "semantic":
        regions = RegionColumns(**read_columns(job.table("regions", query, tile.name)))
        cut = read_columns(job.table("cut", query, tile.name))
        witnesses = WitnessColumns(**read_columns(job.table("witnesses", query, tile.name)), **cut)
        paint, components, members = describe_regions(regions, witnesses, own=own, relabel=relabel)
    else:
        held = read_columns(job.table("fragments", query, tile.name))
        fragments = FragmentColumns(
            table=rank_fragments(held["rows"], job.lattice),
            component=held["component"],
            matched=held["matched"],
        )
        before = {EAST: job.supers.before(tile, 1), SOUTH: job.supers.before(tile, 0)}
        incoming = incoming_bits(
            {
                side: None if other is None else _fragment_border(store, other)
                for side, other in before.items()
            }
        )
        paint, components, members = describe_fragments(
            job.supers,
            tile,
            fragments=fragments,
            own=own,
            relabel=relabel,
            incoming=incoming,
            options=job.stitch,
        )
    return _write_described(job, key, paint, components, members)


def _fragment_border(store: _TableStore, tile: SuperTile) -> FragmentBorder:
    border = store.border(tile)
    assert isinstance(border, FragmentBorder)
    return border


def _write_described(
    job: MergeJob,
    key: SuperKey,
    paint: PaintColumns | RegionPaint,
    components: ComponentColumns,
    members: MemberColumns,
) -> tuple[Filed, ...]:
    query, own_number = key
    tile = job.super_at(own_number)
    numbers = np.array(
        [row * job.lattice.n_block_cols + col for row, col in job.supers.blocks(tile)], dtype=np.int64
    )
    for kind, columns, block in (
        ("paint", _columns(paint), paint.block),
        ("components", _columns(components), components.home),
        ("members", _columns(members), members.home),
    ):
        write_columns(job.table(kind, query, tile.name), *_batches(columns, block, numbers))
    filed = []
    for kind, table in (("crossing", components), ("crossing-members", members)):
        rows = np.flatnonzero(table.home == CROSSING)
        owner = job.supers.home(table.id[rows].astype(np.int64) - 1)
        for number in np.unique(owner).tolist():
            columns = {name: values[rows[owner == number]] for name, values in _columns(table).items()}
            filed.append(Filed(kind, query, own_number, reader=number))
            write_columns(filed[-1].path(job), columns)
    return tuple(filed)


def _columns(table: Any) -> dict[str, NDArray[Any]]:
    return {item.name: getattr(table, item.name) for item in fields(table)}


def _batches(
    columns: Mapping[str, NDArray[Any]], block: NDArray[np.int64], numbers: NDArray[np.int64]
) -> list[dict[str, NDArray[Any]]]:
    """One batch per block number; rows of one block keep their order."""
    order = np.argsort(block, kind="stable")
    first = np.searchsorted(block[order], numbers)
    last = np.searchsorted(block[order], numbers, side="right")
    return [
        {name: values[order[i:j]] for name, values in columns.items()}
        for i, j in zip(first.tolist(), last.tolist(), strict=True)
    ]
