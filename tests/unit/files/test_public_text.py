"""The rule for texts that leave a run: a table of secrets and of hostile characters, and properties."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_secrets import PLANTED, SECRET_ENVIRONMENT

from pipeline.files.public_text import (
    cut,
    public_json,
    public_line,
    public_text,
    secret_values,
    visible,
    without_secrets,
)

HARMLESS = [
    "the reply hit the token limit after 1,024 tokens",
    "expected token: '}' at column 7",
    "max_tokens=1024, temperature: 0.1",
    "/data/key/2024-01-01T10:11:12Z/scene@2x.tif",
    "tile r3c4: 12:30 at 51.5,-0.1; e-mail someone@example.org",
    "signature of a storage tank: a round shadow; sign = +1",
    "no secret is kept here, and the password field is empty",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "basic facilities near the bearer road",
    "Łódź, 東京, नमस्ते, emoji 👩‍🌾 and ∮ E·da = Q",
    "two lines\nand a\ttab",
]

ESCAPES = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b]0;owned\x07title", "title"),
    ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x9b2Jgone", "gone"),
    ("\x1bPq#0\x1b\\sixel", "sixel"),
    ("a\x1b\x1b[2J[2Jb", "a[2Jb"),
    ("lone \x1b", "lone "),
    ("bell\x07 back\x08 null\x00 del\x7f", "bell back null del"),
    ("over\rwrite", "over\nwrite"),
    ("a\u2028b\u2029c\x85d\x0be", "a\nb\nc\nd\ne"),
    ("user\u202egpj.exe", "usergpj.exe"),
    ("\u2066isolated\u2069 \u200fmark", "isolated mark"),
    ("zero\u200bwidth\ufeff", "zerowidth"),
    ("tags\U000e0041\U000e0042", "tags"),
    ("half \ud800", "half ?"),
]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in SECRET_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    secret_values.cache_clear()
    yield
    secret_values.cache_clear()


@pytest.mark.parametrize("kind", PLANTED)
def test_no_secret_of_any_kind_is_shown(kind: str) -> None:
    text, secrets = PLANTED[kind]
    for around in (
        "{}",
        "HTTP 403: {}",
        "ValueError('{}')",
        '{{"error": "{}"}}',
        "<{}>\nnext line",
        "\x1b[1m{}",
    ):
        shown = public_text(around.format(text))
        for secret in secrets:
            assert secret not in shown, shown
        assert "***" in shown or "://" in shown or "/vsi" in shown


def test_a_secret_is_found_under_characters_that_are_not_shown() -> None:
    assert public_text("AKIA\u200bIOSF\x00ODNN7EXA\u202eMPLE") == "***"


@pytest.mark.usefixtures("environment")
def test_values_of_secret_variables_are_hidden_wherever_they_stand() -> None:
    for value in SECRET_ENVIRONMENT.values():
        assert public_text(f"the server said {value}!") == "the server said ***!"


def test_paths_and_short_values_of_such_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "/run/secrets/token")
    monkeypatch.setenv("OTHER_TOKEN", "tank")
    secret_values.cache_clear()
    try:
        assert public_text("a tank in /run/secrets/token") == "a tank in /run/secrets/token"
    finally:
        secret_values.cache_clear()


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay_as_they_are(text: str) -> None:
    assert public_text(text) == text


@pytest.mark.parametrize(("hostile", "shown"), ESCAPES)
def test_what_screens_obey_is_taken_out(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown


@given(st.text())
def test_nothing_is_left_that_a_screen_obeys(text: str) -> None:
    shown = visible(text)
    assert {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} <= {"\n", "\t"}
    assert not {
        c
        for c in shown
        if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF", "RLI", "LRI", "FSI", "PDI")
    }
    assert visible(shown) == shown


@given(
    st.lists(st.sampled_from([*"aA=:@*\"' ,;?&/-_{}\n", "sig", "token", "bearer ", "http://"])).map("".join)
)
def test_twice_is_once(text: str) -> None:
    assert public_text(public_text(text)) == public_text(text)


def test_a_text_is_cut_after_its_secrets_are_gone() -> None:
    text = "x" * 10 + " AKIAIOSFODNN7EXAMPLE " + "y" * 100
    assert public_text(text, most_chars=20) == "x" * 10 + " *** yyyy…"
    assert public_text("short", most_chars=5) == "short"
    assert cut("123456", 5) == "1234…"
    assert public_line(" two\n\n lines\t", most_chars=6) == "two l…"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part", ["a", "a_", "a:", "\x1b]", "\x1b", "token=", "eyJ-", "-----BEGIN PRIVATE KEY-----", "http://"]
)
def test_no_text_takes_for_ever(part: str) -> None:
    """Each is quadratic to a careless pattern: minutes, where a second is enough."""
    public_text(part * (100_000 // len(part)))


def test_a_document_reads_back_as_it_was_and_no_screen_obeys_it() -> None:
    document = {"id\x9b": ["\x1b[2J", "\u202egpj", "\ud800", "a\u2028b", "ü", "\U000e0041"], "n": 1.5}
    text = public_json(document)
    assert json.loads(text) == document
    assert visible(text) == text
    assert "ü" in text
    with pytest.raises(ValueError, match="Out of range"):
        public_json({"n": float("nan")})


def test_hiding_alone_keeps_every_other_character() -> None:
    assert without_secrets("\x1b token=abc") == "\x1b token=***"
