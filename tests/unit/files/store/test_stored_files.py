from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from pipeline.files.store.store_path import StorePath, store_path
from pipeline.files.store.stored_files import arrow_file, zarr_store
from tests.s3_server import BUCKET, serving_s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> StorePath:
    if request.param == "local":
        return store_path(tmp_path / "out")
    return store_path(f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}")


def test_parquet_is_read_in_parts(base: StorePath) -> None:
    noise = np.random.default_rng(1).integers(0, 2**62, 200_000)
    table = pa.table({"a": noise, "b": np.arange(200_000)})
    with (base / "t.parquet").being_written() as temporary:
        pq.write_table(table, temporary, row_group_size=20_000)
    with arrow_file(base / "t.parquet") as source, pq.ParquetFile(source) as file:
        assert file.read_row_group(7).equals(table.slice(140_000, 20_000))
        assert file.read(columns=["b"])["b"].equals(table["b"])
    with pytest.raises(FileNotFoundError), arrow_file(base / "none"):
        pass


def test_zarr_is_written_and_read(base: StorePath) -> None:
    group = zarr.create_group(store=zarr_store(base / "m.zarr"), zarr_format=3)
    array = group.create_array("a", shape=(8, 8), chunks=(2, 2), shards=(4, 4), dtype="uint8", fill_value=7)
    array[0:4, 4:8] = np.arange(16, dtype=np.uint8).reshape(4, 4)
    again = zarr.open_group(store=zarr_store(base / "m.zarr", read_only=True), mode="r")["a"]
    assert isinstance(again, zarr.Array)
    assert np.array_equal(again[0:4, 4:8], np.arange(16).reshape(4, 4))
    assert np.all(np.asarray(again[4:8]) == 7)
    assert (base / "m.zarr" / "zarr.json").is_file()
    assert [path.key.rpartition("m.zarr/")[2] for path in (base / "m.zarr" / "a" / "c").entries()] == [
        "a/c/0/1"
    ]
