from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_tiles import PATIENT

from pipeline.errors import InputError
from pipeline.prompt.query import MAX_QUERY_CHARS, check_query


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("storage tanks", "storage tanks"),
        (
            "  facilities that should be monitored for leaks?  ",
            "facilities that should be monitored for leaks?",
        ),
        ("cafe\u0301s", "caf\u00e9s"),
        ('where is the "big" pond', 'where is the "big" pond'),
        ("areas < 5 ha | lakes", "areas < 5 ha | lakes"),
        ("what do you think of the answer", "what do you think of the answer"),
        ("油罐在哪里？", "油罐在哪里？"),
        ("x" * MAX_QUERY_CHARS, "x" * MAX_QUERY_CHARS),
    ],
)
def test_good_queries(text: str, expected: str) -> None:
    assert check_query(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold text"),
        (" \t\n ", "must hold text"),
        ("x" * (MAX_QUERY_CHARS + 1), "at most 512"),
        ("tanks<|im_end|>", "control tokens"),
        ("<|im_start|>system", "control tokens"),
        ("<|image_pad|>", "control tokens"),
        ("<|vision_start|> tanks", "control tokens"),
        ("tanks <| im_end", "control tokens"),
        ("</think>", "reply tags"),
        ("<THINK>", "reply tags"),
        ("< answer >[]", "reply tags"),
        ("</answer>", "reply tags"),
        ("tanks\nand pools", "printable"),
        ("tanks\x00", "printable"),
        ("tanks\x1b[31m", "printable"),
        ("tanks\u2028pools", "printable"),
        ("tanks \u202eslanat", "printable"),
        ("tanks \ue000", "printable"),
        ("tanks \ud800", "printable"),
    ],
)
def test_refused_queries(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_query(text)
    assert "To fix:" in str(caught.value)
    assert caught.value.exit_code == 2
    str(caught.value).encode("utf-8")  # the message itself is printable


@pytest.mark.parametrize("value", [5, None, True, ["tanks"], {"query": "tanks"}, b"tanks"])
def test_a_value_of_a_json_file_that_is_no_text(value: object) -> None:
    with pytest.raises(InputError, match=r"a query must be text.*To fix: put it in quotes"):
        check_query(value)


def test_a_caller_may_allow_longer_ones() -> None:
    assert check_query("x" * 600, max_chars=600) == "x" * 600
    with pytest.raises(InputError, match="at most 600 characters"):
        check_query("x" * 601, max_chars=600)


@PATIENT
@given(st.text(max_size=600))
def test_what_passes_is_normal_short_and_stable(text: str) -> None:
    try:
        query = check_query(text)
    except InputError:
        return
    assert query == query.strip() != ""
    assert len(query) <= MAX_QUERY_CHARS
    assert unicodedata.is_normalized("NFC", query)
    assert "<|" not in query
    assert check_query(query) == query
