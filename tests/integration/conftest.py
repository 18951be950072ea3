"""Fixtures of the whole-job tests. `run_job` calls a job in this process; with `shared_ray` it joins the one
Ray of this process. `shared_engine` is the one vLLM engine of this process.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from job_files import load_job
from shared_engine import SharedEngine

from pipeline.run.config import build_preset, preset_tables

RAY_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # 15 by default: beside the other test process, workers would hardly run
    "RAY_raylet_start_wait_time_s": "120",  # a busy machine needs more than Ray's 30 s
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def run_job() -> Callable[..., int]:
    """Call `main` of jobs/segment_region.py with the given words; returns its exit code."""
    main = load_job("segment_region").main
    return lambda *words: main([str(word) for word in words])


@pytest.fixture(scope="session")
def started_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for every test of this process that does not test how a Ray is started."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    chosen = RAY_SETTINGS | {"RAY_AUTH_TOKEN_PATH": str(token)}
    before = {name: os.environ.get(name) for name in chosen}
    os.environ |= chosen
    import ray
    from ray._raylet import Config

    Config.initialize("")  # Ray reads the mode when it is imported, which another test may have done
    try:
        ray.init(
            address="local",
            num_cpus=3,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="WARNING",
            object_store_memory=256 * 2**20,
        )
        yield
    finally:
        ray.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture
def shared_ray(started_ray: None) -> Iterator[None]:
    """The Ray of this process, which a job called here joins. Its settings of Ray Data end with the test."""
    from ray.data import DataContext

    before = DataContext.get_current().copy()
    yield
    DataContext._set_current(before)


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[SharedEngine]:
    """The prompter of the preset `embedded` in one vLLM engine, for every test file that asks it."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    engine = SharedEngine(build_preset(preset_tables("embedded")).prompter)
    yield engine
    engine.end()
