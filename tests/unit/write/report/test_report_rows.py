from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from report_world import peak_bytes

from pipeline.errors import InputError
from pipeline.write.report.report_rows import WIDE_ROWS, batches, instance_files, rows_where
from pipeline.write.run_dir import RunDir


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 rows in row groups of 1,300: a number, its text, and a status of three values."""
    path = tmp_path_factory.mktemp("rows") / "a.parquet"
    n = np.arange(5000)
    table = pa.table(
        {"n": n, "text": [f"row {i}" for i in n], "status": np.array(["found", "empty", "failed"])[n % 3]}
    )
    pq.write_table(table, path, row_group_size=1300)
    return path


def test_batches_hold_all_rows_in_order(file: Path) -> None:
    found = list(batches(file, ["n", "status"], coded=("status",)))
    assert np.concatenate([batch["n"].to_numpy() for batch in found]).tolist() == list(range(5000))
    assert all(pa.types.is_dictionary(batch["status"].type) for batch in found)
    assert found[0].schema.names == ["n", "status"]


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 4999), max_size=30), st.booleans())
def test_rows_where_gives_the_wanted_rows_and_no_others(file: Path, wanted: set[int], dense: bool) -> None:
    numbers = np.array(sorted(set(range(5000)) - wanted if dense else wanted), dtype=np.int64)

    def among(rows: pa.Table) -> NDArray[np.bool_]:
        assert rows.column_names == ["n"]
        return np.isin(rows["n"].to_numpy(), numbers)

    found = list(rows_where(file, among, by=("n",), columns=("text",)))
    assert [text for batch in found for text in batch["text"].to_pylist()] == [f"row {i}" for i in numbers]
    assert all(0 < batch.num_rows <= WIDE_ROWS for batch in found)


def test_groups_without_a_wanted_row_are_not_opened(tmp_path: Path) -> None:
    """One group of random bytes is read where one row is wanted, none where none is."""
    rng = np.random.default_rng(0)
    size = 4096
    table = pa.table({"n": np.arange(4000), "blob": [rng.bytes(size) for _ in range(4000)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=500, compression="none", use_dictionary=False)
    del table

    def read(numbers: list[int]) -> int:
        return sum(
            b.num_rows
            for b in rows_where(
                path, lambda rows: np.isin(rows["n"].to_numpy(), numbers), by=("n",), columns=("blob",)
            )
        )

    assert (read([]), read([3999]), read([5, 3999])) == (0, 1, 2)
    assert peak_bytes(lambda: read([])) < 500 * size / 4
    assert peak_bytes(lambda: read(list(range(0, 4000, 250)))) < 2.5 * 500 * size
    assert (
        peak_bytes(lambda: pq.read_table(path, filters=[("n", "=", 5)])) > 500 * size
    )  # the measure sees what Arrow holds


def test_part_files_are_taken_in_order_and_must_exist(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    with pytest.raises(InputError, match="no part file"):
        instance_files(run_dir)
    for name in ("part-00001.parquet", "part-00000.parquet", ".part-00002.parquet.7.tmp"):
        (run_dir.instances / name).write_bytes(b"")
    assert [path.name for path in instance_files(run_dir)] == ["part-00000.parquet", "part-00001.parquet"]
