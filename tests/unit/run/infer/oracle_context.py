"""A claimed run of oracle models, for tests of how blocks are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from label_worlds import write_label_world

from pipeline.grid.source import SourceOptions
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.infer.steps import RunContext
from pipeline.run.prepare import RunRequest, claim, plan_request


def oracle_context(folder: Path, *, n_scenes: int = 1, px: int = 40, **limits: Any) -> RunContext:
    """`px` x `px` pixels with an object in every tile: cores of 20 px, halos of 4 px, blocks of 2 x 2 tiles.

    `n_scenes` show the same place.
    """
    labels = np.zeros((px, px), dtype=np.int64)
    starts = range(0, px, 20)
    for number, (row, col) in enumerate([(r, c) for r in starts for c in starts], start=1):
        labels[row + 8 : row + 12, col + 8 : col + 12] = number
    worlds = [write_label_world(folder / f"world{number}", labels) for number in range(n_scenes)]
    oracle = f"oracle:{worlds[0].labels}"
    tables = merge_tables(
        preset_tables("embedded"),
        {
            "prompter": {"kind": "oracle", "model": oracle},
            "segmenter": {"kind": "oracle", "checkpoint": oracle},
            "tiles": {"px": 28, "halo_px": 4, "block_tiles": 2},
            "limits": limits,
        },
    )
    config = RunConfig(
        queries=("things",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=tuple(str(world.scene) for world in worlds)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(tables),
    )
    return claim(plan_request(RunRequest(config=config, out=str(folder / "run"), runner="local"))).context
