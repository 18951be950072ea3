"""Presets, overrides and what enters the fingerprint."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.grid.source import SourceOptions
from pipeline.run.config import (
    AreaOptions,
    GridChoice,
    Pool,
    RunConfig,
    TileOptions,
    build_preset,
    check_gsd,
    check_min_area,
    check_queries,
    known_presets,
    merge_tables,
    preset_tables,
    result_parameters,
)
from pipeline.run.limit_options import LimitOptions


def make_config(**tables: object) -> RunConfig:
    preset = build_preset(merge_tables(preset_tables("embedded"), tables))
    area = AreaOptions(whole_scene=True)
    source = SourceOptions(hrefs=("scene.tif",))
    return RunConfig(
        queries=("tanks",), area=area, source=source, grid=GridChoice(), preset_name="embedded", preset=preset
    )


@pytest.mark.parametrize("name", known_presets())
def test_every_shipped_preset_parses(name: str) -> None:
    preset = build_preset(preset_tables(name))
    if name == "mobile-sam":
        assert (preset.prompter.kind, preset.prompter.model) == ("vector", "")
        return
    assert preset.prompter.kind == "vllm"
    assert preset.tiles.px % 28 == 0 or name == "embedded"  # Qwen2.5-VL sees whole patches without resampling


def test_known_presets_are_those_of_the_design() -> None:
    assert {"embedded", "think2seg-3b", "think2seg-7b"} <= set(known_presets())
    assert build_preset(preset_tables("think2seg-3b")).segmenter.dtype == "bfloat16"


def test_unknown_presets_and_tables_are_refused() -> None:
    with pytest.raises(InputError, match="embedded, mobile-sam, think2seg-3b"):
        preset_tables("think2seg")
    with pytest.raises(InputError, match="did you mean 'tiles'"):
        build_preset({**preset_tables("embedded"), "tile": {}})


def test_a_file_is_laid_over_the_preset(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[tiles]\nhalo_px = 8\n")
    shipped = preset_tables("embedded")
    tables = preset_tables("embedded", str(tmp_path / "mine.toml"))
    assert tables == {**shipped, "tiles": {**shipped["tiles"], "halo_px": 8}}


def test_tables_are_laid_over_each_other_key_by_key() -> None:
    merged = merge_tables({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}, "c": 4})
    assert merged == {"a": {"x": 1, "y": 5}, "b": 3, "c": 4}


def test_resources_do_not_enter_the_fingerprint_but_thresholds_do() -> None:
    base = make_config()
    other_pools = make_config(resources={"reader": {"actors": 7}})
    other_tau = make_config(stitch={"tau": 0.4})
    assert result_parameters(base) == result_parameters(other_pools)
    assert result_parameters(base) != result_parameters(other_tau)
    assert result_parameters(base) != result_parameters(replace(base, queries=("lakes",)))


def test_what_a_message_advises_to_lower_does_not_make_another_run() -> None:
    base = result_parameters(make_config())
    engine = {
        "gpu_memory_utilization": 0.4,
        "max_num_seqs": 4,
        "kv_cache_gib": 3.0,
        "image_cache_gib": 0.1,
        "timeout_s": 1200.0,
    }
    less = make_config(
        prompter={"vllm": engine}, segmenter={"prompt_batch": 8, "device": "cpu"}, load={"open_files": 2}
    )
    assert result_parameters(less) == base
    for changed in (
        {"prompter": {"vllm": {"retry": 0}}},
        {"segmenter": {"dtype": "bfloat16"}},
        {"load": {"collar": "off"}},
    ):
        assert result_parameters(make_config(**changed)) != base


@pytest.mark.parametrize("area_m2", [math.nan, math.inf, -math.inf, -0.5])
def test_an_area_that_nothing_can_be_compared_with_is_refused(area_m2: float) -> None:
    with pytest.raises(InputError, match=r"--min-area-m2 must be a finite number.*To fix: give 0"):
        check_min_area(area_m2)


@pytest.mark.parametrize("area_m2", [0.0, 12.5])
def test_an_area_is_given_back(area_m2: float) -> None:
    assert check_min_area(area_m2) == area_m2


def test_a_gate_that_is_off_leaves_no_trace_and_one_that_is_on_enters_the_fingerprint() -> None:
    off = make_config()
    on = make_config(gate={"mode": "tile"})
    assert "gate" not in result_parameters(off)
    assert result_parameters(make_config(gate={"threshold": 0.3})) == result_parameters(off)
    assert result_parameters(on)["gate"] == {
        "mode": "tile",
        "threshold": 0.05,
        "audit_share": 0.01,
        "seed": 0,
    }
    assert result_parameters(on) != result_parameters(make_config(gate={"mode": "tile", "threshold": 0.1}))
    with pytest.raises(InputError, match="did you mean 'threshold'"):
        make_config(gate={"treshold": 0.1})
    with pytest.raises(InputError, match="'tile', 'parent'"):
        make_config(gate={"mode": "on"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"px": 64, "halo_px": 32}, "smaller than half"),
        ({"halo_px": 0}, "at least 1"),
        ({"block_tiles": 0}, "at least one tile"),
    ],
)
def test_impossible_tiles_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TileOptions(**options)


def test_a_pool_needs_an_actor() -> None:
    with pytest.raises(ValueError, match="at least one actor"):
        Pool(actors=0)


def test_queries_are_normalised_and_unique() -> None:
    assert check_queries(("  lakes ", "tanks")) == ("lakes", "tanks")
    with pytest.raises(InputError, match="at least one query"):
        check_queries(())
    with pytest.raises(InputError, match="once"):
        check_queries(("lakes", "lakes "))


def test_a_ground_sampling_distance_is_a_length_and_stands_alone() -> None:
    assert check_gsd(None, 3.0) is None
    assert check_gsd(0.5, None) == 0.5
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="--gsd must be a positive number"):
            check_gsd(wrong, None)
    with pytest.raises(InputError, match="both say how large"):
        check_gsd(0.5, 0.5)


def test_only_a_ground_sampling_distance_that_was_asked_for_enters_the_fingerprint() -> None:
    assert GridChoice().parameters() == {"crs": None, "resolution": None}
    assert GridChoice(gsd_m=0.5).parameters() == {"crs": None, "resolution": None, "gsd_m": 0.5}


def test_a_mask_model_takes_the_place_of_the_presets_models(tmp_path: Path) -> None:
    config = tmp_path / "sam3.toml"
    config.write_text(
        '[mask_model]\nkind = "sam3-text"\ncheckpoint = "facebook/sam3"\n[tiles]\nhalo_px = 40\n'
        "[resources.segmenter]\ngpus = 1.0\n"
    )
    preset = build_preset(preset_tables("embedded", str(config)))
    assert preset.prompter.kind == "whole"
    assert preset.segmenter.mask_model is not None
    assert preset.segmenter.mask_model.checkpoint == "facebook/sam3"
    assert (preset.tiles.px, preset.tiles.halo_px) == (256, 40)  # the preset's, and what the file says
    assert preset.notice == ""
    assert (preset.limits, preset.resources.segmenter.gpus) == (LimitOptions(), 1.0)


@pytest.mark.parametrize("table", ["prompter", "segmenter", "gate", "verifier", "everything", "examples"])
def test_a_mask_model_beside_what_it_replaces_is_refused(tmp_path: Path, table: str) -> None:
    config = tmp_path / "both.toml"
    config.write_text(f'[mask_model]\nkind = "sam3-text"\ncheckpoint = "facebook/sam3"\n[{table}]\n')
    with pytest.raises(InputError, match=rf"\[{table}\]"):
        preset_tables("embedded", str(config))


def test_a_mask_model_of_a_kind_and_a_table_go_together() -> None:
    for segmenter in ({"kind": "mask-model"}, {"mask_model": {"kind": "sam3-text", "checkpoint": "x"}}):
        with pytest.raises(InputError, match="a mask model is named by the table"):
            build_preset({**preset_tables("embedded"), "segmenter": segmenter})
