"""Runs whose models come from a hub on this machine: real client, real server, real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import Hub, serving_hub
from label_worlds import LabelWorld, write_label_world

from pipeline.prompt.prompter_checkpoint import resolve_model

ROOT = Path(__file__).parents[2]
PROMPTER = "owner/a-prompter"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    return write_label_world(tmp_path_factory.mktemp("world"), np.ones((200, 200), dtype=np.int64))


def job(hub: Hub | None, place: Path, world: LabelWorld, *words: str) -> subprocess.CompletedProcess[str]:
    config = place / "models.toml"
    config.write_text(f'[prompter]\nmodel = "{PROMPTER}"\n')
    command = [sys.executable, str(ROOT / "jobs/segment_region.py"), "--source", str(world.scene)]
    command += ["--whole-scene", "--query", "storage tanks", "--config", str(config), "--runner", "local"]
    command += ["--out", str(place / "run"), *words]
    there = {
        **os.environ,
        "HF_ENDPOINT": hub.url if hub is not None else "http://127.0.0.1:9",
        "HF_HUB_CACHE": str(place / "cache"),
    }
    there.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(command, capture_output=True, text=True, env=there, timeout=280, check=False)


def test_a_preset_of_published_models_tells_what_it_will_do(world: LabelWorld, tmp_path: Path) -> None:
    """Where neither hub nor cache is there."""
    told = job(None, tmp_path, world, "--preset", "think2seg-3b", "--dry-run")
    assert told.returncode == 0, told.stderr
    for text in (
        f"prompter           {PROMPTER}, commit resolved at start",
        "segmenter files    to download: sam2.1_hiera_small.pt, about 184.2 MB",
        f"prompter licence   unknown here: see the card of {PROMPTER}",
    ):
        assert text in told.stdout
    refused = job(None, tmp_path, world, "--preset", "think2seg-3b", "--new-run")
    assert refused.returncode == 2
    assert "jobs/fetch_models.py" in refused.stderr
    assert not (tmp_path / "run/run.json").exists()


@pytest.mark.long
def test_a_run_loads_the_commit_that_it_names(world: LabelWorld, tmp_path: Path) -> None:
    folder = Path(resolve_model("models/embedded-prompter"))
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with serving_hub() as hub:
        commit = hub.add(PROMPTER, files)
        done = job(hub, tmp_path, world)
        assert done.returncode == 0, done.stderr
        assert f"{PROMPTER}, commit {commit} (main, resolved now)" in done.stdout
        run_json = json.loads((tmp_path / "run/run.json").read_text())
        assert run_json["models"]["prompter"]["vllm"]["revision"] == commit
        assert run_json["parameters"]["prompter"]["vllm"]["revision"] == commit
        assert run_json["settings"]["hub"]["prompter"] == {"id": PROMPTER, "asked": None, "commit": commit}
        hub.add(PROMPTER, {**files, "README.md": b"a later commit"})
        assert not any("model.safetensors" in path for _, path, _ in hub.asked if "main" in path)
        again = job(hub, tmp_path, world, "--dry-run")
        assert again.returncode == 0, again.stderr
        assert f"commit {commit} (as the run began)" in again.stdout
