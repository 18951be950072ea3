from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files.fingerprint import (
    MAX_VALUE_CHARS,
    MOST_TOLD,
    describe_difference,
    diff_parameters,
    fingerprint,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_it_is_the_sha256_of_canonical_json() -> None:
    canonical = '{"a":[1,2.5,null],"query":"é"}'
    assert (
        fingerprint({"query": "e\u0301", "a": (1, 2.5, None)})
        == hashlib.sha256(canonical.encode()).hexdigest()
    )


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_key_order_does_not_matter(parameters: dict[str, Any]) -> None:
    backwards = dict(reversed(list(parameters.items())))
    assert fingerprint(backwards) == fingerprint(parameters)
    assert diff_parameters(parameters, backwards) == []


def test_a_fresh_token_is_the_same_scene() -> None:
    one, two = ({"scenes": [f"https://h/a.tif?sig={token}"]} for token in "ab")
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint({"scenes": ["https://h/b.tif"]})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2) | st.floats(0, 2), max_size=3), st.data())
def test_fingerprints_differ_exactly_when_some_key_differs(a: dict[str, Any], data: st.DataObject) -> None:
    b = data.draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2) | st.floats(0, 2), max_size=3))
    assert (fingerprint(a) == fingerprint(b)) == (diff_parameters(a, b) == [])


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=2), JSON, max_size=3),
    st.dictionaries(st.text(max_size=2), JSON, max_size=3),
)
def test_so_do_those_of_nested_values(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (diff_parameters(a, b) == [])
    assert diff_parameters(a, a) == []
    assert diff_parameters(a, b) == diff_parameters(b, a)


def test_differences_name_nested_keys_and_both_values() -> None:
    a = {"tile": {"px": 1024, "halo": 64}, "query": ["roofs"], "old": 1}
    b = {"tile": {"px": 512, "halo": 64}, "query": ["roofs", "pools"], "new": True}
    assert diff_parameters(a, b) == ["new", "old", "query", "tile.px"]
    text = describe_difference(a, b)
    assert "tile.px: 1024 -> 512" in text
    assert 'query: ["roofs"] -> ["roofs","pools"]' in text
    assert "old: 1 -> (not set)" in text
    assert "new: (not set) -> true" in text


OLD = {"scene_id": "old", "bands": [1, 2, 3], "etag": "o"}
NEW = {"scene_id": "new", "bands": [1, 2, 3], "etag": "n"}


def test_the_order_of_a_list_matters_and_its_first_difference_is_named() -> None:
    a = {"scenes": [OLD, NEW]}
    b = {"scenes": [NEW, OLD]}
    assert fingerprint(a) != fingerprint(b)
    assert diff_parameters(a, b) == ["scenes[0].etag", "scenes[0].scene_id"]
    assert describe_difference(a, b) == 'scenes[0].etag: "o" -> "n"; scenes[0].scene_id: "old" -> "new"'
    third = {**NEW, "etag": "m"}
    assert (
        describe_difference({"scenes": [OLD, NEW]}, {"scenes": [OLD, third]}) == 'scenes[1].etag: "n" -> "m"'
    )


def test_a_list_of_another_length_says_how_long_it_is() -> None:
    assert describe_difference({"scenes": [OLD]}, {"scenes": [OLD, NEW]}) == "scenes: 1 entries -> 2 entries"
    longer = {"scenes": [NEW, OLD]}
    assert diff_parameters({"scenes": [OLD]}, longer) == ["scenes", "scenes[0].etag", "scenes[0].scene_id"]


def test_tables_that_one_side_lacks_are_named_key_by_key_unless_they_are_empty() -> None:
    assert (
        describe_difference({}, {"gate": {"mode": "tile", "seed": 0}})
        == 'gate.mode: (not set) -> "tile"; gate.seed: (not set) -> 0'
    )
    assert describe_difference({"gate": {}}, {}) == "gate: {} -> (not set)"
    assert diff_parameters({"gate": {}}, {"gate": {}}) == []


def test_of_many_differences_the_plainest_are_told() -> None:
    before = {"marks": "a", "prompter": {f"key{number}": number for number in range(30)}, "queries": ["x"]}
    text = describe_difference(before, {"marks": "b", "prompter": {}, "queries": ["y"]})
    assert text.startswith('marks: "a" -> "b"; ')
    assert 'queries: ["x"] -> ["y"]' in text
    assert text.endswith("; and 24 more")
    assert text.count(" -> ") == MOST_TOLD


def test_long_values_are_cut() -> None:
    text = describe_difference({"user": "a" * 5000}, {"user": "b"})
    assert text == f'user: "{"a" * (MAX_VALUE_CHARS - 1)}... (5002 characters) -> "b"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_values_without_one_json_form_are_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        fingerprint({"a": value})
