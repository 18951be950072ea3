"""A run that is killed and started again ends with the same files as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from label_worlds import blobs, write_label_world

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_kill_and_resume(
    run_job: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(2), 400, 400, grain=13))
    words = [
        "--source",
        str(world.scene),
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        f"oracle:{world.labels}",
    ]
    words += ["--tile", "40", "--halo", "4", "--block", "2", "--runner", "local"]
    killed = tmp_path / "killed"
    clean = tmp_path / "clean"
    process = subprocess.Popen(
        [sys.executable, "jobs/segment_region.py", *words, "--out", str(killed)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    deadline = time.monotonic() + 120
    while (
        len(list(killed.glob("blocks/*.parquet"))) < 5
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    assert run_job(*words, "--out", str(killed)) == 5, "two drivers would overwrite each other's results"
    assert f"process {process.pid} on {os.uname().nodename} at work" in capsys.readouterr().err
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in killed.glob("blocks/*.parquet")}
    assert len(before) >= 5
    assert not (killed / "coverage.parquet").exists(), "the run must have been killed before it ended"
    assert run_job(*words, "--out", str(killed)) == 0
    assert run_job(*words, "--out", str(clean)) == 0
    after = {path.name: path.stat().st_mtime_ns for path in killed.glob("blocks/*.parquet")}
    assert {name: after[name] for name in before} == before, "committed blocks are not done again"
    for name in ("instances/part-00000.parquet", "coverage.parquet", "plan.parquet"):
        assert (killed / name).read_bytes() == (clean / name).read_bytes(), name
    ids = [
        np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0])
        for out in (killed, clean)
    ]
    np.testing.assert_array_equal(ids[0], ids[1])
    np.testing.assert_array_equal(ids[0], world.ids.astype(np.uint64))
    assert not (killed / "run.lock").exists()
