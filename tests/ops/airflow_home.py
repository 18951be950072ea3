"""An Airflow of tests: installed in build/airflow, with a database and logs in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build/airflow/bin/python"
OURS = ROOT / "infra/airflow"

needs_airflow = pytest.mark.skipif(
    not PYTHON.exists(), reason="no Airflow in build/airflow: make test-ops makes it"
)


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A Connection: what Airflow is told of a server."""

    conn_id: str
    url: str
    token: str


def airflow_environment(home: Path, dags: Path, *connected: Connected) -> dict[str, str]:
    """The environment of all of an Airflow's processes."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(OURS / "plugins"),
        "PYTHONPATH": str(OURS / "plugins"),
    }
    for one in connected:
        told = {"conn_type": "http", "host": one.url, "password": one.token}
        settings[f"AIRFLOW_CONN_{one.conn_id.upper()}"] = json.dumps(told)
    return kept | settings


def database_url(home: Path) -> str:
    """SQLite in a file. On a busy machine a writer waits for another longer than the usual 5 s."""
    return f"sqlite:///{home}/airflow.db?timeout=60"


def migrated(environment: dict[str, str]) -> None:
    """Make the database."""
    done = airflow(environment, "db", "migrate")
    assert done.returncode == 0, done.stdout + done.stderr


def airflow(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """A command of Airflow."""
    command = [str(PYTHON), "-m", "airflow", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of `dag.test()`: states and tries by task, events of assets, and all that was printed."""

    states: dict[str, tuple[str, int]]
    assets: list[dict[str, Any]]
    said: str


def start_test(
    environment: dict[str, str], dag_file: Path, day: str, **conf: object
) -> subprocess.Popen[str]:
    """`dag.test()` of the only DAG of a file, in a process of its own."""
    command = [str(PYTHON), str(Path(__file__).parent / "one_dag.py")]
    command += [str(dag_file), day, json.dumps(conf)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def told_by(run: subprocess.Popen[str]) -> Told:
    """Wait for the end of `dag.test()`."""
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    told = json.loads(said.rstrip().rpartition("\n")[2])
    states = {name: (state, number) for name, (state, number) in told["states"].items()}
    return Told(states=states, assets=told["assets"], said=said)
