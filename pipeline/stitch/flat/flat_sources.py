"""The whole region at once: every tile's fragments, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.errors import RecordError
from pipeline.schema.tile_answers import Fragment
from pipeline.schema.tiling import TileLattice
from pipeline.stitch.fragment_table import N_COLUMNS, FragmentTable, rank_fragments
from pipeline.stitch.sources import LabelSource


@dataclass(frozen=True, kw_only=True, slots=True)
class TileFragments:
    """One tile of one query without its labels."""

    tile_row: int
    tile_col: int
    fragments: tuple[Fragment, ...]
    """Local ids 1..n, in any order."""


class TileSource(LabelSource, Protocol):
    """The tiles of ONE query, by lattice position. It must answer the same whenever it is asked."""

    def records(self) -> Iterator[TileFragments]:
        """Every tile with fragments, once, in any order."""
        ...


def fragment_table(records: Iterable[TileFragments], lattice: TileLattice) -> FragmentTable:
    """Columns of all fragments of all records, independent of the order of records.

    Raises RecordError for a tile that comes twice or whose local ids are not 1..n.
    """
    parts = []
    seen = set()
    for record in records:
        tile = record.tile_row * lattice.n_tile_cols + record.tile_col
        if tile in seen:
            raise RecordError(
                f"tile ({record.tile_row}, {record.tile_col}) has two records for one query; "
                "remove the foreign one"
            )
        seen.add(tile)
        if record.fragments:
            parts.append(np.array([_row(tile, fragment) for fragment in record.fragments], dtype=np.int64))
    return rank_fragments(
        np.concatenate(parts) if parts else np.zeros((0, N_COLUMNS), dtype=np.int64), lattice
    )


def _row(tile: int, f: Fragment) -> tuple[int, ...]:
    w = f.window
    head = (tile, f.local, f.anchor, f.core_px, f.full_px, f.score_q, f.censored, f.margin, f.prompt_index)
    return (*head, w.row0, w.col0, w.row1, w.col1)


def blocks_of(lattice: TileLattice) -> Iterator[tuple[int, int]]:
    """List (block_row, block_col) of all blocks, row-major."""
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            yield block_row, block_col
