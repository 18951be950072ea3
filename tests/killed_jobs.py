"""Jobs as processes of their own that tests kill, suspend and start again, and what they leave, to compare.

A process that has imported everything (Python's fork server) forks one per job, which spares the seconds of
the imports. `cold=True` starts a plain `python jobs/segment_region.py` instead.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

ROOT = Path(__file__).parents[1]
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""What makes two runs byte-identical."""


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What a start found of an earlier one."""

    left: list[str]
    """Blocks that it has to do."""
    begun: list[str]
    """Those of them at which the earlier start was when it ended without a word."""


@dataclass(kw_only=True)
class JobProcess:
    """A job at work."""

    pid: int
    log: Path
    """What it prints."""
    poll: Callable[[], int | None] = field(repr=False)
    """Exit code; negative: the signal that killed it. None: it is at work."""

    def wait(self, timeout_s: float = 900.0) -> int:
        """Wait for the end. One that does not end is killed, and TimeoutError raised."""
        until = time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} did not end in {timeout_s:.0f} s: {self.said()}")
            time.sleep(0.02)
        return code

    def wait_suspended(self, timeout_s: float = 900.0) -> bool:
        """Wait until it is suspended. False: it ended before."""
        until = time.monotonic() + timeout_s
        while self.poll() is None and time.monotonic() < until:
            try:
                state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return False
            if state == "T":
                return True
            time.sleep(0.02)
        return False

    def send(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def todo(self) -> Todo | None:
        """What it found to do. None: it did not come so far, or is a plain process, which is not asked."""
        try:
            return Todo(**json.loads(_todo_file(self.log).read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def said(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])


def start_job(
    words: Sequence[str], log: Path, *, settings: Mapping[str, str] | None = None, cold: bool = False
) -> JobProcess:
    """Start `segment_region.py` with these arguments. `settings`: more environment variables."""
    env = {**{k: v for k, v in os.environ.items() if k.startswith("AWS_")}, **EPOCH, **(settings or {})}
    log.parent.mkdir(parents=True, exist_ok=True)
    if cold:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "jobs/segment_region.py", *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
            )
        return JobProcess(pid=process.pid, log=log, poll=process.poll)
    log.touch()
    _todo_file(log).unlink(missing_ok=True)
    forked = _server().Process(target=run_forked, args=(list(words), str(log), env))
    _begun_file(log).unlink(missing_ok=True)
    forked.start()
    while not _begun_file(log).exists() and forked.exitcode is None:
        time.sleep(0.001)
    assert forked.pid is not None
    return JobProcess(pid=forked.pid, log=log, poll=lambda: forked.exitcode)


@lru_cache(maxsize=1)
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_jobs", *_PRELOADED])
    return context


_PRELOADED = ("pipeline.run.flow", "pipeline.run.verify.verify_run", "obstore", "boto3", "zarr", "numba")


def run_forked(words: list[str], log: str, env: dict[str, str]) -> None:
    """Be the process of a job: what `python jobs/segment_region.py` does once everything is imported.

    Ctrl-C ends it from the first line on as it ends Python. Before that line multiprocessing would answer, so
    `start_job` waits until it is past.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _begun_file(Path(log)).touch()
    from job_files import load_job

    from pipeline.run.job_exit import run_job

    os.environ.update(env)
    os.chdir(ROOT)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.argv = ["jobs/segment_region.py", *words]
    job = load_job("segment_region")
    _tell_todo(_todo_file(Path(log)))
    sys.exit(run_job(job.main))


def _begun_file(log: Path) -> Path:
    return log.with_suffix(".begun")


def _todo_file(log: Path) -> Path:
    return log.with_suffix(".todo")


def _tell_todo(file: Path) -> None:
    """Let the flow of this process write down what it finds to do."""
    from pipeline.run import flow
    from pipeline.run.infer.steps import RunContext
    from pipeline.run.todo import Todo as Found
    from pipeline.write.records.record_keys import RecordKeys

    find = flow.todo

    def told(
        context: RunContext,
        *,
        retry_failed: bool,
        update: bool = False,
        before: RecordKeys | None = None,
    ) -> Found:
        begun = sorted(context.journal.in_progress())
        found = find(context, retry_failed=retry_failed, update=update, before=before)
        left = [block.block_id for block in found.blocks]
        file.write_text(json.dumps({"left": left, "begun": sorted(set(begun) & set(left))}))
        return found

    flow.todo = told


def contents(place: str) -> dict[str, str]:
    """Everything below a run directory or prefix: path -> hash, or where a link leads."""
    return _objects(place) if place.startswith("s3://") else _files(Path(place))


def _files(root: Path) -> dict[str, str]:
    found = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder) / name
            key = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[key] = f"link to {os.readlink(path)}"
            elif path.is_dir():
                found[f"{key}/"] = "folder"
            else:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _objects(place: str) -> dict[str, str]:
    import boto3

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {
        key[len(prefix) + 1 :]: hashlib.sha256(
            client.get_object(Bucket=bucket, Key=key)["Body"].read()
        ).hexdigest()
        for key in keys
    }


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Say what differs between two `contents`, a line each."""
    lines = [f"missing: {name}" for name in sorted(wanted.keys() - found.keys())]
    lines += [f"in excess: {name}" for name in sorted(found.keys() - wanted.keys())]
    return lines + [
        f"differs: {name}" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]
    ]
