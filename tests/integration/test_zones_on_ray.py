"""Zones on Ray: one flow for all of them, also where they go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growing_zones import make_growing_zones
from zone_worlds import CUT, assert_each_once, read_instances, seam_world

from pipeline.run import flow
from pipeline.run.verify.verify_run import verify


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


@pytest.mark.heavy
@pytest.mark.usefixtures("shared_ray")
def test_on_ray_an_update_of_zones_is_what_it_is_here(
    run_job: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the blocks of two zones those that are touched are done, and of a third one all."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    rows: list[tuple[int, int]] = []
    send = flow.run_actors

    def counted(blocks: list[dict[str, Any]], stages: Any, contexts: Any, *args: Any, **more: Any) -> Any:
        rows.append((len(contexts), len(blocks)))
        return send(blocks, stages, contexts, *args, **more)

    monkeypatch.setattr(flow, "run_actors", counted)
    world = make_growing_zones(tmp_path)
    fresh, out = tmp_path / "fresh", tmp_path / "out"
    assert run_job(*world.words("all"), "--out", fresh) == 0
    assert run_job(*world.words("part"), "--out", out) == 0
    words = world.words("all")
    words[words.index("--runner") + 1] = "ray"
    assert run_job(*words, "--out", out, "--update") == 0
    assert rows == [(3, 24)], "9 + 12 + 9 blocks, less two rows of 3 that stay"
    results = [path.relative_to(fresh) for path in fresh.rglob("*.parquet") if path.parent.name != "current"]
    assert len(results) > 30
    assert [path for path in results if (out / path).read_bytes() != (fresh / path).read_bytes()] == []
    assert verify(out).sound
