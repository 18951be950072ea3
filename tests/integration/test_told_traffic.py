"""What a run says of its requests is what the servers have counted, to the request and to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.range_server import serve
from counted_s3 import CountedS3, store_counts, told_traffic
from label_worlds import blobs, write_label_world, write_raster

from pipeline.files.store.store_path import store_path
from pipeline.files.traffic import traffic
from pipeline.run.events.explain_run import explain_run
from tests.s3_server import BUCKET, serving_s3

RunJob = Callable[..., int]


def test_a_run_counts_what_its_servers_count(run_job: RunJob, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    world = write_label_world(tmp_path / "world", blobs(rng, 180, 180, grain=30))
    write_raster(world.scene, rng.integers(40, 250, (3, 180, 180)).astype(np.uint8))  # longer than a header
    options = tmp_path / "options.toml"
    options.write_text("[tiles]\npx = 64\nhalo_px = 12\nblock_tiles = 2\n")
    bucket = CountedS3()
    with serve(tmp_path / "world", 0.0) as server, serving_s3(watch=bucket.watch):
        place = store_path(f"s3://{BUCKET}/told-traffic")
        traffic.take()
        words = ["--source", f"{server.url}/scene.tif", "--whole-scene", "--query", "anything"]
        words += ["--models", f"oracle:{world.labels}", "--config", options, "--runner", "local"]
        bucket.asked.clear()
        assert run_job(*words, "--out", place) == 0
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
