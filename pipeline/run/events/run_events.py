"""What is told of a block and of the pools, as values of an event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.run.config import ROLES, ResourceOptions
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.pool_sizes import Node, PoolSizes

_COUNTS = ("found", "empty", "nodata", "failed", "n_calls", "n_embeddings")


def block_event(block: BlockSummary) -> dict[str, Any]:
    """Tell of a committed block: counts, its failed tiles, and who worked on it for how long."""
    failed = [
        {"tile": tile, "query": query, "reason": reason, "error": error}
        for tile, query, reason, error in json.loads(block.failed_tiles)
    ]
    counts = {name: getattr(block, name) for name in _COUNTS}
    more = {"failures": failed} if failed else {}
    return {"block": block.block_id, **counts, **more, "times": json.loads(block.times)}


def pools_event(resources: ResourceOptions, nodes: Sequence[Node], sizes: PoolSizes) -> dict[str, Any]:
    """Tell of the pools: their actors, what these reserve, and what the cluster has."""
    pools = {role: resources.pool(role) for role in ROLES}
    return {
        "nodes": len(nodes),
        "cpus": sum(node.cpus for node in nodes),
        "gpus": sum(node.gpus for node in nodes),
        "actors": {role: sizes.of(role) for role in ROLES},
        "reserved_cpus": round(sum(sizes.of(role) * pool.cpus for role, pool in pools.items()), 3),
        "reserved_gpus": round(sum(sizes.of(role) * pool.gpus for role, pool in pools.items()), 3),
    }
