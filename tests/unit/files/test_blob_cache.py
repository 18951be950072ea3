"""Blobs that can be made again: found, lost, damaged, and removed by age, by one process and by several."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files.blob_cache import KEPT_SHARE, LOOKS, BlobCache, BlobCounts

KEY = "ab" * 32


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def blobs_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*.blob"))


def test_what_was_put_is_found_by_every_process_with_the_folder(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 1000)
    assert cache.get(KEY) is None
    assert not (tmp_path / "cache").exists(), "looking makes nothing"
    cache.put(KEY, b"pixels")
    other = BlobCache(tmp_path / "cache", 1000)
    blob = other.get(KEY)
    assert blob is not None
    assert bytes(blob) == b"pixels"
    assert cache.counts == BlobCounts(misses=1, stored=1)
    assert other.counts == BlobCounts(hits=1)


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "longer"])
def test_a_damaged_blob_is_a_miss_and_can_be_put_again(tmp_path: Path, change: str) -> None:
    cache = BlobCache(tmp_path, 1000)
    cache.put(KEY, b"pixels")
    (path,) = blobs_in(tmp_path)
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes({"flip": flipped, "cut": data[:-2], "empty": b"", "longer": data + b"x"}[change])
    assert cache.get(KEY) is None
    assert (cache.counts.misses, cache.counts.damaged) == (1, 1)
    assert blobs_in(tmp_path) == []
    cache.put(KEY, b"pixels")
    assert cache.get(KEY) is not None


def test_what_was_not_asked_for_longest_goes_first(tmp_path: Path) -> None:
    size = 68
    n_bytes = size + 32
    cache = BlobCache(tmp_path, 10 * n_bytes)
    for number in range(10):
        cache.put(key_of(number), bytes(size))
        os.utime(cache._path(key_of(number)), ns=(number, number))
    assert len(blobs_in(tmp_path)) == 10, "the limit may be filled"
    assert cache.get(key_of(0)) is not None, "and is the youngest from now on"
    cache.put(key_of(10), bytes(size))
    left = [number for number in range(11) if cache.get(key_of(number)) is not None]
    assert left == [0, 3, 4, 5, 6, 7, 8, 9, 10]
    assert len(left) * n_bytes <= KEPT_SHARE * 10 * n_bytes


def test_a_blob_that_never_fits_is_not_kept_and_removes_nothing(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 100)
    cache.put(KEY, bytes(20))
    cache.put(key_of(1), bytes(90))
    assert cache.get(KEY) is not None
    assert (cache.counts.stored, cache.counts.not_stored) == (1, 1)


def test_a_folder_that_cannot_be_written_costs_the_blob_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = BlobCache(tmp_path / "file", 1000)
    cache.put(KEY, b"pixels")
    assert cache.get(KEY) is None
    assert cache.counts == BlobCounts(misses=1, not_stored=1)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "ab" / f".{KEY}.blob.xyz.tmp"
    left.parent.mkdir()
    left.write_bytes(bytes(10))
    BlobCache(tmp_path, 1000).put(key_of(1), b"pixels")
    assert not left.exists()


WORK = """
import hashlib, sys
from pathlib import Path
from pipeline.files.blob_cache import BlobCache

key_of = lambda number: hashlib.sha256(str(number).encode()).hexdigest()
cache = BlobCache(Path(sys.argv[1]), 40_000)
first = int(sys.argv[2])
for number in range(first, first + 100):
    cache.put(key_of(number), str(number).encode() * 300)
    for other in range(max(number - 50, 0), number):
        blob = cache.get(key_of(other))
        assert blob is None or bytes(blob) == str(other).encode() * 300
assert (cache.counts.damaged, cache.counts.not_stored) == (0, 0)
"""
"""Put blobs, and look for those of all others."""


def test_several_processes_share_a_folder_and_its_limit(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path), str(first)]) for first in (0, 50, 100)
    ]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    total = sum(path.stat().st_size for path in blobs_in(tmp_path))
    assert 0.5 * 40_000 < total <= 40_000 * (1 + len(workers) / LOOKS) + len(workers) * 1000
    assert list(tmp_path.glob("**/*.tmp")) == []
