"""TOML tables become frozen option classes. An unknown key is an error that names the nearest known one.

`parse_table` checks every value against the field's annotation: bool, int, float (an int is accepted), str,
`Literal[...]`, `X | None`, tuples, nested dataclasses, and `Mapping[str, X]`, whose keys are free.
`plain_numbers` is for command lines, where argparse takes -1e-05 for an option.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

_EXPONENT = re.compile(r"-(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}")
"""A negative number in exponent form, as Python prints small ones."""


def plain_numbers(words: Sequence[str], *, lists: Mapping[str, int]) -> list[str]:
    """Rewrite the words of a command line so that argparse takes numbers for numbers. No value changes.

    -1e-05 becomes -0.00001. `lists`: option -> how many numbers it takes. Numbers joined by commas are split:
    `--bbox W,S,E,N` and `--bbox=W,S,E,N` become `--bbox W S E N`.
    """
    split: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        before = split[-1] if split else ""
        if equals and name in lists and value.count(",") == lists[name] - 1:
            split += [name, *value.split(",")]
        elif before in lists and word.count(",") == lists[before] - 1:
            split += word.split(",")
        else:
            split.append(word)
    return [format(Decimal(word), "f") if _EXPONENT.fullmatch(word) else word for word in split]


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file as tables. Raises InputError, which names `what` and the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{what} must be a readable TOML file",
            came=f"{path}: {error}",
            remedy="correct the path or the file",
        ) from error


def parse_table[T](cls: type[T], table: Mapping[str, object], where: str) -> T:
    """Build the dataclass `cls` from `table`. Raises InputError that names `where` and the offending key."""
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise unknown_key(key, list(known), where)
    required = [
        n
        for n, f in known.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [n for n in required if n not in table]
    if missing:
        raise InputError(
            f"{where} needs the key {missing[0]!r}",
            came=f"keys {sorted(table)}",
            remedy=f"add {missing[0]}, {_takes(hints[missing[0]])}",
        )
    values = {key: _coerce(value, hints[key], f"{where}.{key}") for key, value in table.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(f"{where}: {error}", remedy="correct the value") from error


def _takes(annotation: Any) -> str:
    """What a key takes, for a person."""
    if typing.get_origin(annotation) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(annotation)))}"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}.get(
        annotation, "which has no default"
    )


def unknown_key(key: str, known: list[str], where: str) -> InputError:
    """Make the error for a key that nobody reads; it names the nearest known one."""
    near = difflib.get_close_matches(key, known, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(sorted(known))}"
    return InputError(f"{where} has no key {key!r}", remedy=remedy)


def _coerce(value: object, annotation: Any, where: str) -> object:
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, args, where)
    if origin is typing.Literal:
        if value not in args:
            raise InputError(
                f"{where} must be one of {', '.join(map(repr, args))}",
                came=repr(value),
                remedy="choose one of them",
            )
        return value
    if origin is tuple:
        return _coerce_tuple(value, args, where)
    if origin is Mapping and isinstance(value, Mapping):
        return {str(key): _coerce(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if annotation in (int, float, str, bool):
        if type(value) is not annotation:
            raise InputError(
                f"{where} must be of type {annotation.__name__}", came=repr(value), remedy="correct the value"
            )
        return value
    if isinstance(value, Mapping) and dataclasses.is_dataclass(annotation):
        return parse_table(annotation, value, where)  # type: ignore[arg-type]
    raise InputError(f"{where} cannot be set from a file", came=repr(value), remedy="remove the key")


def _coerce_union(value: object, args: tuple[Any, ...], where: str) -> object:
    if value is None and type(None) in args:
        return None
    errors: list[InputError] = []
    for arm in args:
        if arm is type(None):
            continue
        try:
            return _coerce(value, arm, where)
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _coerce_tuple(value: object, args: tuple[Any, ...], where: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} must be a list", came=repr(value), remedy="write it as [a, b, ...]")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_coerce(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise InputError(f"{where} must have {len(args)} values", came=repr(value), remedy="correct the list")
    return tuple(
        _coerce(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(zip(value, args, strict=True))
    )
