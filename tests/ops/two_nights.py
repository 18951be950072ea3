"""The whole of infra/ in one evening, on one machine: from an empty account to two nights of results.

    make rehearsal        # needs Terraform, PostgreSQL with PostGIS and 8 GB of memory

1. An AWS account (moto) is empty. `terraform apply` makes the environment `dev` in it, with its bucket.
2. Two drawn scenes of one place, of two dates, lie on a web server, and a STAC API (pgstac) lists them.
3. A Ray head with a token waits. An Airflow with scheduler and triggerer knows it by a Connection.
4. Its schedule has the two dates. Each night checks its plan, segments with the embedded models,
   verifies, and publishes its run in the bucket as an Asset.
5. The second night's driver is killed with some of its blocks committed. Airflow tries again, and the run
   goes on from there.
6. Both results are read from the bucket. `terraform destroy` refuses to take them along.

All that happens is printed with its time, and kept in build/rehearsal.log. The exit code is 0 when both
nights are complete, and no block was done twice.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/ops")]

import boto3  # noqa: E402
import geopandas  # noqa: E402
import obstore.fsspec  # noqa: E402
import psutil  # noqa: E402
import pytest  # noqa: E402
from airflow_home import OURS, Connected  # noqa: E402
from airflow_home import airflow as airflow_command  # noqa: E402
from aws_server import serving_aws  # noqa: E402
from fault_server import fault_server  # noqa: E402
from item_files import footprint_of, item_document, projection_fields  # noqa: E402
from job_files import load_job  # noqa: E402
from ray_heads import ray_head, token_file  # noqa: E402
from role_requests import REGION  # noqa: E402
from running_airflow import RunningAirflow, running_airflow  # noqa: E402
from stac_server import pgstac_server  # noqa: E402
from terraform_runs import Terraform, copied_terraform, terraform_in  # noqa: E402

DAG = "nightly_region"
DAYS = ("2026-10-01", "2026-10-02")
KILLED = DAYS[1]
SIDE_PX = 1920
"""Of a scene: 10 x 10 tiles of the embedded preset, in 3 x 3 blocks."""
KILLED_AFTER = 2
"""Blocks of the second night that are committed when its driver is killed."""
QUERIES = ("facilities that should be monitored for leaks", "show me each swimming pool")
NIGHT_S = 1500.0
"""Longest wait for something to happen."""
LOOK_S = 0.5
"""Seconds between two looks."""
TOLD = ("deferred", "up_for_retry", "success", "failed", "skipped", "upstream_failed")
"""States of a task that are told."""
OVERRIDE = 'terraform {\n  backend "local" {}\n}\nprovider "aws" {\n  s3_use_path_style = true\n}\n'


class Diary:
    """Prints what happens, with the time since the start, and keeps it in a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        line = f"{time.monotonic() - self._start:6.0f} s  {text}"
        print(line, flush=True)
        print(line, file=self._file, flush=True)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the nights need: a bucket for their runs, a catalogue, an area."""

    runs: str
    catalogue: str
    bbox: tuple[float, ...]

    @property
    def bucket(self) -> str:
        return self.runs.removeprefix("s3://").split("/")[0]

    def conf(self) -> dict[str, Any]:
        """Parameters of the DAG `nightly_region`."""
        options = ["--allow-host", "127.0.0.1", "--runner", "ray", "--price-per-hour", "3.20"]
        return {
            "name": "bay",
            "aoi": None,
            "bbox": list(self.bbox),
            "queries": list(QUERIES),
            "source": f"stac:{self.catalogue}#drawn",
            "preset": "embedded",
            "options": options,
            "late_days": 0,
            "runs": self.runs,
            "python": sys.executable,
            "jobs": str(ROOT / "jobs"),
        }

    def read(self, day: str, name: str) -> bytes:
        """A file of a night's run."""
        found = boto3.client("s3").get_object(Bucket=self.bucket, Key=f"runs/bay/{day}/{name}")
        content: bytes = found["Body"].read()
        return content

    def keys(self, day: str, below: str) -> list[str]:
        """Keys of a night's run in the bucket."""
        pages = boto3.client("s3").get_paginator("list_objects_v2")
        prefix = f"runs/bay/{day}/{below}"
        found = pages.paginate(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for page in found for one in page.get("Contents", [])]


