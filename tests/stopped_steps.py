"""A training that a signal stops in one of its steps, without a signal."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import ModuleType

import pytest


def stop_in_step(monkeypatch: pytest.MonkeyPatch, module: ModuleType, last: int) -> None:
    """Let a module's loop do `last` steps, the last of which knows that the process is to stop."""
    asked = list[int]()

    def each(items: Iterable[int]) -> Iterator[int]:
        for number, item in enumerate(items, start=1):
            if number == last:
                asked.append(signal.SIGTERM)
            yield item
            if asked:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "unbroken_each", each)
    monkeypatch.setattr(module, "stopped_by", lambda: asked[0] if asked else None)
