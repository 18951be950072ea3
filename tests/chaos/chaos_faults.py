"""Faults of processes, records and disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
from killed_jobs import JobProcess, contents
from trials import Trial

from pipeline.files.fail_point import FAIL_POINTS
from pipeline.files.store.store_path import store_path

CHILD_S = 240.0
"""Longest wait for a child process of a run."""


def drawn_points(trial: Trial, count: int) -> list[str]:
    """Fail points that one run can meet one after the other, each as TERRAQUERY_FAIL_POINT says it."""
    rng = trial.rng
    points = []
    for point in sorted(rng.sample(FAIL_POINTS, count), key=FAIL_POINTS.index):
        most = {"before_object": 20, "after_object": 20, "after_shard": 4}.get(point, 1)
        most = 3 if point.endswith("block_record") else most
        points.append(f"{point}:{rng.randint(1, most)}")
    return points


def at_fail_point(trial: Trial) -> None:
    """SIGKILL at a named moment: the next of the trial's."""
    told = trial.points.pop(0) if trial.points else drawn_points(trial, 1)[0]
    point = told.partition(":")[0]
    job = trial.start(point=told)
    # a block that is done in a child process is given up when child after child dies
    given_up = (1,) if point.endswith(("block_record", "object")) else ()
    code = trial.expect(job, (-signal.SIGKILL, 0, *given_up), f"killed at {told}")
    met = code == -signal.SIGKILL or "note: an earlier start ended" in job.log.read_text(errors="replace")
    trial.note(f"point {point}", met=met and code != 0, killed=int(code == -signal.SIGKILL))


def at_random(trial: Trial) -> None:
    """SIGKILL at any moment."""
    job = trial.start()
    time.sleep(trial.moment())
    job.send(signal.SIGKILL)
    code = trial.expect(job, (-signal.SIGKILL, 0), "killed at random")
    trial.note("kill", met=code == -signal.SIGKILL, killed=int(code == -signal.SIGKILL))


def child_killed(trial: Trial) -> None:
    """SIGKILL of the child process that holds prompter and segmenter, where a run has one: it does the block
    at which an earlier start ended.
    """
    code = trial.expect(trial.start(point="before_block_record:1"), (-signal.SIGKILL,), "killed in a block")
    trial.note("point before_block_record", met=code == -signal.SIGKILL, killed=1)
    job = trial.start()
    killed = _kill_child(job, after_s=trial.rng.uniform(0.0, 4.0))
    trial.expect(job, (0,), "a run whose child was killed")
    trial.note("child", met=killed, killed=int(killed))


def _kill_child(job: JobProcess, *, after_s: float) -> bool:
    """Kill a child process of a job once it has one, and a while later. False: it had none, or that ended."""
    until = time.monotonic() + CHILD_S
    while job.poll() is None and time.monotonic() < until:
        try:
            children = psutil.Process(job.pid).children()
            found = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            found = []
        if found:
            time.sleep(after_s)
            try:
                found[0].kill()
            except psutil.NoSuchProcess:
                return False
            return True
        time.sleep(0.05)
    return False


def signalled(trial: Trial) -> None:
    """SIGTERM or SIGINT at any moment."""
    number = trial.rng.choice((signal.SIGTERM, signal.SIGINT))
    job = trial.start()
    time.sleep(trial.moment())
    job.send(number)
    code = trial.expect(job, (128 + number, -number, 0), number.name)
    trial.note(f"signal {number.name}", met=code != 0)


def two_drivers(trial: Trial) -> None:
    """Two starts at once: the second is refused, or comes after the first."""
    jobs = [trial.start(), trial.start()]
    codes = [trial.expect(job, (0, 2), "one of two drivers") for job in jobs]
    if 0 not in codes:
        trial.wrong.append(f"no driver of two came through: {codes}")
    trial.note("drivers", met=2 in codes)


SLEEPS = (
    "before_block_record",
    "before_coverage",
    "after_shard",
    "before_instances",
    "before_manifest",
    "before_run_json_swap",
    "after_run_json_swap",
    "before_item",
    "before_lock_release",
)


def sleeper(trial: Trial) -> None:
    """A driver is suspended, its lock removed as the refusal says or made a dead one's; a successor
    publishes; the sleeper wakes.
    """
    point = trial.rng.choice(SLEEPS)
    job = trial.start(point=f"{point}:1:stop")
    met = job.wait_suspended()
    trial.note(f"sleeper {point}", met=met)
    if not met:
        return
    _disown_lock(trial)
    trial.expect(trial.start(), (0,), "the successor of a sleeper")
    before = contents(trial.place)
    job.send(signal.SIGCONT)
    published = point in ("after_run_json_swap", "before_item", "before_lock_release")
    trial.expect(job, (0, 1) if published else (1,), f"a sleeper at {point} that wakes")
    after = contents(trial.place)
    if before != after:
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        trial.wrong.append(f"a sleeper at {point} changed {changed[:5]}")


def _disown_lock(trial: Trial) -> None:
    """Let the lock of a suspended driver count for nothing: gone, or of another machine and old."""
    path = store_path(trial.place) / "run.lock"
    if trial.kind == "s3" or trial.rng.random() < 0.5:
        path.delete()
        return
    file = path.local()
    file.write_text(file.read_text().replace('"host": "', '"host": "another-'))
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))


def damaged_record(trial: Trial) -> None:
    """A record that is truncated, changed in a byte, or gone, between two starts."""
    code = trial.expect(trial.start(point="before_coverage"), (-9, 0), "killed before a record is damaged")
    trial.note("point before_coverage", met=code == -9, killed=int(code == -9))
    how = trial.rng.choice(("truncated", "flipped", "deleted"))
    records = sorted(str(path) for path in (store_path(trial.place) / "blocks").entries())
    path = store_path(trial.rng.choice(records))
    trial.damaged.add(path.name.partition(".")[0])
    data = bytearray(path.read_bytes())
    place = trial.rng.randrange(len(data))
    if how == "deleted":
        path.delete()
    elif how == "truncated":
        path.write_bytes(bytes(data[:place]))
    else:
        data[place] ^= 1 << trial.rng.randrange(8)
        path.write_bytes(bytes(data))
    trial.note(f"record {how}")


def full_disk(trial: Trial) -> None:
    """A file system of its own that is too small, and then large enough."""
    place = Path(trial.place)
    place.mkdir(parents=True)
    options = f"size={trial.rng.randint(16, 400)}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False)
    if mounted.returncode:
        trial.note("disk (needs root)", met=False)
        return
    try:
        code = trial.expect(trial.start(), (0, 1), f"a disk of {options}")
        trial.note("disk", met=code == 1)
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        trial.expect(trial.start(), (0,), "a disk with room again")
    finally:
        for job in trial.jobs:
            job.send(signal.SIGKILL)
        shutil.copytree(place, f"{place}.copy", symlinks=True)
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()
        Path(f"{place}.copy").rename(place)
