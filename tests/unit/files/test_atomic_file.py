from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.files.atomic_file import atomic_path, remove_leftovers, write_bytes_atomic

ROOT = Path(__file__).parents[3]


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


def test_only_leftovers_are_swept_up(tmp_path: Path) -> None:
    for name in (".a.parquet.x1.tmp", "c.parquet", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (1, 1))
    assert remove_leftovers(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "c.parquet"]
    assert remove_leftovers(tmp_path / "absent") == 0


def test_what_the_dead_left_goes_at_once_and_what_the_living_write_stays(tmp_path: Path) -> None:
    deep = tmp_path / "masks.zarr" / "c" / "0"
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from pipeline.files.atomic_file import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for folder in (tmp_path, deep):
        done = subprocess.run([sys.executable, "-c", code, str(folder / "dead")], cwd=ROOT, check=False)
        assert done.returncode == -9
    assert [len(list(folder.glob(".dead.*.tmp"))) for folder in (tmp_path, deep)] == [1, 1]
    with atomic_path(deep / "alive") as temporary:
        temporary.write_bytes(b"new")
        assert remove_leftovers(tmp_path) == 1
        assert remove_leftovers(tmp_path, deep=True) == 1
        assert temporary.exists()
    assert [path.name for path in deep.iterdir()] == ["alive"]


def test_a_temporary_file_that_is_swept_up_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkstemp

    def swept_once(**words: Any) -> tuple[int, str]:
        handle, name = make(**words)
        made.append(name)
        if len(made) == 1:
            assert remove_leftovers(tmp_path) == 1
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", swept_once)
    assert write_bytes_atomic(tmp_path / "a", b"abc").read_bytes() == b"abc"
    assert len(made) == 2


def test_without_locks_only_age_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, how: int) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, age_s in ((".old.1.tmp", 7200), (".young.1.tmp", 0)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert remove_leftovers(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".young.1.tmp"]
    assert write_bytes_atomic(tmp_path / "a", b"abc").read_bytes() == b"abc"
