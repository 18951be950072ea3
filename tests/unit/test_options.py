"""TOML tables become option classes or errors that help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from pipeline.errors import InputError
from pipeline.options import parse_table


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str
    share: float = 0.5
    kind: Literal["a", "b"] = "a"
    limits: tuple[float, float] | None = None
    tags: tuple[str, ...] = ()
    on: bool = False
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError(f"share must be at most 1, got {self.share}")


def test_values_arrive_with_their_types() -> None:
    table = {
        "name": "x",
        "share": 1,
        "kind": "b",
        "limits": [0, 2.5],
        "tags": ["p", "q"],
        "on": True,
        "inner": {"size": 3},
    }
    assert parse_table(Example, table, "[example]") == Example(
        name="x", share=1.0, kind="b", limits=(0.0, 2.5), tags=("p", "q"), on=True, inner=Inner(size=3)
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "x", "shair": 1}, "did you mean 'share'"),
        ({"name": "x", "inner": {"sizes": 1}}, r"\[example\].inner has no key 'sizes'"),
        ({}, "needs the key 'name'"),
        ({"name": 3}, "must be of type str"),
        ({"name": "x", "on": 1}, "must be of type bool"),
        ({"name": "x", "kind": "c"}, "must be one of 'a', 'b'"),
        ({"name": "x", "limits": [1.0]}, "must have 2 values"),
        ({"name": "x", "share": 2}, "share must be at most 1"),
        ({"name": "x", "inner": {"size": True}}, "must be of type int"),
    ],
)
def test_wrong_tables_are_refused_with_a_reason(table: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_table(Example, table, "[example]")
