"""A run that is killed leaves no process behind: no engine, no worker, no part of a Ray of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import psutil
import pytest
from label_worlds import blobs, write_label_world

ROOT = Path(__file__).parents[2]
MARK = "TERRAQUERY_TEST_MARK"
ENDING_S = 60.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def marked(mark: str) -> list[psutil.Process]:
    """All living processes that have inherited a mark, and whose environment can be read: not those that
    have given themselves a title."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def still(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that live."""
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_of_a_killed_run_with_an_engine_nothing_is_left(runner: str, tmp_path: Path) -> None:
    """36 blocks of one tile; killed when the first is committed. The models are those that are shipped."""
    world = write_label_world(tmp_path / "world", blobs(np.random.default_rng(3), 1100, 1100, grain=90))
    mark = str(uuid.uuid4())
    family = list[psutil.Process]()
    words = ["--source", str(world.scene), "--whole-scene", "--query", "swimming pools", "--block", "1"]
    job = subprocess.Popen(
        [
            sys.executable,
            "jobs/segment_region.py",
            *words,
            "--runner",
            runner,
            "--out",
            str(tmp_path / "out"),
        ],
        cwd=ROOT,
        env=os.environ | {MARK: mark, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list((tmp_path / "out" / "blocks").glob("*.parquet")):
            assert job.poll() is None
            time.sleep(0.05)
        family = psutil.Process(job.pid).children(recursive=True)
        assert any("EngineCore" in title(process) for process in family), [title(each) for each in family]
        job.send_signal(signal.SIGKILL)
        job.wait(timeout=60)
        until = time.monotonic() + ENDING_S
        while (left := still(family) + marked(mark)) and time.monotonic() < until:
            time.sleep(0.2)
        assert [title(process) for process in left] == []
    finally:
        for process in [*still(family), *marked(mark)]:
            process.kill()
