"""Hrefs as they may be stored: without query string, fragment or user name.

Pre-signed URLs and SAS tokens carry credentials in the query string, and `https://user:password@host/`
carries them in front of the host. Everything that a run leaves behind (run.json, records, GeoParquet, STAC,
report) goes through these two functions first. What pins the content of a scene is its ETag and size, never
its token.
"""

from __future__ import annotations

import re

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<rest>[^\s'\"<>]*)")
_VSI_OPTIONS = re.compile(r"(?P<prefix>/vsi[a-z0-9_]+)\?[^\s'\"<>]*")


def public_text(text: str) -> str:
    """`text` with every URL in it reduced to scheme, host and path; other text is untouched."""
    return _URL.sub(_public_url, _VSI_OPTIONS.sub(r"\g<prefix>", text))


def public_href(href: str) -> str:
    """One href without query string, fragment and user name; local paths come back unchanged."""
    return public_text(href) if "://" in href or href.startswith("/vsi") else href


def _public_url(match: re.Match[str]) -> str:
    rest = re.split(r"[?#]", match["rest"], maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{match['scheme']}{host.rpartition('@')[2]}{slash}{path}"
