"""What pins a run, and what planning and claiming leave in its directory; no model is loaded."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_worlds import LabelWorld, write_label_world

from pipeline.errors import InputError, RunMismatchError, SourceError
from pipeline.files.fingerprint import describe_difference, diff_parameters
from pipeline.files.store.local_store import SWAP_LOCK
from pipeline.grid.source import SourceOptions
from pipeline.prompt.profile import PROFILE_DIR
from pipeline.run import prepare
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.prepare import (
    PlannedRun,
    RunRequest,
    check_engines,
    claim,
    plan_request,
    profile_parameters,
)
from pipeline.run.rehearsal import rehearse
from pipeline.run.todo import todo
from pipeline.segment.sam2_model import EMBEDDED_DIR
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json, run_json_bytes

TILES = {"px": 40, "halo_px": 4, "block_tiles": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    return write_label_world(tmp_path_factory.mktemp("world"), np.ones((60, 60), dtype=np.int64))


def request(world: LabelWorld, out: Path, *sources: Path, **tables: Any) -> RunRequest:
    """One query of the world for oracle models, with tables of a preset laid over that."""
    oracle = {"prompter": {"kind": "oracle", "model": f"oracle:{world.labels}"}}
    oracle |= {"segmenter": {"kind": "oracle", "checkpoint": f"oracle:{world.labels}"}}
    preset = build_preset(merge_tables({**preset_tables("embedded"), **oracle, "tiles": TILES}, tables))
    area = AreaOptions(whole_scene=True)
    source = SourceOptions(hrefs=tuple(map(str, sources or (world.scene,))))
    config = RunConfig(
        queries=("tanks",), area=area, source=source, grid=GridChoice(), preset_name="embedded", preset=preset
    )
    return RunRequest(config=config, out=str(out), runner="local")


def plan(world: LabelWorld, out: Path, *sources: Path, **tables: Any) -> PlannedRun:
    return plan_request(request(world, out, *sources, **tables))


def with_models(world: LabelWorld, out: Path, **tables: Any) -> PlannedRun:
    """The same with the embedded models, of whose files only the headers are read."""
    shipped = preset_tables("embedded")
    return plan(
        world,
        out,
        **merge_tables(
            {name: shipped[name] for name in ("prompter", "segmenter")}, merge_tables(KINDS, tables)
        ),
    )


KINDS = {
    "prompter": {"kind": "vllm", "model": "models/embedded-prompter"},
    "segmenter": {"kind": "sam2", "checkpoint": ""},
}


def contents(path: Path) -> dict[str, bytes]:
    return {
        item.relative_to(path).as_posix(): item.read_bytes()
        for item in path.rglob("*")
        if item.is_file() and item.name != SWAP_LOCK
    }


def test_the_order_of_sources_is_their_priority_and_pins_the_run(world: LabelWorld, tmp_path: Path) -> None:
    """Where both have a pixel the first one is seen, so swapped sources are another run: not resumed, and the
    message says why.
    """
    old = tmp_path / "old.tif"
    new = tmp_path / "new.tif"
    for path in (old, new):
        shutil.copy(world.scene, path)
    planned = plan(world, tmp_path / "out", old, new)
    assert [(scene["scene_id"], scene["bands"]) for scene in planned.parameters["scenes"]] == [
        ("old", [1, 2, 3]),
        ("new", [1, 2, 3]),
    ]
    assert planned.parameters["scenes"][1]["sha256"] == hashlib.sha256(new.read_bytes()).hexdigest()
    claim(planned)
    swapped = plan(world, tmp_path / "out", new, old)
    assert swapped.fingerprint != planned.fingerprint
    with pytest.raises(RunMismatchError, match=r'scenes\[0\]\.scene_id: "old" -> "new"'):
        claim(swapped)
    assert plan(world, tmp_path / "out", old, new).fingerprint == planned.fingerprint


def test_a_run_goes_on_with_other_limits_of_memory_and_time(world: LabelWorld, tmp_path: Path) -> None:
    """`out of memory; lower prompt_batch`, says the segmenter: then the same run must go on with it."""
    claim(with_models(world, tmp_path / "out"))
    engine = {
        "max_num_seqs": 2,
        "kv_cache_gib": 0.25,
        "image_cache_gib": 0.0,
        "gpu_memory_utilization": 0.3,
        "timeout_s": 60.0,
    }
    less = {"prompter": {"vllm": engine}, "segmenter": {"prompt_batch": 4}, "load": {"open_files": 2}}
    claim(with_models(world, tmp_path / "out", **less))
    info = read_run_json(RunDir(tmp_path / "out").run_json)
    assert (info.models["segmenter"]["prompt_batch"], info.models["prompter"]["vllm"]["max_num_seqs"]) == (
        4,
        2,
    )
    assert info.settings["open_files"] == 2
    with pytest.raises(RunMismatchError, match=r"segmenter\.mask_threshold"):
        claim(with_models(world, tmp_path / "out", segmenter={"mask_threshold": 0.5}))


@pytest.mark.parametrize(("noise", "named"), [("noise=mild", "noise"), ("noise=none&seed=7", "seed")])
def test_the_noise_of_an_oracle_pins_the_run(
    world: LabelWorld, tmp_path: Path, noise: str, named: str
) -> None:
    planned = plan(world, tmp_path / "out")
    noisy = f"oracle:{world.labels}?{noise}"
    other = plan(world, tmp_path / "out", prompter={"model": noisy}, segmenter={"checkpoint": noisy})
    assert diff_parameters(planned.parameters, other.parameters) == [
        f"prompter.{named}",
        f"segmenter.{named}",
    ]


def test_the_content_of_the_segmenters_config_pins_the_run(world: LabelWorld, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    shutil.copy(EMBEDDED_DIR / "config.yaml", config)
    planned = with_models(world, tmp_path / "out", segmenter={"config": str(config)})
    again = with_models(world, tmp_path / "out", segmenter={"config": str(config)})
    config.write_text(config.read_text() + "\n# tuned\n")
    edited = with_models(world, tmp_path / "out", segmenter={"config": str(config)})
    assert again.fingerprint == planned.fingerprint
    assert diff_parameters(planned.parameters, edited.parameters) == ["segmenter.config"]
    assert "own.yaml" not in describe_difference(planned.parameters, edited.parameters)
    unnamed = with_models(world, tmp_path / "out").parameters["segmenter"]["config"]
    assert unnamed.startswith("sha256:"), "the file beside the checkpoint counts where none is named"


def test_the_content_of_the_prompters_profile_pins_the_run(world: LabelWorld, tmp_path: Path) -> None:
    profile = tmp_path / "own.toml"
    shipped = (PROFILE_DIR / "embedded.toml").read_text()
    profile.write_text(shipped)
    own = {"prompter": {"vllm": {"profile": str(profile)}}}
    claim(with_models(world, tmp_path / "out", **own))
    pinned = read_run_json(RunDir(tmp_path / "out").run_json).parameters["prompter"]
    assert (pinned["vllm"]["profile"], pinned["profile"]["user"]) == (str(profile), "Find: {query}")
    claim(with_models(world, tmp_path / "out", **own))
    profile.write_text(shipped.replace("Find: {query}", "Where is {query}"))
    with pytest.raises(RunMismatchError, match=r"prompter\.profile\.user"):
        claim(with_models(world, tmp_path / "out", **own))
    assert profile_parameters(request(world, tmp_path).config.prompter) == {}, "an oracle has none"


def test_the_queries_of_gate_and_verifier_pin_the_run_where_they_are_on(
    world: LabelWorld, tmp_path: Path
) -> None:
    profile = tmp_path / "own.toml"
    shipped = (PROFILE_DIR / "embedded.toml").read_text()
    prints = []
    own = {"prompter": {"vllm": {"profile": str(profile)}}}
    for content in (shipped, shipped.replace('lead_until = "I see"', 'lead_until = "I find"')):
        profile.write_text(content)
        looks: tuple[dict[str, Any], ...] = ({}, {"gate": {"mode": "tile"}}, {"verifier": {"mode": "crop"}})
        prints.append([with_models(world, tmp_path / "out", **own, **look).fingerprint for look in looks])
    assert [before == after for before, after in zip(*prints, strict=True)] == [True, False, False]


def test_a_new_run_deletes_the_old_one_and_nothing_else(world: LabelWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim(plan(world, out))
    RunDir(out).block("b00000_00000").write_bytes(b"record")
    (out / "scene.tif").write_bytes(world.scene.read_bytes())
    claimed = claim(
        plan_request(replace(request(world, out, out / "scene.tif", tiles={"px": 24}), new_run=True))
    )
    assert sorted(contents(out)) == ["plan.parquet", "run.json", "run.lock", "scene.tif", "scenes.parquet"]
    assert (out / "run.json").read_bytes() == run_json_bytes(claimed.info)
    assert claimed.info.fingerprint == claimed.context.fingerprint
    assert len(todo(claimed.context, retry_failed=False).blocks) == 4  # 4 x 4 tiles in blocks of 2 x 2


def test_a_run_stays_until_the_new_one_can_begin(
    world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    claim(plan(world, out))
    before = contents(out)
    planned = plan_request(replace(request(world, out), new_run=True))

    def unreadable(*_: object, **__: object) -> None:
        raise SourceError("the server hung up", retryable=True)

    monkeypatch.setattr(prepare, "prepare_scenes", unreadable)
    for path in (out, tmp_path / "nothing"):
        with pytest.raises(SourceError, match="hung up"):
            claim(replace(planned, request=replace(planned.request, out=str(path))))
    assert contents(out) == before
    assert not (tmp_path / "nothing").exists()


def test_a_foreign_directory_is_refused_before_scenes_are_read(
    world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.json").write_text('{"tool": "another"}')
    (tmp_path / "thesis.txt").write_text("mine")
    planned = plan_request(replace(request(world, tmp_path), new_run=True))
    monkeypatch.setattr(prepare, "prepare_scenes", lambda *_, **__: pytest.fail("a scene was read"))
    before = contents(tmp_path)
    for begin in (claim, rehearse):
        with pytest.raises(InputError, match=r"run\.json must have run_json_version"):
            begin(planned)
    assert contents(tmp_path) == before


def test_a_directory_that_ray_deletes_is_refused(
    world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "session_x" / "runtime_resources" / "working_dir_files" / "_ray_pkg_ab"
    package.mkdir(parents=True)
    monkeypatch.chdir(package)
    with pytest.raises(InputError, match="--out must lie outside Ray's copy"):
        plan(world, Path("out"))
    plan(world, tmp_path / "out")


def test_two_routes_need_a_profile_with_phrases() -> None:
    """GeoSeg's segmenter takes its phrase from the prompt."""
    dual = {"segmenter": {"dual": {"clip": "owner/clip", "routes": "a"}}}
    tables = merge_tables(preset_tables("embedded"), dual)
    with pytest.raises(InputError, match=r"profile 'embedded', whose replies hold no phrase.*geoseg"):
        check_engines(build_preset(tables), "local")
    check_engines(build_preset(merge_tables(tables, {"prompter": {"vllm": {"profile": "geoseg"}}})), "local")
    vector = {"prompter": {"kind": "vector", "model": "places.geojson"}}
    with pytest.raises(InputError, match="a prompter of kind 'vector'"):
        check_engines(build_preset(merge_tables(tables, vector)), "local")
