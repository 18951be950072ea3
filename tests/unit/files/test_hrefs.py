from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files.hrefs import public_href, public_text


@pytest.mark.parametrize(
    ("given_href", "stored"),
    [
        ("https://acc.blob.example/c/a.tif?sv=1&sig=SECRET", "https://acc.blob.example/c/a.tif"),
        ("https://user:pa55@host/a.tif#frag", "https://host/a.tif"),
        ("s3://bucket/key.tif", "s3://bucket/key.tif"),
        ("/vsicurl/https://h/a.tif?token=SECRET", "/vsicurl/https://h/a.tif"),
        ("/vsicurl?pc_url_signing=yes&url=https%3A%2F%2Fh%2Fa.tif%3Fsig%3DSECRET", "/vsicurl"),
        ("scenes/what?.tif", "scenes/what?.tif"),
        ("oracle:labels.tif?noise=mild", "oracle:labels.tif?noise=mild"),
    ],
)
def test_hrefs_lose_credentials_and_nothing_else(given_href: str, stored: str) -> None:
    assert public_href(given_href) == stored


def test_urls_inside_texts_are_cleaned() -> None:
    text = "HTTP 403 for 'https://h/a.tif?sig=SECRET' (retry of /vsis3?x=1 ), see why?"
    assert public_text(text) == "HTTP 403 for 'https://h/a.tif' (retry of /vsis3 ), see why?"


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert public_text(public_text(text)) == public_text(text)
