"""The models of a preset in a folder, and a run that finds them there without a hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serving_hub, use_hub
from whole_checkpoint import weights_bytes, write_whole_checkpoint

from pipeline.errors import InputError, ModelError
from pipeline.run.config import build_preset, merge_tables, preset_tables
from pipeline.run.models.fetch_preset import FetchRequest, fetch_preset
from pipeline.run.models.hub_pins import pin_models, require_models
from pipeline.segment.dual_route.dual_options import check_dual
from pipeline.segment.mask_model.build_mask_model import check_mask_model

PROMPTER = "RicardoString/Think2Seg-RS-3B"
SEGMENTER = "facebook/sam2.1-hiera-small"
PT = "sam2.1_hiera_small.pt"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = write_whole_checkpoint(tmp_path / "whole")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving_hub() as hub:
        hub.add(PROMPTER, {**files, "model.safetensors": weights_bytes(5000), "optimizer.pt": b"no"})
        hub.add(SEGMENTER, {PT: bytes(4000), "model.safetensors": bytes(4000), "README.md": b"card"})
        use_hub(monkeypatch, hub, tmp_path / "cache")
        yield hub


def fetch(to: Path, *, name: str = "think2seg-3b", dry_run: bool = False) -> tuple[int, str]:
    said: list[str] = []
    preset = build_preset(preset_tables(name))
    code = fetch_preset(
        FetchRequest(preset_name=name, preset=preset, to=to, dry_run=dry_run), say=said.append
    )
    return code, "\n".join(said)


def test_a_dry_run_lists_and_fetches_nothing(hub: Hub, tmp_path: Path) -> None:
    code, said = fetch(tmp_path / "to", dry_run=True)
    assert code == 0
    assert f"prompter: {PROMPTER}, commit {hub.refs[PROMPTER]['main']}" in said
    size = len(weights_bytes(5000))
    assert f"{size:>14,} bytes  model.safetensors" in said
    assert f"{4000:>14,} bytes  {PT}" in said
    assert "optimizer.pt" not in said
    assert "licence: Apache-2.0 (source: " in said
    assert not (tmp_path / "to").exists()


def test_what_was_fetched_serves_without_a_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"
    assert fetch(to)[0] == 0
    manifest = json.loads((to / "think2seg-3b.manifest.json").read_text())
    assert [model["id"] for model in manifest["models"]] == [PROMPTER, SEGMENTER]
    for model in manifest["models"]:
        assert model["commit"] == hub.refs[model["id"]]["main"]
        assert {path.name for path in (to / model["folder"]).iterdir()} == {
            file["name"] for file in model["files"]
        }
        for file in model["files"]:
            content = (to / model["folder"] / file["name"]).read_bytes()
            assert file["bytes"] == len(content)
            assert file["sha256"] == hashlib.sha256(content).hexdigest()
    asked = len(hub.asked)
    code, said = fetch(to)
    assert (code, said.count("is here, hash is right")) == (0, said.count("hash is right"))
    assert all("/resolve/" not in path for _, path, _ in hub.asked[asked:])

    use_hub(monkeypatch, None, to)  # the folder as the hub's cache
    preset, models = pin_models(build_preset(preset_tables("think2seg-3b")), {})
    assert preset.prompter.vllm.revision == hub.refs[PROMPTER]["main"]
    require_models(models, elsewhere=False)
    local = build_preset(preset_tables("think2seg-3b", str(to / "think2seg-3b.toml")))  # or as paths
    assert pin_models(local, {}) == (local, ())
    assert Path(local.prompter.model, "config.json").is_file()
    assert Path(local.segmenter.checkpoint).read_bytes() == bytes(4000)
    assert local.segmenter.config == "configs/sam2.1/sam2.1_hiera_s.yaml"


def test_a_wrong_hash_ends_it_without_a_manifest(hub: Hub, tmp_path: Path) -> None:
    hub.wrong[PT] = b"x" * 4000
    with pytest.raises(ModelError, match="another content"):
        fetch(tmp_path / "to")
    assert not (tmp_path / "to/think2seg-3b.manifest.json").exists()
    hub.wrong.clear()
    assert fetch(tmp_path / "to")[0] == 0


def test_what_cannot_be_fetched_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = tmp_path / "to"
    assert fetch(to, name="embedded") == (
        0,
        "nothing to fetch: the models of embedded are files of this machine, or ship with the package",
    )
    with pytest.raises(InputError, match="make mobile-sam MODELS="):
        fetch(to, name="mobile-sam")
    hub.add(SEGMENTER, {"README.md": b"card"})
    with pytest.raises(InputError, match=rf"which has no {PT}"):
        fetch(to)
    monkeypatch.setattr("pipeline.run.models.fetch_preset.shutil.disk_usage", lambda _: Room())
    hub.add(SEGMENTER, {PT: bytes(4000)})
    with pytest.raises(InputError, match=r"must have room .*Got: 0\.0 MB for "):
        fetch(to)
    use_hub(monkeypatch, None, tmp_path / "cache")
    with pytest.raises(InputError, match="the hub must answer"):
        fetch(to, dry_run=True)


class Room:
    free = 10


def test_the_models_of_two_routes_come_too_and_the_config_names_them(hub: Hub, tmp_path: Path) -> None:
    for repo_id, kind in (("openai/clip-vit-base-patch16", b"clip"), ("facebook/sam3", b"sam3")):
        config = b'{"model_type": "%s"}' % kind
        hub.add(repo_id, {"config.json": config, "model.safetensors": bytes(2000), "flax.msgpack": b"no"})
    dual = {"dual": {"clip": "openai/clip-vit-base-patch16", "sam3": "facebook/sam3"}}
    preset = build_preset(merge_tables(preset_tables("think2seg-3b"), {"segmenter": dual}))
    to = tmp_path / "to"
    assert fetch_preset(FetchRequest(preset_name="routes", preset=preset, to=to), say=lambda _: None) == 0
    loaded = build_preset(preset_tables("think2seg-3b", str(to / "routes.toml"))).segmenter.dual
    assert loaded is not None
    assert loaded.hub_models == {}
    assert {path.name for path in Path(loaded.clip).iterdir()} == {"config.json", "model.safetensors"}
    check_dual(loaded)


def test_a_sam3_that_is_asked_by_words_comes_and_the_config_names_it(hub: Hub, tmp_path: Path) -> None:
    hub.add("facebook/sam3", {"config.json": b'{"model_type": "sam3"}', "model.safetensors": bytes(2000)})
    asked = {"kind": "sam3-text", "checkpoint": "facebook/sam3"}
    preset = build_preset(
        {
            "prompter": {"kind": "whole", "model": ""},
            "segmenter": {"kind": "mask-model", "mask_model": asked},
        }
    )
    to = tmp_path / "to"
    assert fetch_preset(FetchRequest(preset_name="words", preset=preset, to=to), say=lambda _: None) == 0
    loaded = build_preset(preset_tables("embedded", str(to / "words.toml"))).segmenter.mask_model
    assert loaded is not None
    check_mask_model(loaded)
    assert {path.name for path in Path(loaded.checkpoint).iterdir()} == {"config.json", "model.safetensors"}
