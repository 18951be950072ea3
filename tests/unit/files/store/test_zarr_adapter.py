"""zarr over our stores: the same arrays as zarr's own local store gives, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from s3_server import BUCKET, serving_s3
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from pipeline.files.store.store_path import StorePath, store_path
from pipeline.files.store.zarr_adapter import Written, ZarrFolder

PROTOTYPE = default_buffer_prototype()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> StorePath:
    base = tmp_path if request.param == "local" else f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}"
    return store_path(base) / "run" / "masks.zarr"


def read(store: ZarrFolder, key: str, wanted: Any = None) -> bytes | None:
    found = asyncio.run(store.get(key, PROTOTYPE, wanted))
    return None if found is None else found.to_bytes()


def listed(store: ZarrFolder, prefix: str, *, deep: bool) -> list[str]:
    async def collect() -> list[str]:
        return [name async for name in (store.list_prefix if deep else store.list_dir)(prefix)]

    return asyncio.run(collect())


def draw(store: Any) -> None:
    """A group with sharded pixels, texts and attributes; half of the shards are never written."""
    group = zarr.create_group(store=store, zarr_format=3, attributes={"title": "é"})
    pixels = group.create_array(
        "mask", shape=(1, 16, 16), chunks=(1, 4, 4), shards=(1, 8, 8), dtype="uint8", fill_value=255
    )
    pixels[0, 0:8, 8:16] = np.arange(64, dtype=np.uint8).reshape(8, 8)
    pixels[0, 8:16, 0:8] = 3
    texts = group.create_array("query", shape=(2,), dtype=str)
    texts[:] = np.array(["roofs", "été"], dtype=object)


def test_the_objects_are_those_of_zarrs_own_store(folder: StorePath, tmp_path: Path) -> None:
    draw(ZarrFolder(folder))
    draw(str(tmp_path / "oracle.zarr"))
    own = {path.below(folder): path.read_bytes() for path in folder.entries()}
    oracle = tmp_path / "oracle.zarr"
    assert own == {
        path.relative_to(oracle).as_posix(): path.read_bytes() for path in oracle.rglob("*") if path.is_file()
    }
    assert "mask/c/0/0/0" not in own


def test_what_zarr_wrote_itself_is_read(tmp_path: Path) -> None:
    draw(str(tmp_path / "m.zarr"))
    group = zarr.open_group(store=ZarrFolder(store_path(tmp_path / "m.zarr"), read_only=True), mode="r")
    again = zarr.open_group(str(tmp_path / "m.zarr"), mode="r")
    for name in ("mask", "query"):
        np.testing.assert_array_equal(group[name][...], again[name][...])  # type: ignore[index]
    assert sorted(name for name, _ in group.members()) == ["mask", "query"]


def test_parts_of_an_object_are_read(folder: StorePath) -> None:
    (folder / "a" / "b").write_bytes(b"0123456789")
    store = ZarrFolder(folder)
    assert read(store, "a/b") == b"0123456789"
    assert read(store, "a/b", RangeByteRequest(3, 7)) == b"3456"
    assert read(store, "a/b", OffsetByteRequest(7)) == b"789"
    assert read(store, "a/b", SuffixByteRequest(3)) == b"789"
    assert read(store, "a/b", SuffixByteRequest(30)) == b"0123456789"
    both = asyncio.run(
        store.get_partial_values(PROTOTYPE, [("a/b", RangeByteRequest(0, 2)), ("none", None), ("a/b", None)])
    )
    assert [None if part is None else part.to_bytes() for part in both] == [b"01", None, b"0123456789"]


@pytest.mark.parametrize("key", ["none", "a", "a/b/c"])
@pytest.mark.parametrize("wanted", [None, RangeByteRequest(0, 1), OffsetByteRequest(0), SuffixByteRequest(1)])
def test_what_is_not_there_is_none(folder: StorePath, key: str, wanted: Any) -> None:
    """A folder and a name below an object are no objects."""
    (folder / "a" / "b").write_bytes(b"x")
    assert read(ZarrFolder(folder), key, wanted) is None
    assert not asyncio.run(ZarrFolder(folder).exists(key))
    assert asyncio.run(ZarrFolder(folder).exists("a/b"))


def test_objects_are_listed_and_deleted(folder: StorePath) -> None:
    for key in ("zarr.json", "mask/zarr.json", "mask/c/0/1", "masks/x"):
        (folder / key).write_bytes(b"x")
    (folder.parent / "masks.zarr2" / "y").write_bytes(b"x")
    store = ZarrFolder(folder)
    everything = ["mask/c/0/1", "mask/zarr.json", "masks/x", "zarr.json"]
    assert sorted(listed(store, "", deep=True)) == everything
    assert sorted(listed(store, "mask/", deep=True)) == ["mask/c/0/1", "mask/zarr.json"]
    assert listed(store, "mask", deep=False) == ["c", "zarr.json"]
    assert listed(store, "", deep=False) == ["mask", "masks", "zarr.json"]
    assert listed(store, "none", deep=False) == []

    async def every() -> list[str]:
        return [key async for key in store.list()]

    assert sorted(asyncio.run(every())) == everything
    asyncio.run(store.delete("masks/x"))
    asyncio.run(store.delete("masks/x"))
    assert sorted(listed(store, "", deep=True)) == ["mask/c/0/1", "mask/zarr.json", "zarr.json"]


def test_what_was_written_is_noted_with_its_hash_of_the_last_time(folder: StorePath) -> None:
    store = ZarrFolder(folder)
    store.write("a", b"first")
    asyncio.run(store.set("a", PROTOTYPE.buffer.from_bytes(b"second!")))
    store.write("b/c", b"")
    assert store.written == {
        "a": Written("a", 7, hashlib.sha256(b"second!").hexdigest()),
        "b/c": Written("b/c", 0, hashlib.sha256(b"").hexdigest()),
    }
    assert (folder / "a").read_bytes() == b"second!"
    asyncio.run(store.delete("a"))
    assert list(store.written) == ["b/c"], "what was removed again is not written"
    assert ZarrFolder(folder).written == {}, "of one instance"


def test_where_a_caller_knows_everything_nothing_is_read(folder: StorePath) -> None:
    """Whoever writes whole shards needs the metadata alone, and made it."""
    store = ZarrFolder(folder, known={"zarr.json": b"{known}"})
    for each in (store, store.with_read_only(True)):
        assert read(each, "zarr.json") == b"{known}"
    assert not (folder / "zarr.json").exists()
    (folder / "other").write_bytes(b"stored")
    (folder / "zarr.json").write_bytes(b"{stored}")
    assert read(store, "other") is None
    assert read(store, "zarr.json") == b"{known}"
    assert read(ZarrFolder(folder), "zarr.json") == b"{stored}"


def test_a_reader_cannot_write(folder: StorePath) -> None:
    (folder / "a").write_bytes(b"x")
    store = ZarrFolder(folder).with_read_only(True)
    with pytest.raises(ValueError, match="read-only"):
        asyncio.run(store.set("a", PROTOTYPE.buffer.from_bytes(b"y")))
    with pytest.raises(ValueError, match="read-only"):
        asyncio.run(store.delete("a"))
    assert (folder / "a").read_bytes() == b"x"


def test_two_of_one_folder_are_equal_and_travel(folder: StorePath) -> None:
    store = ZarrFolder(folder)
    assert store == ZarrFolder(folder)
    assert hash(store) == hash(ZarrFolder(folder))
    assert store != ZarrFolder(folder, read_only=True)
    assert store != ZarrFolder(folder / "other")
    assert store != object()
    assert str(store) == str(folder)
    draw(store)
    back = pickle.loads(pickle.dumps(store))
    assert back == store
    mask = zarr.open_group(store=back, mode="r")["mask"]
    assert int(np.asarray(mask[0, 0:8, 8:16]).sum()) == sum(range(64))  # type: ignore[index]
