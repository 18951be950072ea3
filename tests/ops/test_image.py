"""The image: what linters say of it, its versions, and what the manifests expect of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hub_server import Hub, serving_hub
from manifests import KUBERNETES, ROOT, groups, one

pytestmark = pytest.mark.ops

DOCKER = ROOT / "infra/docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
SCRIPTS = [DOCKER / "install.sh", DOCKER / "image_check", *sorted((ROOT / ".ci").iterdir())]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

of_each_image = pytest.mark.parametrize("extra", ["cpu", "gpu"])


def tool(name: str, *words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / name, *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)


def pins(lines: list[str]) -> dict[str, str]:
    """Package, with dashes and without extras -> version."""
    found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.!+]+)", line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found if match}


def test_hadolint_has_nothing_to_say() -> None:
    done = tool("hadolint", DOCKER / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    assert "DL3007" in tool("hadolint", "-", given="FROM debian:latest\n").stdout, "it looks"


def test_shellcheck_has_nothing_to_say() -> None:
    done = tool("shellcheck", *SCRIPTS)
    assert (done.returncode, done.stdout) == (0, "")
    assert tool("shellcheck", "-", given="#!/bin/sh\nrm $1/*\n").returncode == 1, "it looks"


def test_the_base_is_named_by_version_and_digest() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.M)
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) == ["${BASE}", "system", "packages", "system"]


def test_the_image_belongs_to_root_and_runs_as_somebody_else() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last, re.M) == ["1000:1000"]
    assert "--chown" not in last
    for overlay in ("overlays/dev", "overlays/gpu-spot"):
        for group in groups(one(overlay, "RayCluster", "terraquery")["spec"]).values():
            assert group["template"]["spec"]["securityContext"]["runAsUser"] == 1000


def test_python_of_the_environment_is_first_on_the_path() -> None:
    (path,) = re.findall(r"PATH=(\S+)", DOCKERFILE)
    assert path.split(":")[0] == "/opt/terraquery/.venv/bin"


def test_what_the_dockerfile_copies_is_in_the_context() -> None:
    kept = {
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = [words.split()[:-1] for words in re.findall(r"^COPY ((?!--from).*)$", DOCKERFILE, re.M)]
    sources = {source.replace("${EXTRA}", "*") for words in copied for source in words}
    assert sources == kept


@of_each_image
def test_every_package_has_one_version(extra: str) -> None:
    """The versions of pyproject.toml are those of the constraints, which name no host."""
    text = (DOCKER / f"constraints-{extra}.txt").read_text()
    locked = pins([line for line in text.splitlines() if not line.startswith("#")])
    optional = PROJECT["project"]["optional-dependencies"]
    wanted = pins([*PROJECT["project"]["dependencies"], *optional[extra], *optional["clouds"]])
    assert wanted.items() <= locked.items()
    assert len(locked) > 2 * len(wanted), "what these need in turn"
    assert not re.search(r"://|@", text)


@pytest.mark.parametrize("overlay", ["dev", "gpu-spot"])
def test_the_manifests_ask_for_the_image_of_this_version(overlay: str) -> None:
    page = yaml.safe_load((KUBERNETES / f"overlays/{overlay}/kustomization.yaml").read_text())
    images = {
        image["name"]: (image["newName"].rpartition("/")[2], image["newTag"]) for image in page["images"]
    }
    version = PROJECT["project"]["version"]
    known = {
        "terraquery": ("terraquery", f"{version}-cpu"),
        "terraquery-gpu": ("terraquery", f"{version}-gpu"),
    }
    assert images.items() <= known.items()
    assert all(f"/terraquery:{version}-{extra} " in DOCKERFILE for extra in ("cpu", "gpu"))


def test_an_unknown_step_is_refused() -> None:
    done = subprocess.run(
        [DOCKER / "install.sh", "everything"], capture_output=True, text=True, check=False, timeout=10
    )
    assert (done.returncode, done.stderr) == (2, "unknown step: everything\n")


def test_models_of_a_preset_come_with_the_hashes_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.venv").symlink_to(sys.prefix)
    weights = bytes(range(256)) * 40

    def models(hub: Hub) -> subprocess.CompletedProcess[str]:
        there = {**os.environ, "HF_ENDPOINT": hub.url, "TERRAQUERY_HOME": str(tmp_path / "home")}
        there.pop("HF_HUB_OFFLINE", None)
        return subprocess.run(
            [DOCKER / "install.sh", "models", "think2seg-3b"],
            capture_output=True,
            text=True,
            env=there,
            cwd=ROOT,
            timeout=120,
            check=False,
        )

    with serving_hub() as hub:
        hub.add("RicardoString/Think2Seg-RS-3B", {"config.json": b"{}", "model.safetensors": weights})
        hub.add("facebook/sam2.1-hiera-small", {"sam2.1_hiera_small.pt": weights})
        hub.wrong["model.safetensors"] = weights[::-1]
        refused = models(hub)
        assert refused.returncode != 0
        assert "model.safetensors" in refused.stderr
        hub.wrong.clear()
        done = models(hub)
        assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "home/hub").rglob("model.safetensors")
    assert found.read_bytes() == weights
