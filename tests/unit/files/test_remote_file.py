from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from fault_server import FaultServer, fault_server
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.files import remote_object
from pipeline.files.remote_error import RemoteError, TimedOutError
from pipeline.files.remote_file import CHUNK_BYTES, MOST_CHUNKS, Failures, _RemoteFile, failures, open_remote
from pipeline.files.remote_object import RemoteObject

PIXELS = np.random.default_rng(0).integers(1, 255, (3, 512, 512)).astype("uint8")
CONTENT = np.random.default_rng(1).integers(0, 255, 3 * CHUNK_BYTES).astype("uint8").tobytes()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    settings = {"width": 512, "height": 512, "count": 3, "dtype": "uint8", "crs": "EPSG:32636"}
    with rasterio.open(
        tmp_path / "scene.tif",
        "w",
        driver="COG",
        blocksize=128,
        transform=Affine(1, 0, 0, 0, -1, 0),
        **settings,
    ) as sink:
        sink.write(PIXELS)
    (tmp_path / "bytes.tif").write_bytes(CONTENT)
    with fault_server(tmp_path) as server:
        yield server


def opened(server: FaultServer) -> Any:
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        return open_remote(f"{server.url}/scene.tif?sig=SECRET")[0]


def in_a_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_pixels_are_those_of_the_file(server: FaultServer) -> None:
    with opened(server) as dataset:
        assert (dataset.read() == PIXELS).all()
        assert dataset.overviews(1) == [2, 4]
        assert "SECRET" not in f"{dataset.name} {dataset.files}"
        assert server.url not in dataset.name
    assert {name for _, name, _ in server.requests} == {"/scene.tif?sig=SECRET"}  # no .ovr, .msk or .aux.xml


def test_datasets_may_change_threads(server: FaultServer) -> None:
    """rasterio's own openers would not be found again by the thread that closes."""
    elsewhere = in_a_thread(lambda: opened(server))
    assert (elsewhere.read() == PIXELS).all()
    elsewhere.close()
    here = opened(server)
    assert (in_a_thread(here.read) == PIXELS).all()
    assert in_a_thread(here.close) is None


def test_many_threads_read_at_once(server: FaultServer) -> None:
    def read(_: int) -> bool:
        with opened(server) as dataset:
            return bool((dataset.read() == PIXELS).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(32)))


