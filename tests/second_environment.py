"""A Python environment of its own, with its own numpy, for models that run beside the project's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OTHERS = ("python3.9", "python3.10", "python3.11", "python3.13", "python3")
"""Tried before this Python, so that the environment is another one as far as the machine allows."""


def other_python() -> str:
    """A Python of another version where this machine has one, else this one."""
    for name in OTHERS:
        found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
        if found is None:
            continue
        said = subprocess.run(
            [found, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if said.returncode == 0 and said.stdout.strip() not in ("", str(sys.version_info[:2]), "(3, 8)"):
            return found
    return sys.executable


def make_environment(folder: Path) -> Path:
    """An environment with an older numpy where it can be had. Returns its Python. Skips where none can be."""
    uv = str(Path(sys.executable).with_name("uv"))
    why = ""
    for python in dict.fromkeys((other_python(), sys.executable)):
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(folder)], check=True)
        for words in (["--offline", "numpy<2"], ["numpy<2"], ["--offline", "numpy"]):
            install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *words]
            done = subprocess.run(install, capture_output=True, text=True, timeout=120)
            if done.returncode == 0:
                return folder / "bin/python"
            why = done.stderr
    pytest.skip(f"no numpy for an environment of its own: {why.strip().splitlines()[-1]}")
