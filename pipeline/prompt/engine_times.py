"""How long the parts of an engine's start took, as vLLM tells it.

vLLM gives these times to nobody but its log, and most of them in processes of its own. So its loggers that
have them write to a file while an engine starts (`VLLM_LOGGING_CONFIG_PATH`, which those processes inherit),
and the file is read when it has started. What the loggers show on the screen stays as it was. With a logging
configuration of the user's own, or messages of another form, nothing is known.

- `weights`: building the model and reading its weights; on CPUs reading alone.
- `warm_up`: profiling, the key-value cache, compiling and capturing graphs.
- `compile`: the part of `warm_up` in which torch compiles.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CONFIG_PATH = "VLLM_LOGGING_CONFIG_PATH"
"""Variable that names a file with a logging configuration, in every process of an engine."""

_TELLERS = (
    "vllm.model_executor.model_loader",
    "vllm.v1.engine.core",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.worker.gpu_model_runner",
)
"""Loggers of the messages below, in vLLM 0.32."""

_READ = re.compile(r"Loading weights took ([\d.]+) s")
_BUILT = re.compile(r"Model loading took .*?([\d.]+) seconds")
_WARMED = re.compile(r"init engine \(.*?\) took ([\d.]+) s(?:.*?\(compilation: ([\d.]+) s)?")


@contextmanager
def engine_times() -> Iterator[dict[str, float]]:
    """Start an engine in the body. Yields a dictionary that has its times in seconds at the end."""
    times = dict[str, float]()
    if os.environ.get(CONFIG_PATH) or os.environ.get("VLLM_CONFIGURE_LOGGING", "1") == "0":
        yield times
        return
    with tempfile.TemporaryDirectory(prefix="terraquery-engine-", ignore_cleanup_errors=True) as folder:
        told = Path(folder) / "told.log"
        config = Path(folder) / "logging.json"
        level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR").upper()  # `start_engine` sets it likewise
        config.write_text(json.dumps(_config(told, level)))
        os.environ[CONFIG_PATH] = str(config)
        try:
            yield times
        finally:
            del os.environ[CONFIG_PATH]
            with suppress(OSError):
                times.update(times_in(told.read_text(errors="replace")))


def times_in(log: str) -> Mapping[str, float]:
    """Find the times in a log. Of several engines or ranks that tell one, the longest counts."""
    times = dict[str, float]()
    found = [
        *(("weights", seconds) for seconds in (_BUILT.findall(log) or _READ.findall(log))),
        *(("warm_up", whole) for whole, _ in _WARMED.findall(log)),
        *(("compile", part) for _, part in _WARMED.findall(log) if part),
    ]
    for name, seconds in found:
        times[name] = max(times.get(name, 0.0), float(seconds))
    return times


def _config(told: Path, level: str) -> dict[str, Any]:
    """vLLM's own set-up in the short, with a second handler for the loggers that have the times."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(levelname)s %(asctime)s [%(name)s] %(message)s"}},
        "handlers": {
            "vllm": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "level": level,
                "stream": os.environ.get("VLLM_LOGGING_STREAM", "ext://sys.stdout"),
            },
            "told": {"class": "logging.FileHandler", "filename": str(told), "level": "INFO"},
        },
        "loggers": {
            "vllm": {"handlers": ["vllm"], "level": level, "propagate": False},
            **{name: {"handlers": ["told"], "level": "INFO", "propagate": True} for name in _TELLERS},
        },
    }