def test_a_process_may_end_with_open_datasets(server: FaultServer) -> None:
    script = (
        "import threading\n"
        "from pipeline.files.remote_file import open_remote\n"
        "kept = []\n"
        f"open_one = lambda: kept.append(open_remote('{server.url}/scene.tif')[0])\n"
        "open_one()\n"
        "thread = threading.Thread(target=open_one)\n"
        "thread.start()\n"
        "thread.join()\n"
        "print(sum(int(d.read(1).sum()) for d in kept))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == 2 * int(PIXELS[0].sum())


def test_a_failed_read_is_counted_and_nothing_more_is_read(server: FaultServer) -> None:
    name = f"{server.url}/scene.tif"
    dataset = opened(server)
    server.always = "404"
    before = failures.count(name)
    with pytest.raises(rasterio.errors.RasterioIOError):
        dataset.read()
    assert failures.count(name) > before
    assert "no such object" in str(failures.last(name))
    asked = len(server.requests)
    server.always = ""
    before = failures.count(name)
    with pytest.raises(rasterio.errors.RasterioIOError):
        dataset.read()
    assert failures.count(name) > before
    assert len(server.requests) == asked
    dataset.close()
    with opened(server) as again:
        assert (again.read() == PIXELS).all()


def test_a_file_is_read_like_a_local_one(server: FaultServer, tmp_path: Path) -> None:
    """The same seeks and reads, on both."""
    remote = _RemoteFile(RemoteObject(f"{server.url}/bytes.tif"))
    steps = np.random.default_rng(2).integers(0, len(CONTENT) + 10, (60, 2)).tolist()
    with (tmp_path / "bytes.tif").open("rb") as local, remote:
        for offset, size in [*steps, [0, -1], [CHUNK_BYTES - 1, 2]]:
            assert remote.seek(offset) == local.seek(offset)
            size = size % 1000 if offset % 2 else size
            assert remote.read(size) == local.read(size)
            assert remote.tell() == local.tell()
        assert remote.seek(-5, os.SEEK_END) == local.seek(-5, os.SEEK_END)
        assert remote.seek(2, os.SEEK_CUR) == local.seek(2, os.SEEK_CUR)
        assert remote.read(9) == local.read(9) == CONTENT[-3:]


def test_small_reads_come_in_chunks_and_few_are_kept(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = _RemoteFile(RemoteObject(f"{server.url}/bytes.tif"))
    for offset in range(0, len(CONTENT), 4096):
        remote.seek(offset)
        remote.read(16)
    assert len(server.requests) == 3
    monkeypatch.setattr("pipeline.files.remote_file.MOST_CHUNKS", 1)
    remote.seek(0)
    assert remote.read(CHUNK_BYTES + 8)[-8:] == CONTENT[CHUNK_BYTES : CHUNK_BYTES + 8]
    assert MOST_CHUNKS > 1


def test_ranges_of_a_failed_file_are_zeros_of_the_right_length(server: FaultServer) -> None:
    remote = _RemoteFile(RemoteObject(f"{server.url}/bytes.tif"))
    assert remote.get_byte_ranges([5, 70_000], [3, 4]) == [CONTENT[5:8], CONTENT[70_000:70_004]]
    server.always = "503"
    assert remote.get_byte_ranges([5, 70_000], [3, 4]) == [bytes(3), bytes(4)]
    server.always = ""
    assert remote.get_byte_ranges([5], [3]) == [bytes(3)]
    assert remote.read(3) == b""


def test_failures_are_counted_per_object() -> None:
    mine = Failures()
    assert mine.count("a") == 0
    for number in (1, 2):
        mine.add("a", RemoteError("a", f"no {number}"))
    assert (mine.count("a"), mine.count("b")) == (2, 0)
    assert mine.last("a").reason == "no 2"


def test_a_kept_failure_holds_no_frames() -> None:
    """Whoever raises it would otherwise stay in memory, with the dataset, until the object fails again."""
    mine = Failures()
    mine.add("a", TimedOutError("a", "late", remedy="wait", retryable=True, status=504))
    for _ in range(2):
        with pytest.raises(TimedOutError, match=r"a: late\. To fix: wait") as caught:
            raise mine.last("a")
        assert (caught.value.retryable, caught.value.status) == (True, 504)
        assert mine.last("a").__traceback__ is None


def test_reads_of_more_bytes_than_a_block_has_fail(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.files.remote_file.MOST_READ_BYTES", 40_000)
    name = f"{server.url}/bytes.tif"
    before = failures.count(name)
    assert _RemoteFile(RemoteObject(name)).read(40_000) == CONTENT[:40_000]
    asked = len(server.requests)
    assert _RemoteFile(RemoteObject(name)).read(40_001) == b""
    assert _RemoteFile(RemoteObject(name)).get_byte_ranges([0, 9], [40_001, 1]) == [bytes(40_001), bytes(1)]
    assert failures.count(name) == before + 2
    assert "40,001 bytes at once" in str(failures.last(name))
    assert len(server.requests) == asked + 2  # the two heads


def test_a_header_is_checked_before_gdal_sees_it_and_read_once(server: FaultServer) -> None:
    def refuse(file: Any, name: str) -> None:
        assert file.read(2) == b"II"
        raise InputError(f"no: {name}")

    with pytest.raises(InputError, match="no: http"):
        open_remote(f"{server.url}/scene.tif", check=refuse)
    server.clear()
    with open_remote(f"{server.url}/scene.tif", check=lambda file, _: file.seek(0) and None)[0] as dataset:
        assert dataset.count == 3
    assert len(server.requests) == 1
