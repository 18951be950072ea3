"""The same objects are left out of tables and of rasters, also at scores that share the limit's byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_table import write_objects
from record_world import META, golden_run, grid_of, id_raster, score_bytes, table_of

from pipeline.write.export.score_floor import KEEP_ALL, score_floor
from pipeline.write.run_dir import RunDir

RASTERS = [id_raster(seed=0), id_raster(seed=1)]
TABLE = table_of(RASTERS)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("floor") / "run"
    golden_run(folder)
    return RunDir(folder)


@given(st.floats(0.01, 1.0), st.lists(st.floats(-0.006, 0.006), min_size=len(TABLE), max_size=len(TABLE)))
@settings(max_examples=40, deadline=None)
def test_tables_and_rasters_agree(run_dir: RunDir, min_score: float, steps: list[float]) -> None:
    scores = np.clip(min_score + np.array(steps), 0, 1).astype(np.float32)
    table = replace(TABLE, score=scores)
    write_objects(run_dir, table, grid=grid_of(), meta=META)
    floor = score_floor(run_dir, (0, 1), min_score)
    wanted = scores.astype(np.float64) >= min_score
    rows = pa.RecordBatch.from_pydict({"score": pa.array(scores), "at": pa.array(np.arange(len(scores)))})
    assert floor.rows(rows)["at"].to_pylist() == np.flatnonzero(wanted).tolist()
    for query, ids in enumerate(RASTERS):
        own = TABLE.query_index == query
        known = dict(zip(TABLE.instance_id[own].tolist(), scores[own].tolist(), strict=True))
        out = floor.left_out(query, ids, score_bytes(ids, known))
        gone = TABLE.instance_id[own][~wanted[own]]
        np.testing.assert_array_equal(out, np.isin(ids, gone))


def test_without_a_limit_nothing_is_read_or_left_out(tmp_path: Path) -> None:
    assert score_floor(RunDir(tmp_path / "no run"), (0,), 0.0) is KEEP_ALL
    assert not KEEP_ALL.left_out(0, RASTERS[0], np.zeros(RASTERS[0].shape, np.uint8)).any()
