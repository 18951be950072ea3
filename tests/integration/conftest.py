"""Fixtures of the whole-job tests: `run_job` calls the main of jobs/segment_region.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from job_files import load_job


@pytest.fixture(scope="session")
def run_job() -> Callable[..., int]:
    """Call `main` of jobs/segment_region.py with the given words; returns its exit code."""
    main = load_job("segment_region").main
    return lambda *words: main([str(word) for word in words])
