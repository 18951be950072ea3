"""Times in the words of vLLM 0.32; test_vllm_engine.py reads those of a real engine."""

from __future__ import annotations

import json
import logging
import logging.config
import os
from pathlib import Path

import pytest

from pipeline.prompt.engine_times import CONFIG_PATH, engine_times, times_in

ON_A_GPU = """
Loading weights took 3.42 seconds
Model loading took 7.15 GiB memory and 4.250000 seconds
init engine (profile, create kv cache, warmup model) took 48.30 s (compilation: 31.75 s)
"""
WITH_AN_ENCODER = (
    "init engine (profile, create kv cache, warmup model) took 9.00 s (compilation: 5.50 s \u2014 x)"
)


def test_the_parts_are_read_from_what_the_engine_says() -> None:
    assert times_in(ON_A_GPU) == {"weights": 4.25, "warm_up": 48.3, "compile": 31.75}
    assert times_in(WITH_AN_ENCODER) == {"warm_up": 9.0, "compile": 5.5}
    on_a_cpu = "Loading weights took 0.05 seconds\ninit engine (profile, create) took 0.35 s\n"
    assert times_in(on_a_cpu) == {"weights": 0.05, "warm_up": 0.35}
    assert times_in("another version says it in other words") == {}
    assert times_in("Loading weights took 2.0 seconds\nLoading weights took 3.0 seconds") == {"weights": 3.0}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (CONFIG_PATH, "VLLM_CONFIGURE_LOGGING"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_processes_of_the_engine_are_given_a_file_to_tell_it(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration is applied here as vLLM does it there. The screen shows what it showed before."""
    clean.setenv("VLLM_LOGGING_LEVEL", "ERROR")
    with engine_times() as times:
        config = Path(os.environ[CONFIG_PATH])
        logging.config.dictConfig(json.loads(config.read_text()))
        logger = logging.getLogger("vllm.v1.engine.core")
        logger.info("init engine (profile, create kv cache, warmup model) took %.2f s", 1.25)
        logging.getLogger("vllm.other").info("nothing of interest")
        logger.error("an error")
    assert times == {"warm_up": 1.25}
    assert CONFIG_PATH not in os.environ
    assert not config.exists()
    said = capsys.readouterr().out
    assert "an error" in said
    assert "took" not in said


def test_a_users_own_configuration_stays(clean: pytest.MonkeyPatch) -> None:
    clean.setenv(CONFIG_PATH, "/mine.json")
    with engine_times() as times:
        assert os.environ[CONFIG_PATH] == "/mine.json"
    assert times == {}
    clean.delenv(CONFIG_PATH)
    clean.setenv("VLLM_CONFIGURE_LOGGING", "0")
    with engine_times() as times:
        assert CONFIG_PATH not in os.environ


def test_an_engine_that_does_not_start_leaves_nothing_behind(clean: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), engine_times():
        raise RuntimeError
    assert CONFIG_PATH not in os.environ
