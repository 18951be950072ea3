"""The operator for Ray's jobs in an Airflow that runs, against a real head with a token and the real job.

How a job that ends well is told is seen in the nights of test_nightly_region.py.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from airflow_home import needs_airflow
from airflow_place import AirflowPlace

pytestmark = [pytest.mark.ops, pytest.mark.slow, pytest.mark.timeout(600), needs_airflow]


GATED = {
    "marked": ("deferred_job", "waiting_job"),
    "cleared": ("deferred_job",),
    "lost": ("deferred_job", "waiting_job"),
}
"""Runs whose jobs wait for a file, and their DAGs."""


@pytest.fixture(scope="module")
def gates(place: AirflowPlace) -> dict[tuple[str, str], Path]:
    """Start all runs at once; returns the gates of those that have one, by DAG and run."""
    damaged = place.command(place.damaged_scene(), "damaged")
    place.airflow.trigger("deferred_job", "damaged", command=damaged)
    found = {}
    for run, dags in GATED.items():
        for dag in dags:
            found[dag, run], command = place.gated(f"{dag}-{run}")
            place.airflow.trigger(dag, run, command=command)
    return found


pytestmark = [*pytestmark, pytest.mark.usefixtures("gates")]


def test_too_many_failed_tiles_fail_the_task_for_good(place: AirflowPlace) -> None:
    seen = place.airflow.wait_for("deferred_job", "damaged", "segment")
    said = place.airflow.log("deferred_job", "damaged", "segment")
    assert (seen["state"], seen["try_number"]) == ("failed", 1), said
    assert "ended with exit code 3: the run is complete, but more tiles failed than" in said


@pytest.mark.parametrize("dag", ["deferred_job", "waiting_job"])
def test_a_task_that_is_marked_as_failed_stops_its_job(
    place: AirflowPlace, gates: dict[tuple[str, str], Path], dag: str
) -> None:
    gate = str(gates[dag, "marked"])
    place.wait_for_job(gate, "RUNNING")
    place.airflow.wait_for(dag, "marked", "segment", "deferred" if dag == "deferred_job" else "running")
    path = f"/api/v2/dags/{dag}/dagRuns/marked/taskInstances/segment"
    place.airflow.ask("PATCH", path, {"new_state": "failed"})
    place.wait_for_job(gate, "STOPPED")
    assert len(place.jobs(gate)) == 1
    assert place.airflow.task(dag, "marked", "segment")["state"] == "failed"


def test_a_task_that_is_cleared_stops_its_job_and_begins_anew(
    place: AirflowPlace, gates: dict[tuple[str, str], Path]
) -> None:
    gate = gates["deferred_job", "cleared"]
    place.wait_for_job(str(gate), "RUNNING")
    place.airflow.wait_for("deferred_job", "cleared", "segment", "deferred")
    wanted = {"dry_run": False, "only_failed": False, "dag_run_id": "cleared", "task_ids": ["segment"]}
    place.airflow.ask("POST", "/api/v2/dags/deferred_job/clearTaskInstances", wanted)
    place.wait_for_job(str(gate), "STOPPED")
    gate.touch()
    assert place.airflow.wait_for("deferred_job", "cleared", "segment")["state"] == "success"
    assert [job["status"] for job in place.jobs(str(gate))] == ["STOPPED", "SUCCEEDED"]


def test_jobs_outlive_the_triggerers_and_the_worker_that_wait_for_them(
    place: AirflowPlace, gates: dict[tuple[str, str], Path]
) -> None:
    """A worker is killed. One triggerer sleeps until another has its tasks; then that one is killed."""
    airflow = place.airflow
    deferred, waiting = gates["deferred_job", "lost"], gates["waiting_job", "lost"]
    for gate in (deferred, waiting):
        place.wait_for_job(str(gate), "RUNNING")
    before = triggerer_of(place, "lost")
    airflow.wait_for("waiting_job", "lost", "segment", "running")
    kill_worker(airflow.task("waiting_job", "lost", "segment")["pid"])
    airflow.signal("triggerer", signal.SIGSTOP)
    airflow.start("triggerer", "second triggerer")
    second = triggerer_of(place, "lost", other_than=before)
    airflow.signal("triggerer", signal.SIGCONT)
    airflow.until(
        "the triggerer that slept lets go of the task",
        lambda: airflow.log("deferred_job", "lost", "segment"),
        lambda said: "goes on: another triggerer waits for it" in said,
    )
    airflow.kill("second triggerer")
    assert triggerer_of(place, "lost", other_than=second) == before
    airflow.until(
        "the second try finds the job",
        lambda: airflow.log("waiting_job", "lost", "segment", attempt=2),
        lambda said: "found again" in said,
    )
    for gate, dag, tries in ((deferred, "deferred_job", 1), (waiting, "waiting_job", 2)):
        gate.touch()
        seen = airflow.wait_for(dag, "lost", "segment", "success", "failed")
        assert (seen["state"], seen["try_number"]) == ("success", tries)
        assert [job["status"] for job in place.jobs(str(gate))] == ["SUCCEEDED"]


def triggerer_of(place: AirflowPlace, run: str, other_than: int | None = None) -> int:
    """The triggerer that has the task of a deferred run, by its number."""
    seen = place.airflow.until(
        f"a triggerer other than {other_than} has the task",
        lambda: place.airflow.task("deferred_job", run, "segment"),
        lambda seen: seen["triggerer_job"] is not None and seen["triggerer_job"]["id"] != other_than,
        show=lambda seen: (seen["state"], seen["triggerer_job"]),
    )
    return int(seen["triggerer_job"]["id"])


def kill_worker(task: int) -> None:
    """Kill the process of a task and, before it, the worker that looks after it."""
    worker = int(Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()[1])
    for process in (worker, task):
        os.kill(process, signal.SIGKILL)
