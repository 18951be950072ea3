from __future__ import annotations

import json

from pipeline.run.config import Pool, ResourceOptions
from pipeline.run.events.run_events import block_event, pools_event
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.pool_sizes import Node, PoolSizes


def test_a_block_tells_its_counts_its_failures_and_who_worked_on_it() -> None:
    summary = BlockSummary(
        block_id="b00000_00001",
        found=2,
        empty=1,
        nodata=1,
        failed=1,
        n_embeddings=2,
        n_calls=4,
        elapsed_s=1.0,
        failed_tiles=json.dumps([["t0_1", 0, "timeout", "late"]]),
        times='[{"stage": "read"}]',
    )
    assert block_event(summary) == {
        "block": "b00000_00001",
        "found": 2,
        "empty": 1,
        "nodata": 1,
        "failed": 1,
        "n_calls": 4,
        "n_embeddings": 2,
        "failures": [{"tile": "t0_1", "query": 0, "reason": "timeout", "error": "late"}],
        "times": [{"stage": "read"}],
    }


def test_pools_tell_what_they_reserve_of_what_there_is() -> None:
    options = ResourceOptions(
        reader=Pool(actors="auto"),
        prompter=Pool(actors="auto", gpus=0.7),
        segmenter=Pool(actors="auto", gpus=0.3),
    )
    told = pools_event(
        options,
        [Node(cpus=8, gpus=2), Node(cpus=4)],
        PoolSizes(reader=5, prompter=2, segmenter=2, pairs=2),
    )
    assert told == {
        "nodes": 2,
        "cpus": 12,
        "gpus": 2,
        "actors": {"reader": 5, "prompter": 2, "segmenter": 2},
        "reserved_cpus": 9,
        "reserved_gpus": 2,
    }
