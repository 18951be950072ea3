"""A run's options and scenes, read back from what run.json says of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import InputError, RunMismatchError
from pipeline.files.fingerprint import canonical
from pipeline.grid.source import SourceOptions
from pipeline.run.added import run_again
from pipeline.run.added.run_again import config_again, notice_of, require_same_imagery
from pipeline.run.config import (
    AreaOptions,
    GridChoice,
    Preset,
    RunConfig,
    build_preset,
    known_presets,
    merge_tables,
    preset_tables,
    result_parameters,
    with_mask_model,
)
from pipeline.schema.imagery import Scene
from pipeline.segment.kept_embeddings import CacheOptions
from pipeline.segment.proposals import EverythingOptions
from pipeline.write.run_dir import RunDir

SCENE = Scene(
    scene_id="a",
    href="/a.tif",
    crs_wkt=None,
    transform=(1, 0, 0, 0, -1, 0),
    width=60,
    height=12,
    count=3,
    dtype="uint8",
    rgb_bands=(1, 2, 3),
    nodata=None,
    collection="s2",
)
LOOKS = {
    "gate": {"mode": "tile", "threshold": 0.25},
    "verifier": {"mode": "crop", "threshold": 0.4},
    "limits": {"tile_s": 33.0},
    "load": {"scale": [0, 3000], "open_files": 5},
}


def info_of(config: RunConfig) -> Any:
    """What run.json says of a configuration, by way of JSON."""
    preset = config.preset
    told = {
        "parameters": result_parameters(config),
        "settings": {
            "preset": config.preset_name,
            "resources": asdict(preset.resources),
            "limits": asdict(preset.limits),
            "open_files": preset.load.open_files,
        },
        "models": {"prompter": asdict(preset.prompter), "segmenter": asdict(preset.segmenter)},
    }
    read = json.loads(json.dumps(canonical(told)))
    return SimpleNamespace(queries=config.queries, warnings=(preset.notice,), **read)


def config_of(name: str, tables: dict[str, Any]) -> RunConfig:
    return RunConfig(
        queries=("tanks",),
        area=AreaOptions(),
        source=SourceOptions(hrefs=()),
        grid=GridChoice(),
        preset_name=name,
        preset=build_preset(tables),
        merge_mode="semantic",
        min_area_m2=4.0,
    )


@pytest.mark.parametrize("name", known_presets())
def test_every_preset_comes_back_as_it_was(name: str) -> None:
    config = config_of(name, preset_tables(name))
    again = config_again(info_of(config))
    assert as_asked(again) == as_asked(config)
    assert (again.merge_mode, again.min_area_m2) == ("semantic", 4.0)
    assert notice_of(info_of(config)) == config.preset.notice


@pytest.mark.parametrize(
    "own",
    [
        {"kind": "sam3-text", "checkpoint": "facebook/sam3", "threshold": 0.4},
        {"kind": "process", "python": "p", "adapter": "lisa", "options": {"size": 4}, "limit_s": 7.0},
    ],
)
def test_a_mask_model_comes_back_as_it_was(own: dict[str, Any]) -> None:
    config = config_of("embedded", with_mask_model(preset_tables("embedded"), {"mask_model": own}))
    again = config_again(info_of(config), cache={"folder": "/kept", "gb": 2})
    assert as_asked(again) == replace(as_asked(config), cache=CacheOptions(folder="/kept", gb=2.0))


def test_looks_and_values_of_a_user_come_back_and_a_file_lies_over_them(tmp_path: Path) -> None:
    config = config_of("embedded", merge_tables(preset_tables("embedded"), LOOKS))
    info = info_of(config)
    again = config_again(info)
    assert as_asked(again) == as_asked(config)
    file = tmp_path / "how.toml"
    file.write_text("[limits]\ntile_s = 7.0\n")
    assert config_again(info, str(file)).limits.tile_s == 7.0
    del info.settings["limits"]
    with pytest.raises(InputError, match="with which options"):
        config_again(info)


def as_asked(config: RunConfig) -> Preset:
    """The preset, without what only runs without words use, and the notice."""
    return replace(config.preset, notice="", everything=EverythingOptions())


def source(scene: Scene, stretch: str = "as stored") -> Any:
    told = {"offset_rc": [0, 0], "window": [0, 0, 4, 4], "validity": "v", "collar_share": 0.0}
    return SimpleNamespace(scene=scene, to_dict=lambda: {**told, "stretch": stretch})


def test_imagery_that_shows_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    info: Any = SimpleNamespace(scenes=(SCENE,), stretches={"a": source(SCENE).to_dict()})
    run_dir = RunDir("out")
    require_same_imagery(run_dir, info, [source(SCENE)])
    with pytest.raises(RunMismatchError, match=r"stretch: .*as stored"):
        require_same_imagery(run_dir, info, [source(SCENE, "brighter")])
    gone = source(replace(SCENE, failure="the server answered 404"))
    require_same_imagery(run_dir, info, [gone])
    monkeypatch.setattr(run_again, "_is_another", lambda scene: scene == SCENE)
    with pytest.raises(RunMismatchError, match="404"):
        require_same_imagery(run_dir, info, [gone])
