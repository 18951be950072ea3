"""What a run says of its requests is what the servers have counted, to the request and to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import boto3
import numpy as np
import pytest
from benchmarks.range_server import serve
from counted_s3 import CountedS3, store_counts, told_traffic
from label_worlds import LabelWorld, blobs, write_label_world, write_raster

from pipeline.files.store.store_path import store_path
from pipeline.files.traffic import traffic
from pipeline.run.events.explain_run import explain_run
from tests.s3_server import BUCKET, serving_s3

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """Its scene is longer than what is read of a header."""
    rng = np.random.default_rng(5)
    world = write_label_world(tmp_path_factory.mktemp("world"), blobs(rng, 180, 180, grain=30))
    write_raster(world.scene, rng.integers(40, 250, (3, 180, 180)).astype(np.uint8))
    return world


def words(world: LabelWorld, folder: Path, source: str) -> list[object]:
    options = folder / "options.toml"
    options.write_text("[tiles]\npx = 64\nhalo_px = 12\nblock_tiles = 2\n")
    chosen = ["--source", source, "--whole-scene", "--query", "anything", "--runner", "local"]
    return [*chosen, "--models", f"oracle:{world.labels}", "--config", options]


def test_a_run_counts_what_a_web_server_and_its_bucket_count(
    run_job: RunJob, world: LabelWorld, tmp_path: Path
) -> None:
    bucket = CountedS3()
    with serve(world.scene.parent, 0.0) as server, serving_s3(watch=bucket.watch):
        place = store_path(f"s3://{BUCKET}/told-traffic")
        traffic.take()
        bucket.asked.clear()
        assert run_job(*words(world, tmp_path, f"{server.url}/scene.tif"), "--out", place) == 0
        counts = server.counts()
        before_the_end = bucket.until("told-traffic/logs/", "puts")
        told = told_traffic(place)
        cost = json.loads((place / "cost.json").read_bytes())
        text = explain_run(str(place))
    assert told["http_requests"] == counts.requests > 5
    assert told["http_bytes"] == counts.sent_bytes > 0
    assert {name: n for name, n in told.items() if name.startswith("store_")} == store_counts(before_the_end)
    assert told["http_retries"] == told["store_retries"] == 0
    assert cost["traffic"] == dict(told)
    assert f"imagery  {counts.requests} requests over http" in text
    assert "\nbucket" in text


def test_a_run_counts_what_a_bucket_of_imagery_counts(
    run_job: RunJob, world: LabelWorld, tmp_path: Path
) -> None:
    """Into a folder, which asks no bucket for anything."""
    bucket = CountedS3()
    with serving_s3(watch=bucket.watch):
        boto3.client("s3").upload_file(str(world.scene), BUCKET, "told-imagery/scene.tif")
        traffic.take()
        bucket.asked.clear()
        source = f"s3://{BUCKET}/told-imagery/scene.tif"
        assert run_job(*words(world, tmp_path, source), "--out", tmp_path / "out") == 0
    asked = [one for one in bucket.asked if one.key == "told-imagery/scene.tif"]
    told = told_traffic(tmp_path / "out")
    assert {one.kind for one in asked} == {"gets"}
    assert (told["s3_requests"], told["s3_bytes"]) == (len(asked), sum(one.n_bytes for one in asked))
    assert not any(name.startswith(("store_", "http_")) for name in told)
