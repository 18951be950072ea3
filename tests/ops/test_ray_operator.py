"""The operator for Ray's jobs in a real Airflow, against a real head with a token and the real job."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from airflow_home import Connected, Told, airflow_environment, migrated, needs_airflow, start_test, told_by
from label_worlds import LabelWorld, blobs, write_label_world
from ray_heads import Head, ray_head, token_file

ROOT = Path(__file__).parents[2]
DAG = Path(__file__).parent / "dags/one_job.py"

pytestmark = [pytest.mark.ops, pytest.mark.timeout(600), needs_airflow]


def jobs_of(head: Head) -> dict[str, dict[str, object]]:
    """The head's jobs by their names, asked without our client."""
    asked = urllib.request.Request(
        f"{head.jobs}/api/jobs/", headers={"Authorization": f"Bearer {token_file().read_text()}"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found = json.load(answer)
    return {job["submission_id"]: job for job in found if job["submission_id"]}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A head, an Airflow that knows it, and a world."""

    head: Head
    environment: dict[str, str]
    world: LabelWorld
    folder: Path

    def command(self, scene: Path, out: str, *more: str) -> list[str]:
        words = [
            sys.executable,
            str(ROOT / "jobs/segment_region.py"),
            "--source",
            str(scene),
            "--whole-scene",
        ]
        words += ["--query", "tanks; $(echo not a shell's)", "--models", f"oracle:{self.world.labels}"]
        words += ["--tile", "64", "--halo", "8", "--block", "2", "--runner", "local"]
        return [*words, "--out", str(self.folder / out), *more]

    def run(self, command: list[str], day: str) -> Told:
        environment = self.environment | {"JOB_COMMAND": json.dumps(command)}
        return told_by(start_test(environment, DAG, day))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("operator")
    world = write_label_world(folder / "world", blobs(np.random.default_rng(5), 256, 256, grain=30))
    with ray_head(folder) as head:
        connected = Connected(conn_id="ray_jobs", url=head.jobs, token=token_file().read_text())
        environment = airflow_environment(folder / "home", DAG.parent, connected)
        migrated(environment)
        yield Place(head=head, environment=environment, world=world, folder=folder)


def test_a_run_ends_well_and_its_log_is_in_the_task_s(place: Place) -> None:
    told = place.run(place.command(place.world.scene, "well"), "2026-01-01")
    assert told.states == {"segment": ("success", 1)}, told.said
    assert json.loads((place.folder / "well/run.json").read_text())["queries"] == [
        "tanks; $(echo not a shell's)"
    ]
    assert "Trigger completed" in told.said, "it was deferred"
    kept = told.said.partition("All that job job-one-job-segment-")[2]
    assert str(place.folder / "well") in kept, "the job's last lines say where the result is"
    assert token_file().read_text() not in told.said


def test_too_many_failed_tiles_fail_the_task_for_good(place: Place) -> None:
    damaged = place.folder / "damaged.tif"
    data = bytearray(place.world.scene.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = b"\xff" * 200
    damaged.write_bytes(data)
    told = place.run(place.command(damaged, "damaged"), "2026-01-02")
    assert told.states == {"segment": ("failed", 1)}, told.said
    assert "ended with exit code 3: the run is complete, but more tiles failed than" in told.said


def test_bad_input_fails_the_task_for_good(place: Place) -> None:
    told = place.run(place.command(place.folder / "nowhere.tif", "nowhere"), "2026-01-03")
    assert told.states == {"segment": ("failed", 1)}, told.said
    assert "ended with exit code 2: bad input" in told.said
    assert "nowhere.tif" in told.said


def test_a_second_instance_finds_the_job_of_a_lost_one(place: Place) -> None:
    gate = place.folder / "gate"
    words = ["sh", "-c", f'until [ -e {gate} ]; do sleep 0.1; done; exec "$@"', "sh"]
    command = words + place.command(place.world.scene, "lost")
    before = set(jobs_of(place.head))
    environment = place.environment | {"JOB_COMMAND": json.dumps(command)}
    lost = start_test(environment, DAG, "2026-01-04")
    until = time.monotonic() + 120
    while set(jobs_of(place.head)) == before:
        assert time.monotonic() < until
        time.sleep(0.2)
    lost.kill()
    lost.communicate()
    second = start_test(environment, DAG, "2026-01-04")
    gate.touch()
    told = told_by(second)
    assert told.states == {"segment": ("success", 1)}, told.said
    assert "found again" in told.said, told.said
    assert len(set(jobs_of(place.head)) - before) == 1
