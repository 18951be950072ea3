"""The Ray runner and `ray job submit`, with a real Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from fault_server import fault_server
from item_files import footprint_of, item_document, projection_fields
from label_worlds import LabelWorld, blobs, write_label_world
from ray_heads import RAY, ray_environment, ray_head
from s3_server import BUCKET, serving_s3
from stac_server import rustac_server

from pipeline.files.store.stored_files import zarr_store
from pipeline.run import ray_engine
from pipeline.run.verify.verify_run import verify
from pipeline.write.run_document import finished_run

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    return write_label_world(
        tmp_path_factory.mktemp("world"), blobs(np.random.default_rng(11), 260, 240, grain=23)
    )


def words(world: LabelWorld, out: Path) -> list[str]:
    cut = ["--tile", "64", "--halo", "8", "--block", "2"]
    models = ["--models", f"oracle:{world.labels}", "--query", "anything"]
    return ["--source", str(world.scene), "--whole-scene", *models, *cut, "--out", str(out)]


def ids(out: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0])


def test_ray_gives_the_truth_and_the_same_files_as_the_local_runner(
    run_job: Callable[..., int], world: LabelWorld, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "jobs/segment_region.py", *words(world, tmp_path / "ray"), "--runner", "ray"],
        cwd=ROOT,
        env=ray_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "tiles 30/30 (100 %)" in done.stdout  # ceil(260 / 48) x ceil(240 / 48) tiles
    np.testing.assert_array_equal(ids(tmp_path / "ray"), world.ids.astype(np.uint64))
    assert run_job(*words(world, tmp_path / "local"), "--runner", "local") == 0
    for name in ("instances/part-00000.parquet", "coverage.parquet", "plan.parquet"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    np.testing.assert_array_equal(ids(tmp_path / "ray"), ids(tmp_path / "local"))


@pytest.mark.usefixtures("shared_ray")
def test_a_store_smaller_than_one_block_slows_a_run_down_but_does_not_stop_it(
    run_job: Callable[..., int],
    world: LabelWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ray Data lets an idle flow go on whatever the limit says; without that, the first block would wait for
    ever.
    """
    asked: list[object] = []
    monkeypatch.setattr(ray_engine, "store_limit_bytes", lambda *words: asked.append(words) or 1)
    assert run_job(*words(world, tmp_path / "out"), "--runner", "ray") == 0
    assert len(asked) == 1
    assert "tiles 30/30 (100 %)" in capsys.readouterr().out
    np.testing.assert_array_equal(ids(tmp_path / "out"), world.ids.astype(np.uint64))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray head of its own; yields the address of its job server."""
    with ray_head(tmp_path_factory.mktemp("head")) as started:
        yield started.jobs


@pytest.mark.long
@pytest.mark.timeout(1200)  # two jobs, each with an environment of its own to start
def test_submitted_jobs_show_progress_and_the_final_table_and_merge_again(
    head: str, world: LabelWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    submit = [str(RAY), "job", "submit", "--address", head, "--working-dir", ".", "--"]
    done = run_to_the_end([*submit, "python", "jobs/segment_region.py", *words(world, out)])
    assert "tiles 30/30 (100 %)" in done.stdout
    assert "planned tiles  30 = " in done.stdout
    assert json.loads((out / "run.json").read_text())["status"] == "complete"
    np.testing.assert_array_equal(ids(out), world.ids.astype(np.uint64))
    again = [
        "--run",
        str(out),
        "--out",
        str(tmp_path / "again"),
        "--super-tile",
        "2",
        "--audit",
        "--rescue-share",
        "0.9",
    ]
    done = run_to_the_end([*submit, "python", "jobs/restitch_region.py", *again])
    assert '"anything"' in done.stdout
    assert json.loads((tmp_path / "again" / "run.json").read_text())["parameters"]["stitch"]["audit"] is True
    np.testing.assert_array_equal(ids(tmp_path / "again"), world.ids.astype(np.uint64))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_submitted_job_searches_a_stac_api(head: str, world: LabelWorld, tmp_path: Path) -> None:
    """The scene is cut in two, which a web server serves and a STAC API finds."""
    with rasterio.open(world.scene) as dataset:
        pixels = dataset.read()
        for name, cols in (("west", slice(0, 150)), ("east", slice(110, pixels.shape[2]))):
            profile = dataset.profile | {
                "width": len(range(pixels.shape[2])[cols]),
                "transform": dataset.transform @ rasterio.Affine.translation(cols.start, 0),
            }
            with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as part:
                part.write(pixels[:, :, cols])
    aoi = tmp_path / "aoi.geojson"
    aoi.write_text(json.dumps(footprint_of(world.scene)))
    out = tmp_path / "out"
    cut = ["--tile", "64", "--halo", "8", "--block", "2"]
    with fault_server(tmp_path) as files:
        items = [
            item_document(
                name,
                {"image": f"{files.url}/{name}.tif"},
                on_item=projection_fields(tmp_path / f"{name}.tif"),
                like=tmp_path / f"{name}.tif",
                collection="naip",
            )
            for name in ("west", "east")
        ]
        with rustac_server(items) as api:
            command = ["--source", f"stac:{api}#naip", "--aoi", str(aoi), "--datetime", "2024-01-01/.."]
            command += ["--query", "anything", "--models", f"oracle:{world.labels}", "--out", str(out), *cut]
            submit = [str(RAY), "job", "submit", "--address", head, "--working-dir", ".", "--"]
            run_to_the_end([*submit, "python", "jobs/segment_region.py", *command])
    np.testing.assert_array_equal(ids(out), world.ids.astype(np.uint64))
    assert json.loads((out / "run.json").read_text())["searches"][0]["source"] == f"stac:{api}"


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_a_submitted_job_writes_to_a_bucket(head: str, world: LabelWorld) -> None:
    """Keys and the address of the service go with the job, and every worker writes there."""
    place = f"s3://{BUCKET}/submitted"
    with serving_s3():
        keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        submit = [str(RAY), "job", "submit", "--address", head, "--working-dir", "."]
        submit += ["--runtime-env-json", json.dumps({"env_vars": keys}), "--"]
        command = ["--source", str(world.scene), "--whole-scene", "--query", "anything", "--out", place]
        command += ["--models", f"oracle:{world.labels}", "--tile", "64", "--halo", "8", "--block", "2"]
        run_to_the_end([*submit, "python", "jobs/segment_region.py", *command])
        assert verify(place).sound
        masks = zarr_store(finished_run(place).masks, read_only=True)
        found = np.asarray(zarr.open_group(masks, mode="r")["instance_id"][0])  # type: ignore[index]
    np.testing.assert_array_equal(found, world.ids.astype(np.uint64))


def run_to_the_end(command: list[str]) -> subprocess.CompletedProcess[str]:
    """One submitted job; it must succeed. A head that has just started may ask to try again."""
    for _ in range(4):
        done = subprocess.run(
            command, cwd=ROOT, env=ray_environment(), capture_output=True, text=True, timeout=560
        )
        if "No available agent to submit job" not in done.stderr:
            break
        time.sleep(15)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
