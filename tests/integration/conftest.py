"""Fixtures of the whole-job tests: `run_job` calls the main of jobs/segment_region.py."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_job(name: str) -> ModuleType:
    """A file of jobs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"jobs_{name}", ROOT / "jobs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def run_job() -> Callable[..., int]:
    """Call `main` of jobs/segment_region.py with the given words; returns its exit code."""
    main = load_job("segment_region").main
    return lambda *words: main([str(word) for word in words])
