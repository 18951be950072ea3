"""How test files share two processes of pytest-xdist (`make test`). Without xdist only the order changes.

1. A file runs in one process. Its module fixtures (worlds, trained models) are made once.
2. The files that use Ray (RAY_FILES) run in one process, so that they share one Ray; those that ask the
   shipped prompter (ENGINE_FILES) share one vLLM engine likewise, and AIRFLOW_FILES one Airflow.
   (`--dist loadgroup` would say so by marks beside the tests, but xdist 3.8 does not see them under
   pytest 9.2.)
3. Ray's files come first, then files with slow tests: nothing long is left for the end, when the other
   process would stand idle. This needs `--no-loadscope-reorder`: xdist would begin with the largest files.
4. After the last of Ray's files their Ray ends: its processes would take a tenth of a core to the end.
5. No file is flushed to the disk (`fsync`): the tests kill processes, and none cuts the power.
6. Hypothesis has no deadlines: on a busy machine a first call, with its imports, takes longer than any.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

# A shell that starts the tests in the background lets them ignore Ctrl-C, `nohup` lets them ignore SIGHUP.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

os.fsync = lambda handle: None

settings.register_profile("terraquery", deadline=None)
settings.load_profile("terraquery")

RAY_FILES = tuple(
    f"tests/integration/test_{name}.py"
    for name in (
        "benchmarks",
        "containment",
        "gate_runs",
        "hostile_texts",
        "killed_submissions",
        "ray",
        "ray_access",
        "restitch",
        "scale_out",
        "signed_on_ray",
        "spending",
        "stopping_ray",
        "zones_on_ray",
    )
)
"""Test files that use Ray, by their paths in the repository; tests/unit/test_suite_layout.py knows all."""
ENGINE_FILES = tuple(f"tests/integration/test_{name}.py" for name in ("benchmark_models", "gate_vllm"))
"""Test files that use the fixture `shared_engine`."""
AIRFLOW_FILES = tuple(
    f"tests/ops/test_{name}.py" for name in ("nightly_region", "ray_operator", "resource_operator")
)
"""Test files that share one running Airflow, with its Ray head."""
SHARED = (
    dict.fromkeys(RAY_FILES, "ray")
    | dict.fromkeys(ENGINE_FILES, "engine")
    | dict.fromkeys(AIRFLOW_FILES, "airflow")
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """xdist's `loadfile`, with the files that share something as one file."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return SHARED.get(file, file)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order of the third point; the tests of a file keep theirs."""
    slow = {item.location[0] for item in items if {"slow", "long"} & set(item.keywords)}
    items.sort(key=lambda item: (item.location[0] not in RAY_FILES, item.location[0] not in slow))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the Ray of this process after the last file that uses it."""
    ray = sys.modules.get("ray")
    over = nextitem is None or nextitem.location[0] not in RAY_FILES
    if item.location[0] in RAY_FILES and over and ray is not None and ray.is_initialized():
        ray.shutdown()
