"""A sound run, made once, and copies of it to damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from damaged_runs import copy_of, make_sound_run, make_zoned_run


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sound_run(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def run(sound_run: Path, tmp_path: Path) -> Path:
    """A copy of the sound run."""
    return copy_of(sound_run, tmp_path / "run")


@pytest.fixture(scope="session")
def sound_zones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zoned_run(tmp_path_factory.mktemp("zones"))


@pytest.fixture
def zoned(sound_zones: Path, tmp_path: Path) -> Path:
    """A copy of the sound run of two zones."""
    return copy_of(sound_zones, tmp_path / "zoned")
