"""TOML tables become option classes or errors that help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.options import parse_table, plain_numbers, read_toml


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


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", None])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"--config must be a readable TOML file.*mine\.toml"):
        read_toml(path, "--config")


def test_toml_is_read_as_tables(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[prompter]\nmodel = "naïve"\n', encoding="utf-8")
    assert read_toml(path, "--config") == {"prompter": {"model": "naïve"}}


@given(st.lists(st.floats(-180, 180), min_size=4, max_size=4), st.sampled_from(["words", "commas", "equals"]))
def test_every_number_python_prints_reaches_the_option(numbers: list[float], form: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--bbox", nargs=4, type=float)
    parser.add_argument("--query")
    texts = [repr(number) for number in numbers]
    words = {
        "words": ["--bbox", *texts],
        "commas": ["--bbox", ",".join(texts)],
        "equals": ["--bbox=" + ",".join(texts)],
    }[form]
    given_words = [*words, "--query", "roofs, red=new, 1e5"]
    args = parser.parse_args(plain_numbers(given_words, lists={"--bbox": 4}))
    assert args.bbox == numbers
    assert args.query == "roofs, red=new, 1e5"


@pytest.mark.parametrize("word", ["-e5", "--bbox", "-1e", "-1e99999", "1e-5", "-x", "", "-1.5"])
def test_other_words_of_a_command_line_stay(word: str) -> None:
    assert plain_numbers([word], lists={"--bbox": 4}) == [word]


def test_a_mapping_has_free_keys_and_values_of_its_types() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Free:
        options: Mapping[str, str | int | float]

    table = {"options": {"a": "x", "b": 1, "c": 0.5}}
    assert parse_table(Free, table, "t").options == table["options"]
    with pytest.raises(InputError, match=r"t\.options\.d"):
        parse_table(Free, {"options": {"d": ["x"]}}, "t")
    with pytest.raises(InputError, match=r"t\.options"):
        parse_table(Free, {"options": "x"}, "t")
