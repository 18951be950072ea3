"""Text files in the encodings that people's tools write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.files.text_file import read_text

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\ufeff\x00"))
"""A zero behind the mark of UTF-16 is the mark of UTF-32."""
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.sampled_from(ENCODINGS))
def test_every_encoding_gives_the_same_text(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode(encoding))
    assert read_text(path, "A list") == text


def test_both_byte_orders_are_read(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xfe\xff" + "Größe".encode("utf-16-be"))
    assert read_text(path, "A list") == "Größe"


def test_another_encoding_and_no_file_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("Größe".encode("latin-1"))
    with pytest.raises(InputError, match=r"A list must be text in UTF-8 or UTF-16.*save it as UTF-8"):
        read_text(path, "A list")
    with pytest.raises(InputError, match="readable file"):
        read_text(tmp_path / "missing.txt", "A list")
