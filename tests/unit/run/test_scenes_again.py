"""A finished plan gives the places of its scenes again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from item_files import grey, write_pixels

from pipeline.grid.source import SourceOptions
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.prepare import RunRequest, claim, plan_request
from pipeline.run.scenes_again import scenes_again
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json


def test_scenes_lie_where_the_plan_put_them(tmp_path: Path) -> None:
    """The second scene is on the lattice of the first, the third is warped onto it."""
    files = [
        write_pixels(tmp_path / "a.tif", grey(40, 40, 50)),
        write_pixels(tmp_path / "b.tif", grey(40, 40, 60), row0=10, col0=30),
        write_pixels(tmp_path / "c.tif", grey(20, 20, 70), pixel=3.0),
    ]
    labels = write_pixels(tmp_path / "labels.tif", np.ones((1, 60, 70), np.int32), nodata=None)
    tables = {
        "prompter": {"kind": "oracle", "model": f"oracle:{labels}"},
        "segmenter": {"kind": "oracle", "checkpoint": f"oracle:{labels}"},
    }
    config = RunConfig(
        queries=("x",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=tuple(map(str, files))),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables(preset_tables("embedded") | tables, {"load": {"nodata": "0"}})),
    )
    planned = plan_request(RunRequest(config=config, out=str(tmp_path / "out"), runner="local"))
    assert [offset is None for offset in planned.plan.offsets] == [False, False, True]
    claim(planned)
    again = scenes_again(read_run_json(RunDir(tmp_path / "out").run_json))
    assert again.scenes == planned.plan.scenes
    assert again.offsets == planned.plan.offsets
    assert again.windows == planned.plan.scene_windows
    assert again.load == config.load
