"""The DAG of a night in a real Airflow, against a real head, a catalogue of two scenes and the real jobs."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from airflow_home import OURS, PYTHON, database_url, needs_airflow, start_test, told_by
from airflow_place import QUERY, AirflowPlace
from ray_heads import token_file
from running_airflow import NEW_DATABASE

pytestmark = [pytest.mark.ops, pytest.mark.slow, pytest.mark.timeout(600), needs_airflow]

TASKS = ("describe_night", "check_plan", "segment", "verify", "publish")


def backfill(place: AirflowPlace, first: str, last: str) -> list[str]:
    """Make the pool and start a backfill with the commands of the README; returns the names of its runs."""
    words = [
        ["pools", "set", "terraquery", "1", "one job at a time", "--include-deferred"],
        ["backfill", "create", "--dag-id", "nightly_region", "--from-date", first, "--to-date", last],
    ]
    words[1] += ["--max-active-runs", "2", "--dag-run-conf", json.dumps(place.night_conf())]
    for line in words:
        command = [str(PYTHON), "-m", "airflow", *line]
        done = subprocess.run(
            command, env=place.airflow.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
    runs = place.airflow.ask("GET", "/api/v2/dags/nightly_region/dagRuns")["dag_runs"]
    return sorted(run["dag_run_id"] for run in runs)


def test_the_nights_of_a_backfill_run_side_by_side_and_their_jobs_never(place: AirflowPlace) -> None:
    """Two runs of the DAG are active at once; it is the pool that keeps their jobs apart."""
    runs = backfill(place, "2026-06-05", "2026-06-07")  # the last is midnight, before that day's night
    assert len(runs) == 2
    tries: dict[tuple[str, str], int] = {}
    for run in runs:
        for task in TASKS:
            seen = place.airflow.wait_for("nightly_region", run, task)
            assert seen["state"] == "success", place.airflow.log("nightly_region", run, task)
            tries[run, task] = seen["try_number"]
    out = place.folder / "runs/bay"
    assert sorted(path.name for path in out.iterdir()) == ["2026-06-03", "2026-06-04"]
    for night in out.iterdir():
        assert json.loads((night / "run.json").read_text())["queries"] == [QUERY]
    for run in runs:
        said = place.airflow.log("nightly_region", run, "segment", tries[run, "segment"])
        kept = said.partition("All that job job-nightly-region-segment-")[2]
        assert str(out) in kept, "the job's last lines say where the result is"
        assert token_file().read_text() not in said
        assert "the run is sound" in place.airflow.log("nightly_region", run, "verify", tries[run, "verify"])
    events = place.airflow.ask("GET", "/api/v2/assets/events?order_by=timestamp")["asset_events"]
    told = sorted((event["extra"]["day"], event["extra"]["run"]) for event in events)
    assert told == [(day, str(out / day)) for day in ("2026-06-03", "2026-06-04")]
    jobs = place.jobs(str(out))
    assert len(jobs) == 6, "a try that Airflow loses finds the job of the one before it"
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}
    for earlier, later in pairwise(jobs):
        assert earlier["end_time"] <= later["start_time"]


def test_a_night_without_imagery_is_skipped(place: AirflowPlace, tmp_path: Path) -> None:
    """By `dag.test()`, in a database of its own."""
    own = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url(tmp_path)}
    environment = place.airflow.environment | own
    shutil.copy(place.airflow.home / NEW_DATABASE, tmp_path / "airflow.db")
    conf = place.night_conf()
    told = told_by(start_test(environment, OURS / "dags/nightly_region.py", "2026-06-09T06:00", **conf))
    states = {name: state for name, (state, _) in told.states.items()}
    assert states == {"describe_night": "success"} | dict.fromkeys(TASKS[1:], "skipped"), told.said
    assert "found nothing to do" in told.said
    assert not (place.folder / "runs/bay/2026-06-07/run.json").exists()
