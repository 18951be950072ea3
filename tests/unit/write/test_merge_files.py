from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from s3_server import BUCKET, serving_s3

from pipeline.errors import RecordError
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.write.merge_files import (
    read_columns,
    read_tables,
    write_columns,
    write_table,
)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> StorePath:
    if request.param == "local":
        return store_path(tmp_path)
    return store_path(f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}")


def test_columns_of_every_kind_come_back_batch_by_batch(tmp_path: Path) -> None:
    first = {
        "id": np.array([1, 2**63 + 5], dtype=np.uint64),
        "flag": np.array([True, False]),
        "score": np.array([0.5, 1.0], dtype=np.float32),
        "window": np.arange(8).reshape(2, 4),
    }
    second = {name: values[:0] for name, values in first.items()}
    path = write_columns(store_path(tmp_path) / "deep" / "a.arrow", first, second, first)
    for batch, want in ((0, first), (1, second), (2, first)):
        got = read_columns(path, batch)
        for name, values in want.items():
            np.testing.assert_array_equal(got[name], values)
            assert got[name].dtype == values.dtype
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.arrow"], "nothing temporary is left"


def test_tables_are_joined_in_order_and_empty_ones_keep_their_schema(base: StorePath) -> None:
    schema = pa.schema([("n", pa.int64()), ("names", pa.list_(pa.string()))])
    write_table(base / "b.arrow", pa.Table.from_pylist([{"n": 2, "names": ["x"]}], schema=schema))
    write_table(
        base / "a.arrow",
        pa.Table.from_pylist([{"n": 1, "names": []}, {"n": 3, "names": None}], schema=schema),
    )
    write_table(base / "c.arrow", schema.empty_table())
    files = [base / name for name in ("a.arrow", "b.arrow", "c.arrow")]
    table = read_tables(files)
    assert table.schema == schema
    assert table.to_pylist() == [{"n": 1, "names": []}, {"n": 3, "names": None}, {"n": 2, "names": ["x"]}]
    assert read_tables(files, column="names").to_pylist() == [
        {"names": []},
        {"names": None},
        {"names": ["x"]},
    ]


@pytest.mark.parametrize("keep", [0, 10, -20])
def test_a_torn_or_missing_table_is_named(base: StorePath, keep: int) -> None:
    path = write_columns(base / "a.arrow", {"n": np.arange(5)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RecordError, match=r"a\.arrow cannot be read"):
        read_columns(path)
    with pytest.raises(RecordError, match=r"b\.arrow cannot be read"):
        read_columns(base / "b.arrow")
