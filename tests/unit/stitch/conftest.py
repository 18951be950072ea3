"""The label worlds of tests/stitch_worlds.py as a fixture."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import stitch_worlds


@pytest.fixture(scope="session")
def worlds() -> SimpleNamespace:
    """The functions of stitch_worlds, for test modules."""
    return SimpleNamespace(
        **{name: value for name, value in vars(stitch_worlds).items() if not name.startswith("_")}
    )
