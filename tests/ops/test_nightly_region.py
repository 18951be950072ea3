"""The DAG of a night in a real Airflow, against a real head, a catalogue of one scene and the real jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from airflow_home import (
    OURS,
    Connected,
    Told,
    airflow_environment,
    migrated,
    needs_airflow,
    start_test,
    told_by,
)
from item_files import footprint_of, item_document, write_items
from label_worlds import blobs, write_label_world
from ray_heads import ray_head, token_file

ROOT = Path(__file__).parents[2]
DAG = OURS / "dags/nightly_region.py"

pytestmark = [pytest.mark.ops, pytest.mark.timeout(600), needs_airflow]


@dataclass(frozen=True, kw_only=True)
class Nights:
    """An Airflow with a region of which there is imagery of 3 June 2026 alone."""

    environment: dict[str, str]
    conf: dict[str, Any]
    runs: Path

    def run(self, day: str) -> Told:
        return told_by(start_test(self.environment, DAG, day, **self.conf))


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("nights")
    world = write_label_world(folder / "world", blobs(np.random.default_rng(5), 256, 256, grain=30))
    item = item_document("scene", {"image": world.scene}, when="2026-06-03T10:00:00Z")
    items = write_items(folder / "items.json", [item])
    ring = np.array(footprint_of(world.scene)["coordinates"][0])
    options = ["--allow-root", str(folder), "--models", f"oracle:{world.labels}", "--runner", "local"]
    options += ["--tile", "64", "--halo", "8", "--block", "2"]
    conf = {
        "name": "bay",
        "aoi": None,
        "bbox": [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        "queries": ["- a query; $(echo no shell's)"],
        "source": f"stac:{items}",
        "preset": "embedded",
        "options": options,
        "late_days": 2,
        "runs": str(folder / "runs"),
        "python": sys.executable,
        "jobs": str(ROOT / "jobs"),
    }
    with ray_head(folder) as head:
        connected = Connected(conn_id="ray_jobs", url=head.jobs, token=token_file().read_text())
        environment = airflow_environment(folder / "home", DAG.parent, connected)
        migrated(environment)
        yield Nights(environment=environment, conf=conf, runs=folder / "runs")


def test_a_night_with_imagery_ends_as_an_asset(nights: Nights) -> None:
    told = nights.run("2026-06-06T06:00")  # from the 5th to the 6th, two days late
    assert {name: state for name, (state, _) in told.states.items()} == dict.fromkeys(
        ("describe_night", "check_plan", "segment", "verify", "publish"), "success"
    ), told.said
    run = nights.runs / "bay/2026-06-03"
    assert json.loads((run / "run.json").read_text())["queries"] == ["- a query; $(echo no shell's)"]
    assert "the run is sound" in told.said
    assert [event["extra"] for event in told.assets] == [{"day": "2026-06-03", "run": str(run)}]


def test_a_night_without_imagery_is_skipped(nights: Nights) -> None:
    told = nights.run("2026-06-07T06:00")
    states = {name: state for name, (state, _) in told.states.items()}
    assert states == {"describe_night": "success"} | dict.fromkeys(
        ("check_plan", "segment", "verify", "publish"), "skipped"
    ), told.said
    assert "found nothing to do" in told.said
    assert not (nights.runs / "bay/2026-06-04/run.json").exists()
