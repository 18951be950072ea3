"""Between steps 2 and 3, if asked: components that contradict one tile's own verdict are taken apart
(pipeline.stitch.contradictions).

1. `find_contradictions` looks, per super-tile, for whole fragments of one tile that touch and were joined all
   the same. `gather_forbidden` puts these pairs of a query into one table.
2. `gather_suspects` hands over the edges of the components that were named anywhere.
3. `settle_query` decides for one query which of them are cut, and files those for the super-tile that found
   them.

Where edges were cut, `pipeline.run.merge.publish` runs steps 1 and 2 again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.run.merge.filed_tables import Filed, FiledTables
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.resolve_tasks import SuperKey, cut_table
from pipeline.stitch.components import roots_from
from pipeline.stitch.contradictions import Links, cut_edges, forbidden_pairs, join_links
from pipeline.stitch.describe import whole_roots
from pipeline.stitch.fragment_table import FragmentTable, rank_fragments
from pipeline.stitch.join import Relabel
from pipeline.stitch.supertiles import SuperTile
from pipeline.write.merge_files import read_columns, write_columns


@dataclass(frozen=True, kw_only=True)
class QueryKey:
    """A query, and what was filed for the task that settles it."""

    query_index: int
    files: tuple[StorePath, ...]
    writers: tuple[int, ...]
    """Super-tile that wrote each file."""


@dataclass(frozen=True, kw_only=True)
class AuditCounts:
    """What the audit of one query found."""

    query_index: int = 0
    contradictions: int = 0
    """Pairs of whole, touching fragments of one tile that were joined."""
    components: int = 0
    """Components that hold such pairs."""
    cut_edges: int = 0


def find_contradictions(job: MergeJob, key: SuperKey) -> tuple[Filed, ...]:
    """Part 1 for one super-tile; files the pairs, if there are any. Raises RecordError for a bad record."""
    query, number = key
    tile = job.super_at(number)
    source = job.source(query)
    table, component = _whole_keys(job, query, tile)

    def labels_of(place: int) -> NDArray[np.uint16] | None:
        return source.labels(*divmod(place, job.lattice.n_tile_cols))

    pairs = forbidden_pairs(table, component, labels_of)
    if not pairs.shape[1]:
        return ()
    filed = Filed("forbidden", query, number)
    write_columns(filed.path(job), {"pairs": pairs.T})
    return (filed,)


def query_keys(job: MergeJob, filed: FiledTables, kind: str, queries: Sequence[int]) -> list[QueryKey]:
    """Keys of the tasks that read all tables of one kind of a query."""
    return [
        QueryKey(
            query_index=query,
            files=filed.paths(job, kind, query),
            writers=tuple(filed.writers(kind, query)),
        )
        for query in queries
    ]


def gather_forbidden(job: MergeJob, key: QueryKey) -> None:
    """The forbidden pairs of one query, from the tables of its super-tiles."""
    parts = [read_columns(path)["pairs"] for path in key.files]
    write_columns(_all_forbidden(job, key.query_index), {"pairs": np.concatenate(parts)})


def gather_suspects(job: MergeJob, key: SuperKey) -> tuple[Filed, ...]:
    """Part 2 for one super-tile: files its edges that belong to a component of `_forbidden`, if any do."""
    query, number = key
    tile = job.super_at(number)
    table, component = _whole_keys(job, query, tile)
    links = read_columns(job.table("links", query, tile.name))
    order = np.argsort(table.place)
    whole = component[order][np.searchsorted(table.place[order], links["a"])]
    mine = np.isin(whole, _forbidden(job, query)[2])
    if not mine.any():
        return ()
    filed = Filed("suspects", query, number)
    write_columns(filed.path(job), {name: values[mine] for name, values in links.items()})
    return (filed,)


def settle_query(job: MergeJob, key: QueryKey) -> tuple[AuditCounts, tuple[SuperKey, ...]]:
    """Part 3 for one query; counts, and the super-tiles of which edges were cut. Holds the edges of its
    contradictory components, nothing else.
    """
    query = key.query_index
    forbidden = _forbidden(job, query)
    parts = [Links(**read_columns(path)) for path in key.files]
    links = join_links(parts)
    cut = cut_edges(links, forbidden)
    start = np.cumsum([0, *(part.a.size for part in parts)]).tolist()
    touched = []
    for number, begin, end in zip(key.writers, start[:-1], start[1:], strict=True):
        pairs = np.stack([links.a[begin:end], links.b[begin:end]], axis=1)[cut[begin:end]]
        if len(pairs):
            write_columns(cut_table(job, query, job.super_at(number)), {"pairs": pairs})
            touched.append((query, number))
    n = int(np.unique(forbidden[2]).size)
    counts = AuditCounts(
        query_index=query, contradictions=forbidden.shape[1], components=n, cut_edges=int(cut.sum())
    )
    return counts, tuple(touched)


def _whole_keys(job: MergeJob, query: int, tile: SuperTile) -> tuple[FragmentTable, NDArray[np.int64]]:
    """(fragments of a super-tile, key of the whole component of each), as `join_query` left it."""
    held = read_columns(job.table("fragments", query, tile.name))
    relabel = read_columns(job.table("relabel", query, tile.name))
    own = roots_from(read_columns(job.table("roots", query, tile.name)))
    whole, _ = whole_roots(own, Relabel(key=relabel["local_key"], whole=roots_from(relabel)))
    return rank_fragments(held["rows"], job.lattice), whole.key[held["component"]]


def _forbidden(job: MergeJob, query: int) -> NDArray[np.int64]:
    """(3, k) forbidden pairs of one query with the key of their component, by super-tile."""
    pairs: NDArray[np.int64] = read_columns(_all_forbidden(job, query))["pairs"].T
    return pairs


def _all_forbidden(job: MergeJob, query: int) -> StorePath:
    return job.table("forbidden", query, "all")
