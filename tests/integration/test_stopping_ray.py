"""SIGTERM and `ray job stop` with a real Ray: nothing that is done is lost, and the same command goes on."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from label_worlds import LabelWorld, blobs, write_label_world
from ray_heads import RAY, ray_environment, ray_head, token_file

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

JOB = "ours"
"""Submission ids begin with this."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """441 tiles in 121 blocks of the cut below."""
    return write_label_world(
        tmp_path_factory.mktemp("world"), blobs(np.random.default_rng(5), 1000, 1000, grain=30)
    )


def words(world: LabelWorld, out: Path) -> list[str]:
    cut = ["--tile", "64", "--halo", "8", "--block", "2"]
    models = ["--models", f"oracle:{world.labels}", "--query", "anything"]
    return ["--source", str(world.scene), "--whole-scene", *models, *cut, "--out", str(out)]


@pytest.fixture(scope="module")
def undisturbed(
    run_job: Callable[..., int], world: LabelWorld, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run_job(*words(world, out), "--runner", "local") == 0
    return digests(out)


def digests(out: Path) -> dict[str, str]:
    """Hashes of what depends on neither time nor place."""
    kept = ("masks.zarr", "instances", "coverage.parquet", "plan.parquet", "scenes.parquet")
    files = [path for name in kept for path in [out / name, *(out / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def records(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("blocks/*.parquet")}


def wait_for_blocks(out: Path, count: int) -> None:
    until = time.monotonic() + 400
    while len(records(out)) < count:
        assert time.monotonic() < until, "no block was committed"
        time.sleep(0.05)


def require_resumed(before: dict[str, int], out: Path, undisturbed: dict[str, str]) -> None:
    """The run went on from what was committed, to the files of a run that was not stopped."""
    assert 0 < len(before) < 121
    after = records(out)
    assert {name: after[name] for name in before} == before, "committed blocks are not done again"
    assert digests(out) == undisturbed


def processes_of(session: int) -> list[str]:
    """What still runs of a session of processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if fields[0] not in "ZX" and int(fields[3]) == session:
            found.append(command)
    return found


def test_sigterm_lets_blocks_on_their_way_come_through_and_ends_ray(
    world: LabelWorld, undisturbed: dict[str, str], run_job: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "jobs/segment_region.py", *words(world, out), "--runner", "ray"]
    command += ["--grace", "60"]  # a busy machine
    process = subprocess.Popen(
        command, cwd=ROOT, env=ray_environment(), stderr=(tmp_path / "err").open("w"), start_new_session=True
    )
    try:
        wait_for_blocks(out, 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=200) == 143
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    said = [line for line in (tmp_path / "err").read_text().splitlines() if line]
    assert said[-2].startswith("stopping: the work at hand is finished, for at most 60 s")
    assert said[-1] == "terminated by SIGTERM; start the same command again to go on"
    assert "SIGTERM received at time" not in (out / "run.log").read_text(), "a native stack dump"
    assert not (out / "run.lock").exists()
    assert not list(out.glob("attempts/*")), "no block was broken off"
    time.sleep(2)
    assert processes_of(process.pid) == [], "Ray ends with its driver"
    before = records(out)
    assert run_job(*words(world, out), "--runner", "local") == 0
    require_resumed(before, out, undisturbed)


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """A Ray head of its own; yields the address of its job server."""
    with ray_head(tmp_path) as started:
        yield started.jobs


def ray_job(*given: str) -> subprocess.CompletedProcess[str]:
    """`ray job ...`. A head that has just started may ask to try again."""
    for _ in range(4):
        done = subprocess.run(
            [str(RAY), "job", *given],
            cwd=ROOT,
            env=ray_environment(),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if "No available agent to submit job" not in done.stderr:
            break
        time.sleep(15)
    return done


def stop_job(head: str, name: str) -> None:
    """Send what `ray job stop` sends, without the seconds that it takes to start, and wait for the end."""
    access = {"Authorization": f"Bearer {token_file().read_text()}"}
    url = f"{head}/api/jobs/{name}"
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/stop", headers=access, method="POST"), timeout=60
    ).close()
    until = time.monotonic() + 200
    while time.monotonic() < until:
        with urllib.request.urlopen(urllib.request.Request(url, headers=access), timeout=60) as told:
            if json.load(told)["status"] == "STOPPED":
                return
        time.sleep(0.2)
    raise AssertionError("the job did not stop")


def test_ray_job_stop_gives_the_directory_back_within_its_three_seconds(
    head: str, world: LabelWorld, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    python = ["python", "jobs/segment_region.py", *words(world, out)]
    submit = ["submit", "--address", head, "--working-dir", "."]
    done = ray_job(*submit, "--no-wait", "--submission-id", f"{JOB}-1", "--", *python)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for_blocks(out, 3)
    assert (out / "run.lock").exists()
    stop_job(head, f"{JOB}-1")
    log = ray_job("logs", "--address", head, f"{JOB}-1").stdout
    assert "stopping: the work at hand is finished, for at most 1.5 s" in log
    assert "terminated by SIGTERM; start the same command again to go on" in log
    assert "SIGTERM received at time" not in log
    assert "Traceback" not in log
    assert not (out / "run.lock").exists()
    before = records(out)
    done = ray_job(*submit, "--", *python)
    assert done.returncode == 0, done.stdout + done.stderr
    require_resumed(before, out, undisturbed)
