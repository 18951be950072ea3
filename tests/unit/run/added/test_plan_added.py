"""Which queries may be added, and to which runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.run.added.plan_added import _require_asked, added_queries, asked_before, finished_info
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.run_json import RunInfo, write_run_json

INFO = RunInfo(
    run_id="r",
    fingerprint="f" * 64,
    status="complete",
    parameters={},
    queries=("tanks", "pools"),
    lattice=TileLattice(
        grid=RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=30, height=10),
        tile_px=12,
        halo_px=1,
        block_tiles=1,
    ),
    scenes=(),
    records_share="e" * 64,
    snapshot="s",
)


def test_queries_are_written_as_a_run_writes_them() -> None:
    assert added_queries(INFO, ["  ships ", "roads"]) == ("ships", "roads")


@pytest.mark.parametrize(
    ("info", "queries", "why"),
    [
        (INFO, ["ships", " pools "], "'pools', of which the run has results"),
        (INFO, ["ships", "ships"], "--add-query may be given once"),
        (INFO, ["Ships", "sh ips", "  ships "], "--add-query may be given once"),
        (INFO, [" POOLS"], "'POOLS', of which the run has results as 'pools'"),
        (INFO, [" "], "query"),
        (replace(INFO, update={"queries": ["tanks", "pools", "roads"]}), ["ships"], "--add-query 'roads'"),
    ],
)
def test_what_cannot_be_added_is_refused(info: RunInfo, queries: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        added_queries(info, queries)


def test_an_addition_that_was_interrupted_goes_on() -> None:
    info = replace(INFO, update={"queries": ["tanks", "pools", "roads"]})
    assert added_queries(info, ["roads"]) == ("roads",)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"snapshot": ""}, "that has published nothing"),
        ({"update": {"scenes": []}}, None),
        ({"update": {"fingerprint": "x"}}, "whose --update has not ended"),
        ({"records_share": ""}, "of an earlier version"),
        ({"settings": {"merged_from": {"run": "/first"}}}, "give --out /first"),
    ],
)
def test_only_a_finished_run_with_its_records_is_asked_more(
    tmp_path: Path, change: dict[str, Any], why: str | None
) -> None:
    write_run_json(tmp_path / "run.json", replace(INFO, **change))
    if why is None:
        why = "whose --update"
    with pytest.raises(InputError, match=why):
        finished_info(str(tmp_path))
    write_run_json(tmp_path / "run.json", replace(INFO, update={"queries": ["tanks", "pools", "roads"]}))
    assert finished_info(str(tmp_path)).queries == ("tanks", "pools")


@pytest.mark.parametrize(
    ("kind", "examples", "why"),
    [("vector", False, "--prompts"), ("grid", False, "--everything"), ("oracle", True, "--examples")],
)
def test_a_prompter_that_is_not_asked_is_refused(kind: str, examples: bool, why: str) -> None:
    with pytest.raises(InputError, match=why):
        _require_asked(kind, examples=examples)
    for asked in ("vllm", "oracle", "grounding-dino", "whole"):
        _require_asked(asked, examples=False)


def test_a_run_that_has_all_queries_is_asked_nothing() -> None:
    def planned(before: RunInfo | None, *queries: str) -> Any:
        config = SimpleNamespace(queries=queries)
        plan = SimpleNamespace(inside=np.ones((1, 3), dtype=np.bool_))
        return SimpleNamespace(before=before, request=SimpleNamespace(config=config), plan=plan)

    told = replace(INFO, parameters={"scenes": []})
    assert asked_before(planned(None, "tanks")) is None
    assert asked_before(planned(told, "tanks", "pools")) is None
    asked = asked_before(planned(told, "tanks", "pools", "ships"))
    assert asked is not None
    assert asked.queries == ("tanks", "pools")
    key = asked.keys.of("b00000_00001")
    assert key is not None
    assert told.records_share in key.inputs
