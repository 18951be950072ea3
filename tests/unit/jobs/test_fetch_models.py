"""The job as a user starts it: a process of its own, and a hub that is killed under it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hub_server import Hub, serving_hub

ROOT = Path(__file__).parents[3]
PROMPTER = "RicardoString/Think2Seg-RS-3B"
SEGMENTER = "facebook/sam2.1-hiera-small"
PT = "sam2.1_hiera_small.pt"
WEIGHTS = np.random.default_rng(1).bytes(300_000)


def job(hub: Hub, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs/fetch_models.py"), "--preset", "think2seg-3b", *words]
    there = {**os.environ, "HF_ENDPOINT": hub.url}
    there.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(command, capture_output=True, text=True, env=there, timeout=120, check=False)


def test_a_fetch_that_broke_goes_on(tmp_path: Path) -> None:
    with serving_hub() as hub:
        hub.add(PROMPTER, {"config.json": b"{}", "model.safetensors": bytes(2000)})
        hub.add(SEGMENTER, {PT: WEIGHTS})
        listed = job(hub, "--to", str(tmp_path / "hub"), "--dry-run")
        assert listed.returncode == 0, listed.stderr
        assert f"300,000 bytes  {PT}" in listed.stdout
        assert not (tmp_path / "hub").exists()

        hub.wrong[PT] = WEIGHTS[:100_000]
        broken = job(hub, "--to", str(tmp_path / "hub"))
        assert broken.returncode == 1
        assert f"{PT} of {SEGMENTER} stopped at 100,000 of 300,000 bytes" in broken.stderr
        hub.wrong.clear()
        del hub.asked[:]
        done = job(hub, "--to", str(tmp_path / "hub"))
        assert done.returncode == 0, done.stderr
        fetched = [asked for method, path, asked in hub.asked if method == "GET" and "/resolve/" in path]
        assert fetched == ["bytes=100000-"]
        (weights,) = (tmp_path / "hub").rglob(PT)
        assert weights.read_bytes() == WEIGHTS
