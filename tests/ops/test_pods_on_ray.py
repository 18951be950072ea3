"""What happens when the pod of a head goes, with a real head, a real job, and a run in a bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from label_worlds import blobs, write_label_world
from ray_heads import RAY, Head, ray_environment, ray_head, token_file
from s3_server import BUCKET, serving_s3

from pipeline.files.store.store_path import store_path

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.ops, pytest.mark.timeout(600)]

RUN = f"s3://{BUCKET}/runs/night"
CLUSTER = f"s3://{BUCKET}/runs/_clusters/night-x7k2/head"


def details_of(head: Head, job: str) -> dict[str, object]:
    asked = urllib.request.Request(
        f"{head.jobs}/api/jobs/{job}", headers={"Authorization": f"Bearer {token_file().read_text()}"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def wait_for_a_block(head: Head, job: str) -> None:
    until = time.monotonic() + 300
    while not store_path(f"{RUN}/blocks").children():
        details = details_of(head, job)
        assert details["status"] in ("PENDING", "RUNNING"), details
        assert time.monotonic() < until, "no block was committed"
        time.sleep(0.1)


def in_the_pod(module: str, *words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"pipeline.run.pods.{module}", *words]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_before_a_head_goes_its_job_ends_in_order_and_its_logs_are_kept(tmp_path: Path) -> None:
    """The first and the last command of the head's preStop hook, in this order."""
    world = write_label_world(tmp_path, blobs(np.random.default_rng(5), 1000, 1000, grain=30))
    with serving_s3():
        environment = ray_environment() | {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        with ray_head(tmp_path, environment=environment) as head:
            words = ["--source", str(world.scene), "--whole-scene", "--query", "anything", "--runner", "ray"]
            words += ["--models", f"oracle:{world.labels}", "--tile", "64", "--halo", "8", "--block", "2"]
            submit = [
                str(RAY),
                "job",
                "submit",
                "--address",
                head.jobs,
                "--no-wait",
                "--submission-id",
                "night",
            ]
            job = [sys.executable, str(ROOT / "jobs/segment_region.py"), *words, "--out", RUN]
            subprocess.run([*submit, "--", *job], env=environment, cwd=tmp_path, check=True, timeout=120)
            wait_for_a_block(head, "night")

            stopped = in_the_pod("stop_jobs", "--server", head.jobs, "--wait", "70", environment=environment)
            assert (stopped.returncode, stopped.stderr) == (0, "")
            logs = str(head.scratch / "session_latest/logs")
            words = ["--once", "--session", logs, "--to", CLUSTER]
            kept = in_the_pod("keep_logs", *words, environment=environment)
            assert (kept.returncode, kept.stderr) == (0, "")
            assert details_of(head, "night")["status"] == "STOPPED"
        assert not store_path(f"{RUN}/run.lock").exists(), "the lock was given back"
        assert 0 < len(store_path(f"{RUN}/blocks").children()) < 121
        driver = store_path(f"{CLUSTER}/job-driver-night.log").read_text()
        assert "terminated by SIGTERM; start the same command again to go on" in driver
        assert token_file().read_text() not in driver
        assert {"gcs_server.out", "raylet.out"} <= set(store_path(CLUSTER).children())
