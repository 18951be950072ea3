"""Synthetic instances and their memory, for the tests of the report."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.write.instances import SCHEMA, part_file
from pipeline.write.run_dir import RunDir

NARROW = ["instance_id", "query_index", "score", "area_px", "area_m2", "part_no", "n_parts"]
"""The columns from which all objects are counted."""

ROW_GROUP_ROWS = 32_768

_POOLS: list[pa.MemoryPool] = []
"""Pools that were measured: buffers given back later still need them."""


def random_rows(n: int, seed: int, *, n_queries: int = 3, no_m2: bool = False) -> pd.DataFrame:
    """n objects with many ties; about one in twelve has two to five rows. Areas are multiples of a quarter,
    so sums are exact.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "instance_id": rng.choice(4 * n + 4, size=n, replace=False) + 1,
            "query_index": rng.integers(0, n_queries, n),
            "score": (rng.integers(0, 41, n) / 40).astype(np.float32),
            "n_parts": np.where(rng.random(n) < 0.08, rng.integers(2, 6, n), 1),
        }
    )
    if n > 3:
        frame.loc[1, ["instance_id", "query_index"]] = [
            frame.loc[0, "instance_id"],
            (frame.loc[0, "query_index"] + 1) % n_queries,
        ]
    frame = frame.drop_duplicates(["query_index", "instance_id"])
    frame = frame.loc[frame.index.repeat(frame["n_parts"])].reset_index(drop=True)
    frame["part_no"] = frame.groupby(["query_index", "instance_id"]).cumcount()
    frame["area_px"] = np.round(10.0 ** rng.uniform(0, 3, len(frame))).astype(np.int64)
    frame["area_m2"] = np.nan if no_m2 else frame["area_px"] * 0.25
    return frame


def write_narrow(
    run_dir: RunDir, frame: pd.DataFrame, *, n_files: int = 1, group_rows: int = ROW_GROUP_ROWS
) -> RunDir:
    """The counted columns of instances/, in the order of the frame."""
    run_dir.instances.local().mkdir(parents=True, exist_ok=True)
    schema = pa.schema([SCHEMA.field(name) for name in NARROW])
    for part, rows in enumerate(np.array_split(np.arange(len(frame)), n_files)):
        table = pa.Table.from_pandas(frame.iloc[rows][NARROW], schema=schema, preserve_index=False)
        pq.write_table(table, part_path(run_dir, part), row_group_size=group_rows)
    return run_dir


def part_path(run_dir: RunDir, part: int) -> Path:
    return part_file(run_dir, part).local()


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes that Python, numpy and Arrow held while `work` ran, each at its own worst moment."""
    work()  # whatever is loaded and cached the first time
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        work()
        return int(tracemalloc.get_traced_memory()[1]) + int(pool.max_memory())
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
