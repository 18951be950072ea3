"""Between steps 2 and 3, if asked: components that contradict one tile's own verdict are taken apart
(pipeline.stitch.contradictions).

1. `find_contradictions` looks, per super-tile, for whole fragments of one tile that touch and were joined all
   the same.
2. `gather_suspects` hands over the edges of the components that were named anywhere.
3. `settle_query` decides for one query which of them are cut, and files those under the super-tile that found
   them.

Where edges were cut, `pipeline.run.merge.publish` runs steps 1 and 2 again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.resolve_tasks import SuperKey
from pipeline.stitch.components import roots_from
from pipeline.stitch.contradictions import Links, cut_edges, forbidden_pairs, join_links
from pipeline.stitch.describe import whole_roots
from pipeline.stitch.fragment_table import FragmentTable, rank_fragments
from pipeline.stitch.join import Relabel
from pipeline.stitch.supertiles import SuperTile
from pipeline.write.merge_files import files_in, read_columns, write_columns


@dataclass(frozen=True, kw_only=True)
class AuditCounts:
    """What the audit of one query found."""

    query_index: int = 0
    contradictions: int = 0
    """Pairs of whole, touching fragments of one tile that were joined."""
    components: int = 0
    """Components that hold such pairs."""
    cut_edges: int = 0


def find_contradictions(job: MergeJob, key: SuperKey) -> tuple[int, int]:
    """Part 1 for one super-tile; (query_index, pairs found). Raises RecordError for records that cannot be
    read.
    """
    query, number = key
    tile = job.super_at(number)
    source = job.source(query)
    table, component = _whole_keys(job, query, tile)

    def labels_of(place: int) -> NDArray[np.uint16] | None:
        return source.labels(*divmod(place, job.lattice.n_tile_cols))

    pairs = forbidden_pairs(table, component, labels_of)
    if pairs.shape[1]:
        write_columns(job.table("forbidden", query, tile.name), {"pairs": pairs.T})
    return query, int(pairs.shape[1])


def gather_suspects(job: MergeJob, key: SuperKey) -> None:
    """Part 2 for one super-tile: its edges that belong to a component of `_forbidden`."""
    query, number = key
    tile = job.super_at(number)
    table, component = _whole_keys(job, query, tile)
    links = read_columns(job.table("links", query, tile.name))
    order = np.argsort(table.place)
    whole = component[order][np.searchsorted(table.place[order], links["a"])]
    mine = np.isin(whole, _forbidden(job, query)[2])
    if mine.any():
        write_columns(
            job.table("suspects", query, tile.name), {name: values[mine] for name, values in links.items()}
        )


def settle_query(job: MergeJob, query: int) -> AuditCounts:
    """Part 3 for one query. Holds the edges of its contradictory components, nothing else."""
    forbidden = _forbidden(job, query)
    files = files_in(job.table("suspects", query, "x").parent)
    parts = [Links(**read_columns(path)) for path in files]
    links = join_links(parts)
    cut = cut_edges(links, forbidden)
    start = np.cumsum([0, *(part.a.size for part in parts)]).tolist()
    for path, begin, end in zip(files, start[:-1], start[1:], strict=True):
        pairs = np.stack([links.a[begin:end], links.b[begin:end]], axis=1)[cut[begin:end]]
        if len(pairs):
            write_columns(job.table("cuts", query, path.stem), {"pairs": pairs})
    n = int(np.unique(forbidden[2]).size)
    return AuditCounts(
        query_index=query, contradictions=forbidden.shape[1], components=n, cut_edges=int(cut.sum())
    )


def cut_keys(job: MergeJob) -> list[SuperKey]:
    """The super-tiles that hold edges which were cut."""
    return [
        (query, number)
        for query, number in job.super_keys()
        if job.table("cuts", query, job.super_at(number).name).exists()
    ]


def _whole_keys(job: MergeJob, query: int, tile: SuperTile) -> tuple[FragmentTable, NDArray[np.int64]]:
    """(fragments of a super-tile, key of the whole component of each), as `join_query` left it."""
    held = read_columns(job.table("fragments", query, tile.name))
    relabel = read_columns(job.table("relabel", query, tile.name))
    own = roots_from(read_columns(job.table("roots", query, tile.name)))
    whole, _ = whole_roots(own, Relabel(key=relabel["local_key"], whole=roots_from(relabel)))
    return rank_fragments(held["rows"], job.lattice), whole.key[held["component"]]


def _forbidden(job: MergeJob, query: int) -> NDArray[np.int64]:
    """(3, k) forbidden pairs of one query with the key of their component, by the name of the super-tile."""
    files = files_in(job.table("forbidden", query, "x").parent)
    return np.concatenate(
        [np.zeros((3, 0), dtype=np.int64), *(read_columns(path)["pairs"].T for path in files)], axis=1
    )
