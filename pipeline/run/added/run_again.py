"""A run once more, as its run.json and its plan have it: what it was asked, with which models, and where.

1. `config_again` makes the configuration from run.json. The user's TOML may be laid over it, for how the run
   is done: resources, limits, devices.
2. `plan_again` makes the plan from plan.parquet and the scenes in run.json. Nothing is searched.
3. `require_as_before` computes the run's parameters again from the models' files. Where they are others than
   run.json has, a model has changed, or the user's TOML changes the result: the run is refused.
4. `require_same_imagery` compares scenes as they are now with what run.json says of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from pipeline.errors import InputError, RunMismatchError, TerraqueryError
from pipeline.files.fingerprint import canonical, describe_difference, fingerprint
from pipeline.files.raster_access import open_raster, raster_environment
from pipeline.grid.lattice import place_on
from pipeline.grid.source import SourceOptions
from pipeline.grid.tiles import Plan
from pipeline.load.prepare_scenes import SceneSource, of_catalog
from pipeline.options import read_toml
from pipeline.run.config import (
    AreaOptions,
    GridChoice,
    Preset,
    RunConfig,
    build_preset,
    merge_tables,
    preset_tables,
)
from pipeline.run.prepare import fingerprint_parameters
from pipeline.schema.imagery import Scene
from pipeline.write.plan_table import read_inside
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

GROUND = ("area", "grid", "scenes", "datetime_of", "items", "clouds", "bands")
"""Parameters that run.json alone knows: they follow from the area and the imagery that were found then."""

_PIXELS = ("offset_rc", "window", "stretch", "validity", "collar_share")
"""What run.json says of a scene's pixels; another one shows the models another picture."""


def config_again(
    info: RunInfo, config: str | None = None, *, cache: Mapping[str, object] | None = None
) -> RunConfig:
    """Make the configuration of a run from its run.json. `config`: a TOML file to lay over it. `cache`: the
    `[cache]` table of this start.

    Raises InputError for a run.json that lacks something, or a file that makes no sense.
    """
    try:
        tables = tables_again(info)
    except (KeyError, TypeError) as error:
        raise InputError(
            "run.json must say with which options the run was made",
            came=f"none of {error}",
            remedy="start segment_region.py again with the run's own command: it writes the file again",
        ) from error
    if config is not None:
        tables = merge_tables(tables, read_toml(Path(config), "--config"))
    if cache:
        tables = {**tables, "cache": dict(cache)}
    return RunConfig(
        queries=info.queries,
        area=AreaOptions(),
        source=SourceOptions(hrefs=()),
        grid=GridChoice(),
        preset_name=str(info.settings["preset"]),
        preset=preset_again(tables),
        merge_mode=info.parameters["merge_mode"],
        min_area_m2=info.parameters["min_area_m2"],
    )


def tables_again(info: RunInfo) -> dict[str, Any]:
    """Collect the tables of a run's preset. Raises KeyError for one that run.json does not have."""
    parameters = info.parameters
    settings: Mapping[str, Any] = info.settings
    looks = {
        name: {key: value for key, value in parameters[name].items() if key != "decision"}
        for name in ("gate", "verifier")
        if name in parameters
    }
    return {
        "prompter": info.models["prompter"],
        "segmenter": info.models["segmenter"],
        "tiles": {**parameters["tiles"], **parameters.get("clouds", {})},
        "load": {**parameters["load"], "open_files": settings["open_files"]},
        "stitch": parameters["stitch"],
        "resources": settings["resources"],
        "limits": settings["limits"],
        **looks,
    }


def preset_again(tables: Mapping[str, Any]) -> Preset:
    """Make the preset of `tables_again`. Raises InputError."""
    return build_preset(tables)


def notice_of(info: RunInfo) -> str:
    """The notice of the run's preset, where the run showed it."""
    notice = str(preset_tables(str(info.settings["preset"])).get("notice", ""))
    return notice if notice in info.warnings else ""


def plan_again(run_dir: RunDir, info: RunInfo) -> Plan:
    """Make the plan of a run again. Raises InputError."""
    placed = place_on(info.lattice.grid, info.scenes)
    beside = set(info.halo_scenes)
    return Plan(
        lattice=info.lattice,
        mode=placed.mode,
        inside=np.asarray(read_inside(run_dir.plan, info.lattice)),
        aoi_grid=shapely.from_wkb(bytes.fromhex(info.aoi_wkb)) if info.aoi_wkb else None,
        scenes=info.scenes,
        only_in_halos=tuple(scene.scene_id in beside for scene in info.scenes),
        places=placed.places,
    )


def require_as_before(run_dir: RunDir, info: RunInfo, config: RunConfig, plan: Plan) -> None:
    """Check that models and options still are those of the run. Raises RunMismatchError."""
    before = dict(info.parameters)
    now = fingerprint_parameters(config, plan, None)
    now = {key: value for key, value in now.items() if key not in GROUND}
    now |= {key: before[key] for key in GROUND if key in before}
    if fingerprint(before) != info.fingerprint or canonical(before) != canonical(now):
        raise RunMismatchError(
            f"the run in {run_dir.path} cannot be asked more: its models or options are others now",
            came=describe_difference(before, now) or "parameters of another version",
            remedy="put the earlier models back, and change nothing in --config but how a run is done; or "
            "begin another run with all queries",
        )


def require_same_imagery(run_dir: RunDir, info: RunInfo, sources: Sequence[SceneSource]) -> None:
    """Check that scenes show what they showed. A scene of a catalogue that cannot be read any more is no
    reason: tiles that need it fail. Raises RunMismatchError.
    """
    for source in sources:
        scene = source.scene
        before = next(each for each in info.scenes if each.scene_id == scene.scene_id)
        if scene.failure:
            if not before.failure and _is_another(before):
                raise _other_imagery(run_dir, scene.scene_id, scene.failure)
            continue
        told = info.stretches.get(scene.scene_id, {})
        now = source.to_dict()
        differing = [key for key in _PIXELS if canonical(told.get(key)) != canonical(now[key])]
        if differing:
            changed = describe_difference(
                {key: told.get(key) for key in differing}, {key: now[key] for key in differing}
            )
            raise _other_imagery(run_dir, scene.scene_id, changed)


def _is_another(scene: Scene) -> bool:
    """Whether a scene that cannot be read as it was planned can be read as it is now."""
    if not of_catalog(scene):
        return False
    anyhow = replace(
        scene, identity={}, band_files=tuple(replace(file, identity={}) for file in scene.band_files)
    )
    try:
        with raster_environment(anyhow), open_raster(anyhow):
            return True
    except TerraqueryError:
        return False


def _other_imagery(run_dir: RunDir, scene_id: str, came: str) -> RunMismatchError:
    return RunMismatchError(
        f"the imagery of {run_dir.path} must be what the run has seen: scene {scene_id}",
        came=came,
        remedy="put the earlier file back; or begin another run with all queries",
    )
