"""The Terraform modules: formatted, valid, and what their own tests say with a mock of the provider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from terraform_runs import MODULES, SOURCE, copied_terraform, terraform_in

pytestmark = pytest.mark.ops


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_terraform(tmp_path_factory.mktemp("modules"))


def test_the_format_is_terraforms_own(copy: Path) -> None:
    terraform_in(copy, ".").run("fmt", "-check", "-recursive", "-diff")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_passes_its_own_tests(copy: Path, module: str) -> None:
    """Each test validates the module first; refused variables are among the tests."""
    terraform = terraform_in(copy, f"modules/{module}")
    terraform.run("init", "-backend=false")
    printed = terraform.run("test")
    runs = (SOURCE / "modules" / module / "tests" / f"{module}.tftest.hcl").read_text().count('\nrun "')
    assert runs >= 2
    assert f"{runs} passed, 0 failed." in printed


def test_the_environment_is_valid(copy: Path) -> None:
    terraform = terraform_in(copy, "envs/dev")
    terraform.run("init", "-backend=false", "-lockfile=readonly")
    assert terraform.json("validate", "-json")["diagnostics"] == []
    assert "4 passed, 0 failed." in terraform.run("test")


def test_every_module_has_its_tests_and_is_used() -> None:
    tested = sorted(path.stem.removesuffix(".tftest") for path in SOURCE.glob("modules/*/tests/*.tftest.hcl"))
    assert tested == MODULES
    sources = "".join(path.read_text() for path in SOURCE.rglob("*.tf"))
    assert sorted(set(re.findall(r'source += "\.\./(?:\.\./modules/)?(\w+)"', sources))) == MODULES


def test_no_module_comes_from_elsewhere() -> None:
    sources = [
        found
        for path in SOURCE.rglob("*.tf")
        for found in re.findall(r'^ *source += "([^"]+)"', path.read_text(), flags=re.MULTILINE)
    ]
    assert {source for source in sources if not source.startswith("../")} == {"hashicorp/aws"}