@contextmanager
def applied(folder: Path, diary: Diary) -> Iterator[tuple[Terraform, str]]:
    """The environment `dev` in an empty account; gives it, and where runs go."""
    copy = copied_terraform(folder)
    dev = terraform_in(copy, "envs/dev")
    (dev.folder / "moto_override.tf").write_text(OVERRIDE)
    shutil.copy(dev.folder / "terraform.tfvars.example", dev.folder / "terraform.tfvars")
    with serving_aws(REGION):
        dev.run("init", "-lockfile=readonly")
        said = dev.run("apply", "-auto-approve")
        diary.say(next(line for line in said.splitlines() if line.startswith("Apply complete!")))
        runs = dev.json("output", "-json", "runs")
        bucket = runs.removeprefix("s3://").split("/")[0]
        # The policy refuses everybody who comes without TLS. moto has none, and heeds no condition.
        boto3.client("s3").delete_bucket_policy(Bucket=bucket)
        diary.say(f"results go to {runs}; its policy 'TLS only' is lifted, because moto speaks plain HTTP")
        yield dev, runs


@contextmanager
def served_scenes(folder: Path, diary: Diary) -> Iterator[tuple[str, tuple[float, ...]]]:
    """A STAC API with a scene of each day; gives its URL, and the place in degrees."""
    scenes = folder / "scenes"
    for number, day in enumerate(DAYS):
        words = ["--seed", str(74 + number), "--size", str(SIDE_PX), "--out", str(scenes / day), "--quiet"]
        assert load_job("make_world").main(words) == 0
    with fault_server(scenes) as server:
        items = [
            item_document(
                f"scene-{day}",
                {"image": f"{server.url}/{day}/scene.tif"},
                on_item=projection_fields(scenes / day / "scene.tif"),
                when=f"{day}T10:00:00Z",
                like=scenes / day / "scene.tif",
            )
            for day in DAYS
        ]
        ring = footprint_of(scenes / DAYS[0] / "scene.tif")["coordinates"][0]
        west, north = min(lon for lon, _ in ring), max(lat for _, lat in ring)
        east, south = max(lon for lon, _ in ring), min(lat for _, lat in ring)
        with pgstac_server(items) as url:
            diary.say(f"a STAC API lists {len(items)} scenes of {SIDE_PX} x {SIDE_PX} px: {', '.join(DAYS)}")
            yield url.rstrip("/"), (west, south, east, north)


def driver_of(day: str) -> psutil.Process | None:
    """The process that segments a night, if one is at work."""
    for process in psutil.process_iter(["cmdline"]):
        words: Sequence[str] = process.info["cmdline"] or ()
        at_work = len(words) > 1 and words[1].endswith("segment_region.py") and "--dry-run" not in words
        if at_work and day in words:
            return process
    return None


def kill_the_driver(stage: Stage, diary: Diary) -> None:
    """Wait until the second night has committed some blocks, and kill its driver."""
    until = time.monotonic() + NIGHT_S
    while time.monotonic() < until:
        driver = driver_of(KILLED)
        if driver is not None and len(stage.keys(KILLED, "blocks/")) >= KILLED_AFTER:
            driver.kill()
            committed = len(stage.keys(KILLED, "blocks/"))
            diary.say(f"{KILLED}: kill -9 of the driver with {committed} block records committed")
            return
        time.sleep(LOOK_S)


def nightly_dags(folder: Path, stage: Stage) -> Path:
    """A folder with the DAG for this region, on a schedule of the two nights that are rehearsed."""
    dags = folder / "dags"
    dags.mkdir()
    first, last = (
        f"datetime.fromisoformat('{day}+00:00')" for day in (f"{DAYS[0]}T00:00", f"{DAYS[-1]}T23:00")
    )
    given = f"for name, value in {stage.conf()!r}.items():\n    PARAMS[name].value = value\n"
    text = (OURS / "dags/nightly_region.py").read_text()
    for known, ours in (
        ("start_date=datetime(2020, 1, 1, tzinfo=UTC)", f"start_date={first}, end_date={last}"),
        ("catchup=False", "catchup=True"),
        ("\nnightly = ", f"\n{given}\nnightly = "),
    ):
        assert known in text, known
        text = text.replace(known, ours)
    (dags / "nightly_region.py").write_text(text)
    return dags


