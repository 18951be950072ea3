from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from label_worlds import write_label_world
from prompt_tiles import UTM, grid
from rasterio.transform import Affine
from whole_checkpoint import write_whole_checkpoint

from pipeline.errors import InputError
from pipeline.options import parse_table
from pipeline.prompt.box_margins import GEOSEG
from pipeline.prompt.build_prompter import (
    PrompterOptions,
    build_gate,
    build_prompter,
    check_prompter,
    check_queries_fit,
    check_second_looks,
)
from pipeline.prompt.looks.gate import GateOptions
from pipeline.prompt.looks.oracle_gate import OracleGate
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.prompt.oracle_prompter import OraclePrompter
from pipeline.prompt.profile import PROFILE_DIR
from pipeline.prompt.vector_prompter import VectorPrompter
from pipeline.prompt.vllm_engine import VllmOptions
from pipeline.schema.tiling import RunGrid


def test_options_from_a_table() -> None:
    table = {
        "kind": "vllm",
        "model": "models/x",
        "vllm": {"profile": "embedded", "block_size": 32, "kv_cache_gib": 1},
    }
    options = parse_table(PrompterOptions, table, "prompter")
    assert (options.vllm.profile, options.vllm.block_size, options.vllm.kv_cache_gib, options.vllm.retry) == (
        "embedded",
        32,
        1.0,
        1,
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "vllm"}, "model"),
        ({"kind": "magic", "model": "x"}, "kind"),
        ({"kind": "vllm", "model": ""}, "model"),
        ({"kind": "vllm", "model": "x", "vllm": {"retries": 1}}, "retry"),
        ({"kind": "vllm", "model": "x", "vllm": {"retry": -1}}, "retry"),
        ({"kind": "vllm", "model": "x", "vllm": {"gpu_memory_utilization": 1.2}}, "gpu_memory_utilization"),
        ({"kind": "vllm", "model": "x", "vllm": {"max_tokens": 0}}, "max_tokens"),
        ({"kind": "vllm", "model": "x", "vllm": {"kv_cache_gib": -1.0}}, "cache sizes"),
    ],
)
def test_wrong_options(table: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_table(PrompterOptions, table, "prompter")


def test_vector_and_oracle_are_built_by_kind(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(500_000, 39_990, 500_010, 40_000)], crs=UTM)
    frame.to_file(tmp_path / "p.gpkg")
    with rasterio.open(
        tmp_path / "l.tif",
        "w",
        driver="GTiff",
        height=80,
        width=100,
        count=1,
        dtype="uint16",
        crs=UTM,
        transform=Affine(1, 0, 500_000, 0, -1, 40_000),
    ) as file:
        file.write(np.zeros((80, 100), np.uint16), 1)
    vector = PrompterOptions(kind="vector", model=str(tmp_path / "p.gpkg"))
    oracle = PrompterOptions(kind="oracle", model=f"oracle:{tmp_path / 'l.tif'}")
    for options, kind in ((vector, VectorPrompter), (oracle, OraclePrompter)):
        check_prompter(options, grid())
        assert isinstance(build_prompter(options, grid()), kind)


def test_checks_refuse_before_anything_is_loaded(tmp_path: Path) -> None:
    for options in (
        PrompterOptions(kind="vllm", model=str(tmp_path / "none")),
        PrompterOptions(kind="vector", model=str(tmp_path / "none.gpkg")),
        PrompterOptions(kind="oracle", model=f"oracle:{tmp_path / 'none.tif'}"),
    ):
        with pytest.raises(InputError):
            check_prompter(options, grid())


def test_known_locations_are_asked_for() -> None:
    with pytest.raises(InputError, match="pass --prompts FILE, with polygons, boxes or points"):
        check_prompter(PrompterOptions(kind="vector", model=""), grid())


def test_check_refuses_an_unknown_profile_and_a_wrong_image_size(tmp_path: Path) -> None:
    from pipeline.prompt.vllm_engine import VllmOptions

    settings = {"patch_size": 14, "merge_size": 2, "min_pixels": 63504, "max_pixels": 63504}
    folder = write_whole_checkpoint(tmp_path / "ck", settings=settings)
    check_prompter(
        PrompterOptions(kind="vllm", model=str(folder), vllm=VllmOptions(profile="embedded")), grid()
    )
    with pytest.raises(InputError, match="840 x 840"):
        check_prompter(
            PrompterOptions(kind="vllm", model=str(folder), vllm=VllmOptions(profile="think2seg")), grid()
        )
    with pytest.raises(InputError, match="unknown profile"):
        check_prompter(
            PrompterOptions(kind="vllm", model=str(folder), vllm=VllmOptions(profile="other")), grid()
        )


def test_a_query_too_long_for_the_shipped_preset_is_refused_before_loading() -> None:
    """512 Cyrillic letters of two tokens each; reply and image take 721 of 1024."""
    vllm = VllmOptions(profile="embedded", max_model_len=1024)
    prompter = PrompterOptions(kind="vllm", model="models/embedded-prompter", vllm=vllm)
    check_queries_fit(prompter, ["tanks", "a" * 200])
    with pytest.raises(
        InputError, match=r"1024 for 17.* tokens, 81 of the image, .* up to 640 of the reply, for 'жжж"
    ):
        check_queries_fit(prompter, ["tanks", "ж" * 512])
    short = replace(prompter, vllm=replace(vllm, max_tokens=64))
    check_queries_fit(short, ["ж" * 400])
    check_queries_fit(PrompterOptions(kind="vector", model="tanks.geojson"), ["ж" * 512])


