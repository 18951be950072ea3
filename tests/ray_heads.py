"""Ray heads of tests: of their own, on free ports, and open only to those who have their token."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from free_ports import free_ports

RAY = Path(sys.executable).parent / "ray"
NODE_STARTING_S = 600.0
"""Longest time until another node has joined."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where a head listens."""

    jobs: str
    """The URL of its job server, on loopback."""
    dashboard_port: int
    gcs: str
    """What RAY_ADDRESS would say."""
    scratch: Path
    """Its folder for temporary files, with the logs of its session."""


@cache
def token_file() -> Path:
    """The file with the token of this process's heads."""
    path = Path(tempfile.mkdtemp(prefix="raytoken")) / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def ray_environment() -> dict[str, str]:
    """The environment of a head, of a command that talks to it, and of a job that starts a Ray of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file())}
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    quiet["RAY_raylet_start_wait_time_s"] = "120"  # a busy machine needs more than Ray's 30 s
    quiet["RAY_worker_niceness"] = "0"  # by default 15: the other test process would leave workers little
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return ours | access | quiet | {"PATH": path}


@contextmanager
def ray_head(folder: Path, *words: str, environment: dict[str, str] | None = None) -> Iterator[Head]:
    """A head with 3 CPUs, started in `folder` with more words of `ray start`."""
    environment = environment or ray_environment()
    gcs_port, dashboard_port, agent_port = free_ports(3)
    start = [str(RAY), "start", "--head", "--block", "--num-cpus", "3", "--disable-usage-stats"]
    start += [f"--port={gcs_port}", f"--dashboard-port={dashboard_port}", "--include-dashboard=true"]
    start += [f"--dashboard-agent-listen-port={agent_port}", *words]
    # short, for its sockets; and its address is not left for others to join
    scratch = tempfile.mkdtemp(prefix="rayhead")
    start += ["--temp-dir", scratch]
    log_path = folder / "head.log"
    with log_path.open("w") as log:  # --block: ours alone is stopped at the end, not every Ray of the machine
        process = subprocess.Popen(
            start, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    head = Head(
        jobs=f"http://127.0.0.1:{dashboard_port}",
        dashboard_port=dashboard_port,
        gcs=f"127.0.0.1:{gcs_port}",
        scratch=Path(scratch),
    )
    try:
        _wait_for(head, process, log_path)
        yield head
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def ray_node(head: Head, folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another node, with processes of its own on this machine; `words`: of `ray start`."""
    start = [str(RAY), "start", f"--address={head.gcs}", "--block", "--disable-usage-stats", *words]
    log_path = folder / f"node-{secrets.token_hex(4)}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            start, env=ray_environment(), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for_node(process, log_path)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_node(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + NODE_STARTING_S
    while "Ray runtime started" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"no further node of Ray: {log.read_text(errors='replace')}")
        time.sleep(0.5)


def _wait_for(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the job server answers those who have the token."""
    deadline = time.monotonic() + 120
    asked = urllib.request.Request(
        f"{head.jobs}/api/version", headers={"Authorization": f"Bearer {token_file().read_text()}"}
    )
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(asked, timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"the Ray head did not answer within two minutes:\n{log.read_text()}")
