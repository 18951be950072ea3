"""A mask model fits what else a run is told, or is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.prompt.build_prompter import PrompterOptions
from pipeline.run.config import Preset, build_preset, preset_tables
from pipeline.run.models.asked_models import check_asked_by_query, told_by_models

COLOURS = Path(__file__).parents[3] / "colour_adapter.py"


def preset_of(folder: Path, **table: object) -> Preset:
    named = {"kind": "process", "python": sys.executable, "adapter": str(COLOURS), **table}
    lines = [f"{name} = {value!r}" for name, value in named.items()]
    (folder / "model.toml").write_text("[mask_model]\n" + "\n".join(lines))
    return build_preset(preset_tables("embedded", str(folder / "model.toml")))


def test_it_is_asked_by_queries_and_by_nothing_else(tmp_path: Path) -> None:
    preset = preset_of(tmp_path)
    check_asked_by_query(preset)
    check_asked_by_query(build_preset(preset_tables("embedded")))
    with pytest.raises(InputError, match="'vector'"):
        check_asked_by_query(replace(preset, prompter=PrompterOptions(kind="vector", model="places.geojson")))
    whole = PrompterOptions(kind="whole", model="")
    unasked = replace(build_preset(preset_tables("embedded")), prompter=whole)
    with pytest.raises(InputError, match="'whole'"):
        check_asked_by_query(unasked)


def test_its_limits_end_before_those_of_a_tile(tmp_path: Path) -> None:
    check_asked_by_query(preset_of(tmp_path, limit_s=299.0, load_s=600.0))
    with pytest.raises(InputError, match="tile_s = 900"):
        check_asked_by_query(preset_of(tmp_path, limit_s=300.0, load_s=600.0))


def test_what_it_says_of_itself_is_for_run_json(tmp_path: Path) -> None:
    assert told_by_models(preset_of(tmp_path))["mask_model"]["name"] == "colours"
    assert told_by_models(build_preset(preset_tables("embedded"))) == {}
