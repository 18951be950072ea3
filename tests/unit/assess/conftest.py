"""The finished run that the tests of this folder share."""

from __future__ import annotations

import pytest
from assessed_runs import AssessedRun, make_assessed_run


@pytest.fixture(scope="session")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> AssessedRun:
    """A run of one query with known mistakes; nobody writes to it but estimates."""
    return make_assessed_run(tmp_path_factory.mktemp("assessed"))