OFF = VerifierOptions()


def test_a_gate_needs_a_prompter_that_looks_at_pictures() -> None:
    on = GateOptions(mode="tile")
    with pytest.raises(InputError, match=r"kind 'vector'.*mode = \"off\""):
        check_second_looks(on, OFF, PrompterOptions(kind="vector", model="x.gpkg"))
    box = PrompterOptions(
        kind="vllm", model="models/embedded-prompter", vllm=VllmOptions(profile="embedded-box")
    )
    with pytest.raises(InputError, match=r"table \[gate\].*'embedded-box'"):
        check_second_looks(on, OFF, box)
    check_second_looks(GateOptions(), OFF, box)
    check_second_looks(
        on,
        OFF,
        PrompterOptions(kind="vllm", model="models/embedded-prompter", vllm=VllmOptions(profile="embedded")),
    )


def test_a_look_of_a_size_that_the_processor_would_change_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        (PROFILE_DIR / "embedded.toml").read_text().replace("[gate]", "[gate]\nimage_px = [126, 126]")
    )
    prompter = PrompterOptions(
        kind="vllm", model="models/embedded-prompter", vllm=VllmOptions(profile=str(own))
    )
    with pytest.raises(InputError, match=r"unchanged.*126 x 126"):
        check_second_looks(GateOptions(mode="tile"), OFF, prompter)


def test_off_builds_no_gate_and_an_oracle_gets_its_own(tmp_path: Path) -> None:
    labels = write_label_world(tmp_path, np.zeros((40, 40), dtype=np.int64)).labels
    with rasterio.open(labels) as file:
        run_grid = RunGrid(
            crs_wkt=file.crs.to_wkt(), transform=tuple(file.transform)[:6], width=40, height=40
        )
    options = PrompterOptions(kind="oracle", model=f"oracle:{labels}")
    oracle = build_prompter(options, run_grid)
    assert build_gate(GateOptions(), options, oracle, run_grid) is None
    assert isinstance(build_gate(GateOptions(mode="parent"), options, oracle, run_grid), OracleGate)


def test_memory_and_time_enter_no_fingerprint_and_all_else_of_the_engine_does() -> None:
    def parameters(**vllm: object) -> dict[str, object]:
        return parse_table(
            PrompterOptions, {"kind": "vllm", "model": "x", "vllm": vllm}, "prompter"
        ).result_parameters()

    roomier = {
        "gpu_memory_utilization": 0.5,
        "max_num_seqs": 8,
        "kv_cache_gib": 2.0,
        "image_cache_gib": 0.0,
        "timeout_s": 900.0,
    }
    assert parameters(**roomier) == parameters()
    others = {
        "profile": "embedded",
        "revision": "ab12",
        "dtype": "float32",
        "max_model_len": 2048,
        "max_tokens": 512,
        "block_size": 32,
    }
    others |= {"enforce_eager": True, "retry": 0}
    assert set(roomier) | set(others) == set(VllmOptions.__dataclass_fields__)
    for name, value in others.items():
        assert parameters(**{name: value})["vllm"] == {**parameters()["vllm"], name: value}  # type: ignore[dict-item]
        assert parameters(**{name: value}) != parameters()


def test_margins_enter_the_fingerprint_where_they_are_on() -> None:
    plain = PrompterOptions(kind="vllm", model="x")
    assert "refine_boxes" not in plain.result_parameters()
    moved = replace(plain, refine_boxes=replace(GEOSEG, profile="think2seg"))
    assert moved.result_parameters()["refine_boxes"] == {
        "left": 0.2,
        "top": 0.2,
        "right": 0.1,
        "bottom": 0.1,
    }
    table = {"kind": "vector", "model": "places.geojson", "refine_boxes": {"left": 0.2}}
    with pytest.raises(InputError, match=r"refine_boxes corrects a language model's boxes.*'vector'"):
        parse_table(PrompterOptions, table, "prompter")


def test_margins_of_another_profile_are_refused_before_loading() -> None:
    options = PrompterOptions(
        kind="vllm",
        model="models/embedded-prompter",
        vllm=VllmOptions(profile="embedded", max_model_len=1024),
        refine_boxes=GEOSEG,
    )
    check_prompter(options, grid())
    with pytest.raises(InputError, match="those of 'think2seg' for 'embedded'"):
        check_prompter(replace(options, refine_boxes=replace(GEOSEG, profile="think2seg")), grid())


def test_the_engine_enters_no_fingerprint_of_a_prompter_without_one() -> None:
    options = PrompterOptions(kind="vector", model="tanks.geojson", vllm=VllmOptions(profile="embedded"))
    assert options.result_parameters() == {"kind": "vector", "model": "tanks.geojson"}
