"""Hub ids become commits once, and stay those that a run began with: real client, real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import Hub, serving_hub, use_hub
from whole_checkpoint import write_whole_checkpoint

from pipeline.errors import InputError
from pipeline.run.config import Preset, build_preset, merge_tables, preset_tables
from pipeline.run.models.hub_pins import (
    HubModel,
    asked_revisions,
    commits_said,
    earlier_commits,
    fetch_small,
    hub_models,
    pin_models,
    require_models,
)
from pipeline.segment.dual_route.dual_options import check_dual
from pipeline.write.run_dir import RunDir

PROMPTER = "RicardoString/Think2Seg-RS-3B"
SEGMENTER = "facebook/sam2.1-hiera-small"
WEIGHTS = "sam2.1_hiera_small.pt"


def published(**tables: object) -> Preset:
    return build_preset(merge_tables(preset_tables("think2seg-3b"), tables))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = write_whole_checkpoint(tmp_path / "whole")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving_hub() as hub:
        hub.add(PROMPTER, {**files, "model.safetensors": bytes(3000), "trainer/optimizer.pt": bytes(50)})
        hub.add(SEGMENTER, {WEIGHTS: bytes(4000), "model.safetensors": bytes(4000), "README.md": b"card"})
        use_hub(monkeypatch, hub, tmp_path / "cache")
        yield hub


def test_the_options_hold_the_commits(hub: Hub) -> None:
    preset, models = pin_models(published(), {})
    assert preset.prompter.vllm.revision == hub.refs[PROMPTER]["main"]
    assert preset.segmenter.revision == hub.refs[SEGMENTER]["main"]
    assert preset.prompter.vllm.result_parameters()["revision"] == hub.refs[PROMPTER]["main"]
    assert preset.segmenter.result_parameters()["revision"] == hub.refs[SEGMENTER]["main"]
    assert [file.name for file in models[1].needed] == ["README.md", WEIGHTS]
    assert "trainer/optimizer.pt" not in {file.name for file in models[0].needed}
    assert asked_revisions(models)["segmenter"] == {
        "id": SEGMENTER,
        "asked": None,
        "commit": hub.refs[SEGMENTER]["main"],
    }
    assert len([path for _, path, _ in hub.asked if path.startswith("/api/models/")]) == 2


def test_files_and_shipped_models_ask_no_hub(hub: Hub, tmp_path: Path) -> None:
    assert hub_models(build_preset(preset_tables("embedded"))) == ()
    assert hub_models(build_preset(preset_tables("mobile-sam"))) == ()
    local = published(prompter={"model": str(tmp_path / "whole")}, segmenter={"checkpoint": "w.pt"})
    assert pin_models(local, {}) == (local, ())
    assert hub.asked == []
    with pytest.raises(InputError, match="known SAM2"):
        hub_models(published(segmenter={"checkpoint": "somebody/else"}))


def test_a_run_keeps_the_commit_that_it_began_with(hub: Hub, tmp_path: Path) -> None:
    _, began = pin_models(published(), {})
    first = hub.refs[PROMPTER]["main"]
    run_dir = RunDir(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps({"settings": {"hub": asked_revisions(began)}}))
    later = hub.add(PROMPTER, {**hub.commits[PROMPTER][first], "config.json": b"{}"})
    assert later != first

    earlier = earlier_commits(run_dir)
    preset, models = pin_models(published(), earlier)
    assert preset.prompter.vllm.revision == first
    assert models[0].kept
    assert asked_revisions(models) == asked_revisions(began)
    assert pin_models(published(), {})[0].prompter.vllm.revision == later
    asks_for_it = published(prompter={"vllm": {"revision": later}})
    assert pin_models(asks_for_it, earlier)[0].prompter.vllm.revision == later


def test_zones_of_a_run_have_its_commits(tmp_path: Path) -> None:
    zone = tmp_path / "zones/EPSG_32636"
    zone.mkdir(parents=True)
    said = {"prompter": {"id": PROMPTER, "asked": "v1", "commit": "a" * 40}}
    (zone / "run.json").write_text(json.dumps({"settings": {"hub": said}}))
    (tmp_path / "run.json").write_text(json.dumps({"zones": [{"path": "zones/EPSG_32636"}]}))
    assert earlier_commits(RunDir(tmp_path)) == {
        HubModel(role="prompter", repo_id=PROMPTER, revision="v1"): "a" * 40
    }
    assert earlier_commits(RunDir(tmp_path / "none")) == {}


def test_what_is_small_comes_here_and_serves_while_the_hub_is_away(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, models = pin_models(published(), {})
    fetch_small(models)
    assert models[0].repository.here("config.json")
    assert not models[0].repository.here("model.safetensors")
    use_hub(monkeypatch, None, tmp_path / "cache")
    again, away = pin_models(published(), {})
    assert again.prompter.vllm.revision == preset.prompter.vllm.revision
    with pytest.raises(InputError, match=r"Think2Seg-RS-3B: the hub does not answer .* no weights"):
        require_models(away[:1], elsewhere=False)
    require_models(away[:1], elsewhere=True)
    with pytest.raises(InputError, match=r"sam2\.1-hiera-small: .* nothing of it in the cache.*fetch_models"):
        require_models(away[1:], elsewhere=True)
    assert again.segmenter.revision == preset.segmenter.revision  # noted, though nothing of it is here


def test_the_cache_suffices_when_all_is_there(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    hub.add(PROMPTER, whole)
    for repo_id in (PROMPTER, SEGMENTER):
        for name in hub.commits[repo_id][hub.refs[repo_id]["main"]]:
            hf_hub_download(repo_id, name)
    use_hub(monkeypatch, None, tmp_path / "cache")
    _, models = pin_models(published(), {})
    require_models(models, elsewhere=False)
    unknown = replace(models[0], repository=replace(models[0].repository, commit=None))
    with pytest.raises(InputError, match="nothing of it in the cache"):
        require_models((unknown,), elsewhere=True)


CLIP = "openai/clip-vit-base-patch16"
SAM3 = "facebook/sam3"
ROUTES = {"segmenter": {"dual": {"clip": CLIP, "sam3": SAM3, "sam3_revision": "v2"}}}


def add_routes(hub: Hub) -> None:
    weights = {"model.safetensors": bytes(3000), "pytorch_model.bin": bytes(3000), "vocab.json": b"{}"}
    hub.add(CLIP, {**weights, "config.json": b'{"model_type": "clip"}'})
    hub.add(SAM3, {**weights, "config.json": b'{"model_type": "sam3"}'}, branch="v2")


def test_the_models_of_two_routes_have_commits_too(hub: Hub) -> None:
    add_routes(hub)
    preset, models = pin_models(published(**ROUTES), {})
    dual = preset.segmenter.dual
    assert dual is not None
    assert (dual.clip_revision, dual.sam3_revision) == (hub.refs[CLIP]["main"], hub.refs[SAM3]["v2"])
    assert [one.model.role for one in models] == ["prompter", "segmenter", "clip", "sam3"]
    assert {file.name for file in models[2].needed} == {"config.json", "model.safetensors", "vocab.json"}
    said = asked_revisions(models)
    assert said["sam3"] == {"id": SAM3, "asked": "v2", "commit": hub.refs[SAM3]["v2"]}
    assert commits_said(said)[models[3].model] == hub.refs[SAM3]["v2"]
    require_models(models, elsewhere=False)
    fetch_small(models)
    check_dual(dual)
    assert models[2].repository.here("config.json")
    assert not models[2].repository.here("model.safetensors")


def test_a_wrong_or_missing_model_of_a_route_is_found_before_loading(hub: Hub) -> None:
    add_routes(hub)
    hub.add(CLIP, {"config.json": b'{"model_type": "siglip"}', "model.safetensors": bytes(2000)})
    preset, models = pin_models(published(**ROUTES), {})
    fetch_small(models)
    dual = preset.segmenter.dual
    assert dual is not None
    with pytest.raises(InputError, match="of the type 'siglip'"):
        check_dual(dual)
    hub.add(CLIP, {"config.json": b'{"model_type": "clip"}', "pytorch_model.bin": bytes(2000)})
    _, models = pin_models(published(**ROUTES), {})
    with pytest.raises(InputError, match=r"clip must hold its weights\. Got: .* has no model\.safetensors"):
        require_models(models, elsewhere=False)


def test_a_closed_model_of_a_route_says_so(hub: Hub) -> None:
    add_routes(hub)
    hub.gated.add(SAM3)
    with pytest.raises(InputError, match="agree to its terms"):
        pin_models(published(**ROUTES), {})


def test_only_the_roles_that_are_asked_for_are_looked_up(hub: Hub) -> None:
    _, models = pin_models(published(**ROUTES), {}, ["segmenter"])
    assert [one.model.repo_id for one in models] == [SEGMENTER]


def test_a_sam3_that_is_asked_by_words_has_a_commit(hub: Hub) -> None:
    add_routes(hub)
    asked = {"kind": "sam3-text", "checkpoint": SAM3, "revision": "v2"}
    preset = build_preset(
        {
            "prompter": {"kind": "whole", "model": ""},
            "segmenter": {"kind": "mask-model", "mask_model": asked},
        }
    )
    pinned, models = pin_models(preset, {})
    assert [(one.model.role, one.model.repo_id) for one in models] == [("sam3", SAM3)]
    assert pinned.segmenter.mask_model is not None
    assert pinned.segmenter.mask_model.revision == hub.refs[SAM3]["v2"]
    require_models(models, elsewhere=False)


def test_a_grounding_dino_has_a_commit(hub: Hub) -> None:
    model = "IDEA-Research/grounding-dino-base"
    hub.add(model, {"config.json": b'{"model_type": "grounding-dino"}', "model.safetensors": bytes(2000)})
    preset = build_preset(
        {"prompter": {"kind": "grounding-dino", "model": model}, "segmenter": {"kind": "sam2"}}
    )
    pinned, models = pin_models(preset, {})
    assert [one.model.role for one in models] == ["grounding"]
    assert pinned.prompter.grounding.revision == hub.refs[model]["main"]
    assert pinned.prompter.result_parameters() != preset.prompter.result_parameters()
    require_models(models, elsewhere=False)
    fetch_small(models)
    assert models[0].repository.here("config.json")