def make_pool(airflow: RunningAirflow) -> None:
    """The pool that keeps jobs apart; until it is there, tasks wait."""
    words = ("pools", "set", "terraquery", "1", "one job at a time", "--include-deferred")
    done = airflow_command(airflow.environment, *words)
    if done.returncode:
        raise SystemExit(f"airflow {' '.join(words)}: {done.stdout}\n{done.stderr}")


def watch_the_nights(airflow: RunningAirflow, diary: Diary) -> bool:
    """Tell every change of a task until both runs have ended; returns whether both succeeded."""
    told = dict[tuple[str, str], str]()
    until = time.monotonic() + NIGHT_S
    while time.monotonic() < until:
        runs = airflow.ask("GET", f"/api/v2/dags/{DAG}/dagRuns?order_by=logical_date")["dag_runs"]
        for run in runs:
            name, night = run["dag_run_id"], run["logical_date"][:10]
            tasks = airflow.ask("GET", f"/api/v2/dags/{DAG}/dagRuns/{quote(name)}/taskInstances")
            for task in tasks["task_instances"]:
                state = f"{task['state']} (try {task['try_number']})"
                if task["state"] in TOLD and told.get((night, task["task_id"])) != state:
                    told[night, task["task_id"]] = state
                    diary.say(f"{night}: {task['task_id']} {state}")
        if len(runs) == len(DAYS) and all(run["state"] in ("success", "failed") for run in runs):
            return all(run["state"] == "success" for run in runs)
        time.sleep(LOOK_S)
    diary.say(f"the nights did not end within {NIGHT_S:.0f} s")
    return False


def read_the_night(stage: Stage, day: str, diary: Diary) -> bool:
    """Tell what a night has left in the bucket; returns whether it is whole and nothing was done twice.

    The bucket keeps every version of an object: a block that was committed twice has two.
    """
    run = json.loads(stage.read(day, "run.json"))
    counters = run["counters"]
    objects = geopandas.read_parquet(f"{stage.runs}/bay/{day}/{run['outputs']['instances']}")
    versions = boto3.client("s3").list_object_versions(Bucket=stage.bucket, Prefix=f"runs/bay/{day}/blocks/")[
        "Versions"
    ]
    committed = Counter(version["Key"] for version in versions)
    again = sum(times > 1 for times in committed.values())
    costs = json.loads(stage.read(day, "cost.json"))
    ends = ", ".join(start["end"] for start in costs["starts"])
    diary.say(
        f"{day}: {counters['tiles_planned']} tiles = {counters['tiles_found']} found + "
        f"{counters['tiles_empty']} empty + {counters['tiles_failed']} failed; {len(objects)} objects; "
        f"{len(committed)} blocks committed, {again} of them twice; starts: {ends}; "
        f"{costs['money']:.3f} at 3.20 an hour"
    )
    return counters["tiles_failed"] == 0 and len(objects) > 0 and again == 0


def refuse_to_destroy(dev: Terraform, diary: Diary) -> bool:
    """Whether `terraform destroy` leaves a bucket with results alone."""
    try:
        dev.run("destroy", "-auto-approve")
    except pytest.fail.Exception as refused:
        if "BucketNotEmpty" not in str(refused):
            raise
        diary.say("terraform destroy: refused, the bucket is not empty")
        return True
    diary.say("terraform destroy took results along")
    return False


def main() -> int:
    """Rehearse; returns the exit code."""
    obstore.fsspec.register("s3")
    diary = Diary(ROOT / "build/rehearsal.log")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal")))
        dev, runs = stack.enter_context(applied(folder, diary))
        catalogue, bbox = stack.enter_context(served_scenes(folder, diary))
        stage = Stage(runs=runs, catalogue=catalogue, bbox=bbox)
        head = stack.enter_context(ray_head(folder))
        connected = Connected(conn_id="ray_jobs", url=head.jobs, token=token_file().read_text())
        diary.say("a Ray head with a token waits for jobs")
        airflow = stack.enter_context(running_airflow(folder, nightly_dags(folder, stage), connected))
        diary.say("Airflow is up: API server, scheduler, DAG processor, triggerer; nights begin at 06:00")
        make_pool(airflow)
        killer = threading.Thread(target=kill_the_driver, args=(stage, diary), daemon=True)
        killer.start()
        good = watch_the_nights(airflow, diary) and not killer.is_alive()
        whole = [read_the_night(stage, day, diary) for day in DAYS]
        good = all(whole) and good
        good = refuse_to_destroy(dev, diary) and good
    diary.say("both nights are complete" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
