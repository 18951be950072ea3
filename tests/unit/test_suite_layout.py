"""The suite's own rules, which parallel runs rest on (tests/conftest.py)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

STARTS_RAY = re.compile(r'"--runner", "ray"|"start", "--head"|ray\.init\(')


def test_every_file_that_starts_a_ray_is_listed() -> None:
    spec = importlib.util.spec_from_file_location("suite_conftest", ROOT / "tests" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    own = Path(__file__).name
    files = {
        str(p.relative_to(ROOT))
        for p in ROOT.glob("tests/**/test_*.py")
        if STARTS_RAY.search(p.read_text()) and p.name != own
    }
    assert len(files) >= 3
    assert files <= set(conftest.RAY_FILES)
