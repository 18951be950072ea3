"""What is told before queries are added, and who adds them. The whole is in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.run.added import add_flow
from pipeline.run.added.add_flow import add_queries, added_text
from pipeline.run.added.plan_added import AddRequest


def test_it_tells_what_is_added_to_what() -> None:
    told = added_text(("tanks", "pools"), ("ships",))
    assert told == "adding ships\nto the queries tanks; pools, whose results stay as they are"


def test_zones_are_done_by_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    info: Any = SimpleNamespace(queries=("tanks",), update={})
    seen: list[Any] = []

    def zones(request: AddRequest, told: Any, added: tuple[str, ...], **_: object) -> int:
        seen.extend((request.out, told, added))
        return 3

    monkeypatch.setattr(add_flow, "finished_info", lambda out: info)
    monkeypatch.setattr(add_flow, "run_added_zones", zones)
    said: list[str] = []
    assert add_queries(AddRequest(out="here", queries=(" ships",)), say=said.append) == 3
    assert seen == ["here", info, ("ships",)]
    assert said == ["adding ships\nto the queries tanks, whose results stay as they are"]
