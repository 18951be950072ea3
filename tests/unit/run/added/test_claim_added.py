"""run.json as it stands when queries are being added."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline.run.added.claim_added import added_info
from pipeline.run.block_inputs import shared_fingerprint
from pipeline.run.config import build_preset, preset_tables
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.run_json import RunInfo

BEFORE = RunInfo(
    run_id="old",
    fingerprint="f" * 64,
    status="complete",
    parameters={"queries": ["tanks"], "area": "whole scene"},
    queries=("tanks",),
    lattice=TileLattice(
        grid=RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=30, height=10),
        tile_px=12,
        halo_px=1,
        block_tiles=1,
    ),
    scenes=(),
    pins={"a": {"etag": "1"}},
    unread=("b",),
    searches=({"href": "x"},),
    settings={
        "preset": "embedded",
        "mosaic": "newest",
        "runner": "ray",
        "hub": {"prompter": {"commit": "c"}},
    },
    qa={"tanks": {}},
    outputs={"masks": "m"},
    counters={"instances": 7},
    ended="2026-01-01T00:00:00Z",
    started="2025-01-01T00:00:00Z",
)


def test_what_the_run_says_of_its_ground_stays_and_what_came_of_it_goes() -> None:
    preset = build_preset(preset_tables("embedded"))
    config = SimpleNamespace(queries=("tanks", "pools"), preset=preset)
    parameters = {**BEFORE.parameters, "queries": ["tanks", "pools"]}
    planned: Any = SimpleNamespace(
        before=BEFORE,
        request=SimpleNamespace(config=config),
        plan=SimpleNamespace(inside=np.ones((2, 3), dtype=np.bool_), n_tiles_outside=2),
        parameters=parameters,
        fingerprint="0123456789abcdef" + "0" * 48,
        runner=SimpleNamespace(name="local"),
    )
    failing: Any = SimpleNamespace(scene=SimpleNamespace(scene_id="a", failure="404"))
    info = added_info(planned, [failing])
    assert (info.run_id, info.status, info.queries) == ("0123456789abcdef", "running", ("tanks", "pools"))
    assert info.records_share == shared_fingerprint(parameters) != BEFORE.records_share
    assert (info.pins, info.searches, info.started) == (BEFORE.pins, BEFORE.searches, BEFORE.started)
    assert info.unread == ("a", "b")
    assert info.settings["runner"] == "local"
    assert {key: info.settings[key] for key in ("preset", "mosaic", "hub")} == {
        key: BEFORE.settings[key] for key in ("preset", "mosaic", "hub")
    }
    assert info.counters == {"tiles_planned": 6, "tiles_outside": 2}
    assert (info.qa, info.outputs, info.ended) == ({}, {}, "")
    assert replace(info, parameters=BEFORE.parameters).lattice == BEFORE.lattice
