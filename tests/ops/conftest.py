"""One Airflow for all tests that need one: it takes half a minute to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow_place import AirflowPlace, airflow_place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowPlace]:
    """A Ray head, an Airflow that runs, and a stand-in of Kubernetes."""
    with airflow_place(tmp_path_factory.mktemp("airflow")) as found:
        yield found
