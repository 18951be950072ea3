"""Zones on Ray: one flow for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zone_worlds import CUT, assert_each_once, read_instances, seam_world

from pipeline.run import flow


@pytest.mark.long
@pytest.mark.usefixtures("shared_ray")
def test_on_ray_all_zones_are_one_flow_through_the_same_actors(
    run_job: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow starts each actor once, and an actor loads its models once (test_actors)."""
    flows: list[tuple[int, int]] = []
    send = flow.run_actors

    def counted(rows: list[dict[str, Any]], stages: Any, contexts: Any, *args: Any, **more: Any) -> Any:
        flows.append((len(contexts), len(rows)))
        return send(rows, stages, contexts, *args, **more)

    monkeypatch.setattr(flow, "run_actors", counted)
    world = seam_world(tmp_path)
    words = world.words(tmp_path / "out", *CUT)
    words[words.index("--runner") + 1] = "ray"
    assert run_job(*words) == 0
    records = list((tmp_path / "out").glob("zones/*/blocks/*.parquet"))
    assert flows == [(2, len(records))]
    assert_each_once(read_instances(tmp_path / "out"), world.objects)
