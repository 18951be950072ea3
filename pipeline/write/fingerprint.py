"""What makes two runs the same run: sha256 over the canonical JSON of everything that can change the result.

Canonical: keys sorted, strings in Unicode NFC, hrefs without query strings (a fresh token is the same scene), no
insignificant white space, NaN refused. The caller decides which parameters belong in; machine-dependent ones (number of
actors, runner) do not.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from pipeline.write.hrefs import public_href

_MISSING = "(not set)"


def fingerprint(parameters: Mapping[str, Any]) -> str:
    """64 hex digits that depend on the content of `parameters` and on nothing else.

    Raises TypeError for values that JSON cannot hold and ValueError for NaN or infinity.
    """
    return hashlib.sha256(_to_json(canonical(parameters)).encode()).hexdigest()


def canonical(value: Any) -> Any:
    """`value` as plain JSON types, strings in NFC and hrefs without credentials."""
    if isinstance(value, Mapping):
        return {unicodedata.normalize("NFC", str(key)): canonical(item) for key, item in value.items()}
    if isinstance(value, str | PurePath):
        return public_href(unicodedata.normalize("NFC", str(value)))
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=_to_json)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [canonical(item) for item in value]
    raise TypeError(f"a run parameter must be JSON-like, got {type(value).__name__}: {value!r}")


def diff_parameters(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ between `a` and `b`, sorted. Lists are compared as a whole."""
    flat_a, flat_b = _flatten(canonical(a)), _flatten(canonical(b))
    return sorted(key for key in flat_a.keys() | flat_b.keys() if flat_a.get(key) != flat_b.get(key))


def describe_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """`key: value in a -> value in b; ...` for every key of `diff_parameters(a, b)`."""
    flat_a, flat_b = _flatten(canonical(a)), _flatten(canonical(b))
    return "; ".join(f"{key}: {flat_a.get(key, _MISSING)} -> {flat_b.get(key, _MISSING)}" for key in diff_parameters(a, b))


def _flatten(value: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """Leaves as canonical JSON text under dotted keys, so that 1 and 1.0 differ just as they do in the fingerprint."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(_flatten(item, prefix=f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = _to_json(item)
    return flat


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
