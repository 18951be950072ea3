"""The lock of a run directory goes with its driver, also without unwinding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import RunBusyError
from pipeline.files.store.local_store import SWAP_LOCK
from pipeline.run.sole_driver import sole_driver
from pipeline.write.run_lock import LOCK_NAME, take

STUCK = """
import ctypes, os, signal, sys, threading
from pathlib import Path
from pipeline.run.sole_driver import sole_driver
from pipeline.run.stop_signals import Grace, heed_signals
from pipeline.write.run_lock import take
heed_signals(Grace(finish_s=0.1, close_s=0.1, last_s=20.0))
folder = Path(sys.argv[1])
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
with sole_driver(folder):
    take(folder)
    if len(sys.argv) > 2:
        (folder / "run.lock").write_text(sys.argv[2])
    libc.pthread_mutex_lock(mutex)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    libc.pthread_mutex_lock(mutex)
"""
"""A driver that is told to stop, and hangs in native code."""


ELSEWHERE = {"host": "elsewhere", "pid": 1, "born": "1", "pid_table": "another", "token": "theirs"}


def test_the_lock_is_given_back_at_the_end(tmp_path: Path) -> None:
    with sole_driver(tmp_path) as require_still_alone:
        take(tmp_path)
        require_still_alone()
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()


def hang(folder: Path, *lock: str) -> int:
    """Exit code of a driver that hangs."""
    command = [sys.executable, "-c", STUCK, str(folder), *lock]
    return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode


def test_a_driver_that_hangs_gives_it_back_too(tmp_path: Path) -> None:
    assert hang(tmp_path) == 143
    assert not [path for path in tmp_path.iterdir() if path.name != SWAP_LOCK]


def test_a_driver_that_hangs_leaves_the_lock_of_its_successor(tmp_path: Path) -> None:
    successor = json.dumps(ELSEWHERE)
    assert hang(tmp_path, successor) == 143
    assert (tmp_path / LOCK_NAME).read_text() == successor


def test_another_driver_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text(json.dumps(ELSEWHERE))
    with pytest.raises(RunBusyError, match="process 1 on elsewhere"), sole_driver(tmp_path):
        raise AssertionError
