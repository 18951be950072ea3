"""Hrefs as they may be stored: without query string, fragment or user name.

Pre-signed URLs and SAS tokens carry credentials in the query string, `https://user:password@host/` before the
host. Everything that a run leaves behind goes through these two functions first. A scene's content is pinned
by ETag and size, never by its token.
"""

from __future__ import annotations

import re

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<rest>[^\s'\"<>]*)")
_VSI_OPTIONS = re.compile(r"(?P<prefix>/vsi[a-z0-9_]+)\?[^\s'\"<>]*")


def public_text(text: str) -> str:
    """Reduce every URL in `text` to scheme, host and path; other text is untouched."""
    return _URL.sub(_public_url, _VSI_OPTIONS.sub(r"\g<prefix>", text))


def public_href(href: str) -> str:
    """Strip query string, fragment and user name from one href; local paths come back unchanged."""
    return public_text(href) if "://" in href or href.startswith("/vsi") else href


def _public_url(match: re.Match[str]) -> str:
    rest = re.split(r"[?#]", match["rest"], maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{match['scheme']}{host.rpartition('@')[2]}{slash}{path}"
