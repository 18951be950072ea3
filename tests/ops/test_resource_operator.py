"""The operator for RayJobs in an Airflow that runs, with a stand-in of Kubernetes and the real job."""

from __future__ import annotations

import pytest
import yaml
from airflow_home import needs_airflow
from airflow_place import AirflowPlace
from kube_api import small_ray_job

pytestmark = [pytest.mark.ops, pytest.mark.slow, pytest.mark.timeout(600), needs_airflow]


@pytest.fixture(scope="module", autouse=True)
def two_runs(place: AirflowPlace) -> None:
    """Start, at once, a run that ends well and one with a damaged scene."""
    for name, scene in (("well", place.world.scene), ("damaged", place.damaged_scene())):
        command = place.command(scene, f"kube-{name}")
        place.airflow.trigger("kube_job", name, command=command, manifest=yaml.safe_dump(small_ray_job()))


def test_a_rayjob_ends_well_and_its_log_is_in_the_task_s(place: AirflowPlace) -> None:
    seen = place.airflow.wait_for("kube_job", "well", "segment")
    said = place.airflow.log("kube_job", "well", "segment")
    assert (seen["state"], seen["try_number"]) == ("success", 1), said
    assert (place.folder / "kube-well/run.json").is_file()
    assert str(place.folder / "kube-well") in said.partition("All that job job-kube-job-segment-")[2]
    assert place.api.token not in said


def test_the_exit_code_of_the_driver_comes_through_kuberay_s_status(place: AirflowPlace) -> None:
    seen = place.airflow.wait_for("kube_job", "damaged", "segment")
    said = place.airflow.log("kube_job", "damaged", "segment")
    assert (seen["state"], seen["try_number"]) == ("failed", 1), said
    assert "ended with exit code 3: the run is complete, but more tiles failed than" in said


def test_a_task_that_is_marked_as_failed_deletes_its_rayjob(place: AirflowPlace) -> None:
    airflow = place.airflow
    gate, command = place.gated("kube-marked")
    airflow.trigger("kube_job", "marked", command=command, manifest=small_ray_job())
    place.wait_for_job(str(gate), "RUNNING")
    airflow.wait_for("kube_job", "marked", "segment", "deferred")
    names = [name for name, made in place.api.resources.items() if str(gate) in made["spec"]["entrypoint"]]
    assert len(names) == 1
    place.api.patience_s = 5.0  # Airflow cancels the call that deletes it after one
    path = "/api/v2/dags/kube_job/dagRuns/marked/taskInstances/segment"
    airflow.ask("PATCH", path, {"new_state": "failed"})
    place.wait_for_job(str(gate), "STOPPED")
    assert names[0] not in place.api.resources


def test_a_manifest_that_kuberay_refuses_fails_the_task_for_good(place: AirflowPlace) -> None:
    manifest = small_ray_job()
    manifest["spec"]["activeDeadlineSeconds"] = 0
    place.airflow.trigger("kube_job", "refused", command=["true"], manifest=manifest)
    seen = place.airflow.wait_for("kube_job", "refused", "segment")
    said = place.airflow.log("kube_job", "refused", "segment")
    assert (seen["state"], seen["try_number"]) == ("failed", 1), said
    assert "activeDeadlineSeconds is positive" in said
