"""The suite's own rules: a test file beside every module, and what parallel runs rest on."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"

USES_RAY = {
    "tests/integration": re.compile(r'"shared_ray"|"--runner", "ray"|ray_heads'),
    "tests": re.compile(r"^ *(shared_ray|ray\.init\()", flags=re.MULTILINE),
}
"""What a test file that uses Ray holds, by folder; unit tests only read `--runner ray`."""


def test_every_module_has_a_test_file_beside_it() -> None:
    missing = set()
    for module in PACKAGE.rglob("*.py"):
        folder = module.relative_to(PACKAGE).parent
        if (
            module.name != "__init__.py"
            and not (ROOT / "tests/unit" / folder / f"test_{module.name}").is_file()
        ):
            missing.add(module.relative_to(ROOT).as_posix())
    assert missing == set()


def test_every_test_file_holds_a_test() -> None:
    files = [
        path
        for path in ROOT.glob("tests/**/test_*.py")
        if not re.search(r"^ *(async )?def test_", path.read_text(), re.M)
    ]
    assert files == []


def suite_conftest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suite_conftest", ROOT / "tests" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    return conftest


def test_every_file_that_uses_ray_is_listed() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for folder, sign in USES_RAY.items()
        for path in (ROOT / folder).rglob("test_*.py")
        if sign.search(path.read_text())
    }
    assert len(files) >= 3
    assert files == set(suite_conftest().RAY_FILES)


def test_every_file_that_shares_the_engine_is_listed() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"\bshared_engine: ", path.read_text())
    }
    assert len(files) >= 2
    assert files == set(suite_conftest().ENGINE_FILES)


def test_every_file_that_shares_the_airflow_is_listed() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"\bplace: AirflowPlace\b", path.read_text())
    }
    assert len(files) >= 2
    assert files == set(suite_conftest().AIRFLOW_FILES)
