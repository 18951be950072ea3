"""Blocks of one task file their tables together, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from run.merge.two_tiles import two_tile_job

from pipeline.run.merge.filed_tables import Filed
from pipeline.run.merge.for_later import PIECES, ForLater
from pipeline.write.merge_files import read_columns, read_tables


def pieces(*rows: tuple[int, int]) -> pa.RecordBatch:
    """Pieces of (id, block)."""
    return pa.RecordBatch.from_pylist(
        [
            {
                "id": i,
                "block": block,
                "area_px": 1,
                "aoi_px": 1,
                "stopped": False,
                "outline": b"",
                "scenes": [],
            }
            for i, block in rows
        ],
        schema=PIECES,
    )


def runs(*ids: int) -> dict[str, np.ndarray]:
    return {"id": np.array(ids, dtype=np.uint64), "run": np.arange(4 * len(ids)).reshape(-1, 4)}


def test_tables_of_two_blocks_are_parted_by_the_owners_of_the_ids(tmp_path: Path) -> None:
    """Owner 0 has ids 1 and 2, owner 7 has id 9; nothing of id 2 touches a border."""
    job = two_tile_job(tmp_path)
    later = ForLater()
    later.add(
        pa.table({"a": [1]}),
        pieces=(pieces((1, 0), (9, 0)), np.array([0, 7])),
        runs=(runs(1, 9), np.array([0, 7])),
    )
    later.add(None, pieces=(pieces((2, 1), (9, 1)), np.array([0, 7])), runs=(runs(9), np.array([7])))
    filed = later.file(job, 0, 5)
    assert filed == [
        Filed("rows", 0, 5),
        Filed("pieces", 0, 5, 0),
        Filed("runs", 0, 5, 0),
        Filed("pieces", 0, 5, 7),
        Filed("runs", 0, 5, 7),
    ]
    assert read_tables([filed[0].path(job)])["a"].to_pylist() == [1]
    found = [read_tables([table.path(job)]).to_pylist() for table in (filed[1], filed[3])]
    assert [[(row["id"], row["block"]) for row in rows] for rows in found] == [
        [(1, 0), (2, 1)],
        [(9, 0), (9, 1)],
    ]
    assert read_columns(filed[2].path(job))["id"].tolist() == [1]
    both = read_columns(filed[4].path(job))
    assert both["id"].tolist() == [9, 9]
    assert both["run"].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]


def test_blocks_without_objects_file_nothing(tmp_path: Path) -> None:
    later = ForLater()
    nobody = np.zeros(0, dtype=np.int64)
    later.add(None, pieces=(pieces(), nobody), runs=(runs(), nobody))
    assert later.file(two_tile_job(tmp_path), 0, 0) == []
