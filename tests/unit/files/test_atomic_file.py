from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.files.atomic_file import atomic_path, remove_leftovers, write_bytes_atomic


def test_a_file_appears_whole_with_ordinary_permissions(tmp_path: Path) -> None:
    path = write_bytes_atomic(tmp_path / "sub" / "a.bin", b"abc")
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode == plain.stat().st_mode
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path: Path) -> None:
    path = write_bytes_atomic(tmp_path / "a.bin", b"old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_only_old_leftovers_are_swept_up(tmp_path: Path) -> None:
    old = tmp_path / ".a.parquet.x1.tmp"
    fresh = tmp_path / ".b.parquet.x2.tmp"
    other = tmp_path / "c.parquet"
    for path in (old, fresh, other):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    assert remove_leftovers(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.parquet.x2.tmp", "c.parquet"]
    assert remove_leftovers(tmp_path / "absent") == 0
