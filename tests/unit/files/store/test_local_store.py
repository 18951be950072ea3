from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files.store.local_store import SWAP_LOCK, LocalStore
from tests.unit.files.store.store_contract import StoreContract


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "out")


def test_an_object_is_a_file_with_ordinary_permissions(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "plain").write_bytes(b"")
    for key in ("put", "created"):
        assert (store.put if key == "put" else store.create)(key, b"abc")
        assert (tmp_path / key).stat().st_mode == (tmp_path / "plain").stat().st_mode
    version = store.put("swapped", b"a")
    store.swap("swapped", b"b", version)
    assert sorted(os.listdir(tmp_path)) == sorted([SWAP_LOCK, "created", "plain", "put", "swapped"])


def test_files_of_writers_at_work_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    version = store.put("a", b"a")
    store.swap("a", b"b", version)
    (tmp_path / ".a.123.tmp").write_bytes(b"half")
    assert [entry.key for entry in store.entries("")] == ["a"]


def test_nobody_waits_for_a_process_that_was_killed_while_it_swapped(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    version = store.put("a", b"a")
    code = (
        "import fcntl, os, signal, sys\n"
        f"handle = os.open({str(tmp_path / SWAP_LOCK)!r}, os.O_CREAT | os.O_RDWR)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert store.swap("a", b"b", version) is not None


def test_a_swap_is_dated_later_than_what_it_replaces(tmp_path: Path) -> None:
    """Else the third of three swaps within one tick of the clock could have the version of the first: its
    inode is free again.
    """
    store = LocalStore(tmp_path)
    store.put("a", b"0")
    ahead_ns = (tmp_path / "a").stat().st_mtime_ns + 10**12
    os.utime(tmp_path / "a", ns=(ahead_ns, ahead_ns))
    entry = store.head("a")
    assert entry is not None
    version = store.swap("a", b"1", entry.version)
    assert version is not None
    assert (tmp_path / "a").stat().st_mtime_ns == ahead_ns + 1
    assert store.get("a").version == version


def test_a_full_disk_leaves_the_old_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"old")
    with pytest.raises(OSError, match="No such file"):
        store.put("a", tmp_path / "missing source")
    assert store.get("a").data == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a"]
