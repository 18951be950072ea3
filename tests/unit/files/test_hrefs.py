from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files.hrefs import encoded_url, join_access, link_href, public_href, public_urls, split_access


@pytest.mark.parametrize(
    ("given_href", "stored"),
    [
        ("https://acc.blob.example/c/a.tif?sv=1&sig=SECRET", "https://acc.blob.example/c/a.tif"),
        ("https://user:pa55@host/a.tif#frag", "https://host/a.tif"),
        ("s3://bucket/key.tif", "s3://bucket/key.tif"),
        ("s3://bucket/what?#1.tif", "s3://bucket/what?#1.tif"),
        ("http://h/ort ü%231.tif?sv=1&sig=SECRET x", "http://h/ort ü%231.tif"),
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
    assert public_urls(text) == "HTTP 403 for 'https://h/a.tif' (retry of /vsis3 ), see why?"


@pytest.mark.parametrize(
    ("href", "shown", "access"),
    [
        ("https://h/a.tif?sig=1&x=a?b", "https://h/a.tif", "sig=1&x=a?b"),
        ("https://h/a.tif#part?no", "https://h/a.tif", ""),
        ("https://h/a%23b.tif", "https://h/a%23b.tif", ""),
        ("s3://b/a?b#c.tif", "s3://b/a?b#c.tif", ""),
        ("/data/what?.tif", "/data/what?.tif", ""),
    ],
)
def test_a_url_is_parted_from_its_token(href: str, shown: str, access: str) -> None:
    assert split_access(href) == (shown, access)
    assert join_access(shown, access) == href.partition("#part")[0]


@pytest.mark.parametrize(
    ("href", "encoded"),
    [
        ("HTTP://h/ort ü%231.tif?sig=a%2Fb", "http://h/ort%20%C3%BC%231.tif?sig=a%2Fb"),
        ("https://h/a.tif?sig=a+b==&x='q'", "https://h/a.tif?sig=a+b==&x=%27q%27"),
        ("https://h/a.tif", "https://h/a.tif"),
        ("s3://b/a b.tif", "s3://b/a b.tif"),
        ("/data/a b.tif", "/data/a b.tif"),
    ],
)
def test_urls_are_encoded_where_they_must_be(href: str, encoded: str) -> None:
    assert encoded_url(href) == encoded
    assert encoded_url(encoded) == encoded


@settings(deadline=None)
@given(
    path=st.text(max_size=20), secret=st.from_regex(r"[A-Z]{12}", fullmatch=True), before=st.text(max_size=5)
)
def test_no_text_around_an_encoded_url_shows_its_token(path: str, secret: str, before: str) -> None:
    url = encoded_url(f"https://host/{path}?sig={secret}")
    assert secret not in public_urls(f"{before}{url} could not be read")
    assert secret not in public_href(f"https://host/{path}?sig={secret}")


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert public_urls(public_urls(text)) == public_urls(text)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1))
def test_a_link_leads_back_to_its_file(name: str) -> None:
    path = f"/data/{name}"
    link = link_href(path)
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("file", "", "", "")
    assert unquote(parts.path) == str(Path(path).absolute())
    assert link.isascii()
    assert " " not in link


@pytest.mark.parametrize(
    ("href", "link"),
    [
        ("https://h:8080/a b%20c.tif?sig=SECRET", "https://h:8080/a%20b%20c.tif"),
        ("https://user:pa55@host/ö.tif#frag", "https://host/%C3%B6.tif"),
        ("s3://bucket/50% (1)#2.tif", "s3://bucket/50%25%20%281%29%232.tif"),
    ],
)
def test_links_to_servers_are_encoded_and_hold_no_secret(href: str, link: str) -> None:
    assert link_href(href) == link
