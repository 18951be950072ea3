"""An Airflow of tests that runs: scheduler, triggerer, DAG processor and API server as processes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_home import PYTHON, Connected, airflow_environment, migrated
from free_ports import free_ports

PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
NEW_DATABASE = "new.db"
"""A copy of the database as it was before the first process started."""
LOOK_S = 0.5
"""Seconds between two looks."""


@dataclass(kw_only=True)
class RunningAirflow:
    """What runs, and how it is asked."""

    environment: dict[str, str]
    home: Path
    url: str
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    token: str = ""

    def start(self, part: str, name: str = "") -> None:
        """Start a process; its output goes to a file beside the database. `name`: of a second one."""
        with (self.home / f"{name or part}.out").open("ab") as out:
            self.parts[name or part] = subprocess.Popen(
                [str(PYTHON), "-m", "airflow", part],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process and its children."""
        os.killpg(self.parts[name].pid, number)

    def kill(self, name: str) -> None:
        """End a process and its children as a machine's end would."""
        process = self.parts.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the API server. Raises OSError where it does not answer or refuses."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise OSError(f"{method} {path}: {error.code} {said}") from error

    def trigger(self, dag: str, run: str, **conf: object) -> None:
        """Start a DAG run of this name."""
        self.ask(
            "POST",
            f"/api/v2/dags/{dag}/dagRuns",
            {"dag_run_id": run, "logical_date": None, "conf": conf},
        )

    def task(self, dag: str, run: str, task: str) -> dict[str, Any]:
        """A task instance as the API server tells it."""
        found: dict[str, Any] = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}")
        return found

    def wait_for(self, dag: str, run: str, task: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of the states (by default: has ended)."""
        wanted = states or ENDED
        return self.until(
            f"{dag}.{task} of {run} becomes {' or '.join(wanted)}",
            lambda: self.task(dag, run, task),
            lambda seen: seen["state"] in wanted,
            show=lambda seen: {name: seen[name] for name in ("state", "try_number", "note", "hostname")},
        )

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        """What is kept of a try: the worker's part and the triggerer's."""
        folder = self.home / f"logs/dag_id={dag}/run_id={run}/task_id={task}"
        files = sorted(folder.glob(f"attempt={attempt}.log*"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    def until[Seen](
        self,
        what: str,
        look: Callable[[], Seen],
        good: Callable[[Seen], bool],
        *,
        limit_s: float = 150.0,
        show: Callable[[Seen], object] = lambda seen: seen,
    ) -> Seen:
        """Look until it is good. Fails with what was seen last, and the last lines of every process."""
        end = time.monotonic() + limit_s
        last: object = "nothing"
        while time.monotonic() < end:
            try:
                seen = look()
            except OSError as error:
                last = error
            else:
                if good(seen):
                    return seen
                last = show(seen)
            time.sleep(LOOK_S)
        outputs = {file.name: file.read_text(errors="replace")[-3000:] for file in self.home.glob("*.out")}
        told = "\n".join(f"--- {name}\n{text}" for name, text in outputs.items())
        raise AssertionError(f"not within {limit_s:.0f} s: {what}. Last seen: {last}\n{told}")


@contextmanager
def running_airflow(folder: Path, dags: Path, *connected: Connected) -> Iterator[RunningAirflow]:
    """An Airflow with the DAGs of a folder, which notices soon what is lost."""
    api, worker_logs, trigger_logs = free_ports(3)
    home = folder / "home"
    home.mkdir()
    environment = airflow_environment(home, dags, *connected) | {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(api),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{api}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__ENABLE_TRACEMALLOC": "False",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    migrated(environment)
    shutil.copy(home / "airflow.db", home / NEW_DATABASE)
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")  # who reads does not keep others from writing
    airflow = RunningAirflow(environment=environment, home=home, url=f"http://127.0.0.1:{api}")
    try:
        for part in PARTS:
            airflow.start(part)
        airflow.token = airflow.until(
            "the API server answers", lambda: airflow.ask("GET", "/auth/token"), lambda seen: True
        )["access_token"]
        yield airflow
    finally:
        for part in list(airflow.parts):
            airflow.kill(part)
