"""The dashboard and the alerts, asked of a Prometheus that scraped a real run on a real Ray head."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rasterio
from counted_s3 import told_traffic
from fault_server import FaultServer, fault_server
from free_ports import free_port
from job_files import load_job
from ray_heads import Head, ray_environment, ray_head

from pipeline.files.store.store_path import store_path
from tests.s3_server import BUCKET, serving_s3

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"
NEEDS_GPU = ("ray_node_gpus_utilization",)
"""Metrics of which a machine without GPUs has none."""
OUT = f"s3://{BUCKET}/monitored"
LAST_SCRAPE_S = 30.0
"""How long counters are waited for after a run: rates want two scrapes of each. Gauges end with the run."""

pytestmark = [
    pytest.mark.ops,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no Prometheus here"),
]


def expressions() -> dict[str, str]:
    """Panel and target -> expression, for any run."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$run", ".*")
        for panel in panels
        for target in panel["targets"]
    }


@pytest.fixture
def served(tmp_path: Path) -> Iterator[FaultServer]:
    """A server of a world with storage tanks, of which a corner is damaged, beside a bucket."""
    folder = tmp_path / "world"
    assert load_job("make_world").main(["--seed", "74", "--size", "768", "--out", str(folder)]) == 0
    scene = folder / "scene.tif"
    with rasterio.open(scene) as dataset:
        place = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_1_1", "TIFF", bidx=1))
    with scene.open("r+b") as file:
        file.seek(place)
        file.write(bytes(size))
    with fault_server(folder) as server, serving_s3():
        yield server


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes `target` every second; its URL."""
    shutil.copy(MONITORING / "alerts.yaml", folder)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    port = free_port()
    words = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [*words, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def asked(url: str, path: str, **parameters: str | float) -> Any:
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
        return json.load(answer)["data"]


def run_a_job(head: Head, server: FaultServer) -> None:
    """The shipped models over a served image, into a bucket. The server is busy once."""
    server.clear()
    server.faults[1] = "503"
    words = ["--source", f"{server.url}/scene.tif", "--whole-scene", "--block", "1", "--runner", "ray"]
    words += [
        "--query",
        "storage tanks",
        "--query",
        "swimming pools",
        "--max-failed-share",
        "1",
        "--out",
        OUT,
    ]
    done = subprocess.run(
        [sys.executable, "jobs/segment_region.py", *words],
        cwd=ROOT,
        env=ray_environment() | {"RAY_ADDRESS": head.gcs},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def without_data(url: str, began: float) -> list[str]:
    """Expressions that had data at no time since the run began. Those of nodes with GPUs are left out."""
    without = []
    for name, expression in expressions().items():
        if any(metric in expression for metric in NEEDS_GPU):
            continue
        found = asked(url, "/api/v1/query_range", query=expression, start=began, end=time.time(), step=1)
        if not found["result"]:
            without.append(f"{name}: {expression}")
    return without


def test_every_expression_of_the_dashboard_has_data_after_a_run(served: FaultServer, tmp_path: Path) -> None:
    port = free_port()
    often = ray_environment() | {"RAY_metrics_report_interval_ms": "1000"}
    began = time.time()
    with (
        ray_head(tmp_path, f"--metrics-export-port={port}", environment=often) as head,
        prometheus(tmp_path, f"127.0.0.1:{port}") as url,
    ):
        run_a_job(head, served)
        until = time.time() + LAST_SCRAPE_S
        while (without := without_data(url, began)) and time.time() < until:
            time.sleep(1)
        rules = asked(url, "/api/v1/rules")["groups"]
    assert without == []
    told = told_traffic(store_path(OUT))
    assert (told["http_requests"], told["http_retries"]) == (len(served.requests), 1)
    assert [rule["health"] for group in rules for rule in group["rules"]] == ["ok"] * 4


def test_alerts_speak_when_they_should_and_are_silent_else() -> None:
    for words in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_and_alerts_use_metrics_that_a_run_has() -> None:
    from pipeline.run.events.run_metrics import METRICS

    exported = {
        f"ray_{name}{'_total' if kind == 'counter' else ''}" for name, (kind, _, _) in METRICS.items()
    }
    texts = " ".join([*expressions().values(), (MONITORING / "alerts.yaml").read_text()])
    used = set(re.findall(r"\bray_terraquery_\w+", texts))
    assert used <= exported
    assert exported - used == {"ray_terraquery_blocks_total"}
