"""Kills on Ray: the driver, a worker that holds a step, and a machine.

A head and a second node, each with its own processes on this machine, are started when first needed. Runs
join them by their address, and with their token.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from killed_jobs import JobProcess
from ray_heads import Head, ray_environment, ray_head, ray_node
from trials import Trial

NODE_CPUS = 6
STARTING_S = 600.0
"""Longest time until the first block has come through."""

ACTORS = ("ReadActor", "PromptActor", "SegmentActor")


@dataclass(kw_only=True)
class RayMachines:
    """A head, and a second node that can die."""

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _head: Head | None = None
    _node: subprocess.Popen[bytes] | None = None

    def settings(self) -> dict[str, str]:
        """Environment variables of a run that joins them; starts what is not there."""
        if self._head is None:
            self._head = self._stack.enter_context(ray_head(self.folder, "--num-cpus", str(NODE_CPUS)))
        if self._node is None or self._node.poll() is not None:
            self._node = self._stack.enter_context(
                ray_node(self._head, self.folder, "--num-cpus", str(NODE_CPUS))
            )
        ours = {name: value for name, value in ray_environment().items() if name.startswith("RAY_")}
        return ours | {"RAY_ADDRESS": self._head.gcs}

    def workers(self) -> list[psutil.Process]:
        """Processes that hold a step of a run."""
        return [process for process in _of_token() if any(name in _title(process) for name in ACTORS)]

    def kill_node(self) -> int:
        """Kill all processes of the second node; returns how many of them held a step."""
        assert self._node is not None
        family = [psutil.Process(self._node.pid), *psutil.Process(self._node.pid).children(recursive=True)]
        held = sum(any(name in _title(process) for name in ACTORS) for process in family)
        for process in family:
            _kill(process)
        self._node.wait(timeout=60)
        return held

    def close(self) -> None:
        """End all of it."""
        self._stack.close()


def _kill(process: psutil.Process) -> None:
    """Kill a process that may have ended."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _of_token() -> Iterator[psutil.Process]:
    """Processes that carry the token of this process's heads."""
    token = ray_environment()["RAY_AUTH_TOKEN_PATH"]
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_AUTH_TOKEN_PATH") == token:
                yield process
        except psutil.Error:
            continue


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _begun(trial: Trial) -> JobProcess:
    """Start a run, and wait until some blocks have come through."""
    trial.bench.undisturbed("ray")
    job = trial.start()
    wanted = trial.rng.randint(1, 3)
    until = time.monotonic() + STARTING_S
    while job.poll() is None and len(trial.committed()) < wanted and time.monotonic() < until:
        time.sleep(0.02)
    return job


def driver_killed(trial: Trial) -> None:
    """SIGKILL of a driver whose blocks are on their way."""
    job = _begun(trial)
    job.send(signal.SIGKILL)
    code = trial.expect(job, (-signal.SIGKILL, 0), "the driver of a Ray was killed")
    trial.note("ray_driver", met=code != 0, killed=int(code != 0))


def actor_killed(trial: Trial) -> None:
    """SIGKILL of a process that holds a step."""
    job = _begun(trial)
    workers = trial.bench.ray.workers()
    met = bool(workers) and job.poll() is None
    if met:
        _kill(trial.rng.choice(workers))
    trial.expect(job, (0,), "a run on Ray whose actor was killed")
    trial.note("ray_actor", met=met, killed=int(met))


def node_killed(trial: Trial) -> None:
    """SIGKILL of all processes of a machine."""
    job = _begun(trial)
    met = job.poll() is None
    held = trial.bench.ray.kill_node()
    trial.expect(job, (0,), "a run on Ray one of whose machines was killed")
    trial.note("ray_node", met=met and held > 0, killed=int(met))
