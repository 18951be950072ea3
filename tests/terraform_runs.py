"""Runs Terraform on a copy of `infra/terraform`, with the AWS provider from a folder on this machine.

Terraform takes its provider from the folder of an environment variable of ours, else by the user's own
settings, else from one of the usual folders, else from its registry. The copy keeps the tree free of what
Terraform writes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "infra/terraform"
MODULES = sorted(path.name for path in (SOURCE / "modules").iterdir())
PLUGINS = "TERRAFORM_PLUGINS"
"""Environment variable: a folder that is laid out like a mirror of Terraform's registry."""
USUAL = (
    "~/.terraform.d/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
    "/opt/*",
)
"""Where such folders usually are."""


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Terraform in one folder of a copy."""

    folder: Path
    config: Path

    def run(self, *args: str, timeout_s: float = 400) -> str:
        """Run a command without colours; returns what it printed. Fails the test when Terraform fails, and
        skips it, saying so, without a provider.
        """
        done = subprocess.run(
            ["terraform", *args],
            cwd=self.folder,
            env=os.environ
            | {"TF_CLI_CONFIG_FILE": str(self.config), "TF_IN_AUTOMATION": "1", "TF_CLI_ARGS": "-no-color"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode and args[0] == "init" and "provider packages" in done.stderr:
            pytest.skip(f"the AWS provider is in no folder ({PLUGINS}), and its registry does not answer")
        if done.returncode:
            pytest.fail(f"terraform {' '.join(args)}:\n{done.stdout}\n{done.stderr}", pytrace=False)
        return done.stdout

    def json(self, *args: str) -> Any:
        """Run a command that answers in JSON."""
        return json.loads(self.run(*args))


def copied_terraform(work: Path) -> Path:
    """Copy `infra/terraform` below `work`; skips the test, saying so, where Terraform is missing."""
    if shutil.which("terraform") is None:
        pytest.skip("Terraform is not installed, so its configuration is not tested")
    copy = work / "terraform"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars"))
    (work / "terraform.rc").write_text(_installation())
    return copy


def _settings_of_user() -> Path | None:
    """Terraform's settings where somebody made some; they may say where providers come from."""
    named = Path(os.environ.get("TF_CLI_CONFIG_FILE") or "~/.terraformrc").expanduser()
    return named if named.is_file() else None


def terraform_in(copy: Path, folder: str) -> Terraform:
    """Give Terraform in a folder of the copy."""
    return Terraform(folder=copy / folder, config=copy.parent / "terraform.rc")


def _installation() -> str:
    if (theirs := _settings_of_user()) and not os.environ.get(PLUGINS):
        return theirs.read_text()
    for folder in _mirrors():
        if (folder / "registry.terraform.io/hashicorp/aws").is_dir():
            return f'provider_installation {{\n  filesystem_mirror {{\n    path = "{folder}"\n  }}\n}}\n'
    return ""


def _mirrors() -> list[Path]:
    if os.environ.get(PLUGINS):
        return [Path(os.environ[PLUGINS])]
    places = [Path(place).expanduser() for place in USUAL]
    return [folder for place in places for folder in sorted(place.parent.glob(place.name))]
