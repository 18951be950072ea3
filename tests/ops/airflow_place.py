"""What the tests of Airflow share: a Ray head with a token, a running Airflow, a stand-in of Kubernetes."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from airflow_home import OURS, ROOT, Connected
from item_files import footprint_of, item_document, write_items
from kube_api import KubeApi, kube_api
from kuberay import kuberay
from label_worlds import LabelWorld, blobs, write_label_world
from ray_heads import Head, ray_head, token_file
from running_airflow import RunningAirflow, running_airflow

QUERY = "- tanks; $(echo not a shell's)"
OVER = "over"
"""File whose presence ends jobs that still wait at a gate: they would outlive their head."""
SMALL = ["--tile", "64", "--halo", "8", "--block", "2", "--runner", "local"]


@dataclass(frozen=True, kw_only=True)
class AirflowPlace:
    """A head, an Airflow that knows it, and a world."""

    head: Head
    airflow: RunningAirflow
    api: KubeApi
    world: LabelWorld
    folder: Path

    def command(self, scene: Path, out: str) -> list[str]:
        """A run over a whole scene."""
        words = [sys.executable, str(ROOT / "jobs/segment_region.py"), "--source", str(scene)]
        words += ["--whole-scene", f"--query={QUERY}", "--models", f"oracle:{self.world.labels}"]
        return [*words, *SMALL, "--out", str(self.folder / out)]

    def gated(self, name: str) -> tuple[Path, list[str]]:
        """A run that begins once a file is there: the file and the command."""
        gate, over = self.folder / f"{name}.gate", self.folder / OVER
        wait = f"for i in $(seq 9000); do [ -e {gate} ] && break; [ -e {over} ] && exit 9; sleep 0.1; done"
        waiting = ["sh", "-c", f'{wait}; exec "$@"', "sh"]
        return gate, waiting + self.command(self.world.scene, name)

    def damaged_scene(self) -> Path:
        """A scene of which some tiles cannot be read."""
        damaged = self.folder / "damaged.tif"
        data = bytearray(self.world.scene.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 200] = b"\xff" * 200
        damaged.write_bytes(data)
        return damaged

    def jobs(self, word: str) -> list[dict[str, Any]]:
        """The head's jobs whose command has a word, the oldest first; asked without our client."""
        asked = urllib.request.Request(
            f"{self.head.jobs}/api/jobs/", headers={"Authorization": f"Bearer {token_file().read_text()}"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found = json.load(answer)
        jobs = [job for job in found if job["submission_id"] and word in job["entrypoint"]]
        return sorted(jobs, key=lambda job: job["start_time"])

    def wait_for_job(self, word: str, status: str) -> list[dict[str, Any]]:
        """Wait until the oldest job whose command has a word is so."""
        return self.airflow.until(
            f"the first job with {word} is {status}",
            lambda: self.jobs(word),
            lambda seen: bool(seen) and seen[0]["status"] == status,
            show=lambda seen: [(job["submission_id"], job["status"]) for job in seen],
        )

    def night_conf(self) -> dict[str, Any]:
        """Parameters of the nights of a region with imagery of 3 and 4 June 2026."""
        files = self.folder / "items.json"
        if not files.exists():
            items = [
                item_document(f"scene-{day}", {"image": self.world.scene}, when=f"2026-06-0{day}T10:00:00Z")
                for day in (3, 4)
            ]
            write_items(files, items)
        ring = np.array(footprint_of(self.world.scene)["coordinates"][0])
        return {
            "name": "bay",
            "aoi": None,
            "bbox": [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
            "queries": [QUERY],
            "source": f"stac:{files}",
            "preset": "embedded",
            "options": ["--allow-root", str(self.folder), "--models", f"oracle:{self.world.labels}", *SMALL],
            "late_days": 2,
            "runs": str(self.folder / "runs"),
            "python": sys.executable,
            "jobs": str(ROOT / "jobs"),
        }


@contextmanager
def airflow_place(folder: Path) -> Iterator[AirflowPlace]:
    """Start all of it."""
    world = write_label_world(folder / "world", blobs(np.random.default_rng(5), 256, 256, grain=30))
    dags = folder / "dags"
    shutil.copytree(Path(__file__).parent / "dags", dags)
    nightly = (OURS / "dags/nightly_region.py").read_text()
    # no schedule after the nights that the test asks for
    (dags / "nightly_region.py").write_text(f"{nightly}nightly.end_date = datetime(2026, 7, 1, tzinfo=UTC)\n")
    with ray_head(folder) as head, kube_api() as api, kuberay(api, head):
        connected = [
            Connected(conn_id="ray_jobs", url=head.jobs, token=token_file().read_text()),
            Connected(conn_id="kubernetes_api", url=api.url, token=api.token),
        ]
        try:
            with running_airflow(folder, dags, *connected) as airflow:
                yield AirflowPlace(head=head, airflow=airflow, api=api, world=world, folder=folder)
        finally:
            (folder / OVER).touch()
            time.sleep(1)
