"""Hrefs as they may be stored: without query string, fragment or user name.

Pre-signed URLs and SAS tokens carry credentials in the query string, `https://user:password@host/` before the
host. Everything that a run leaves behind goes through `public_text` and `public_href` first, and links of the
catalogue entry through `link_href`. A scene's content is pinned by ETag and size, never by its token.
"""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<rest>[^\s'\"<>]*)")
_WHOLE_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<rest>.*)", re.DOTALL)
_VSI_OPTIONS = re.compile(r"(?P<prefix>/vsi[a-z0-9_]+)\?[^\s'\"<>]*")


def public_text(text: str) -> str:
    """Reduce every URL in `text` to scheme, host and path; other text is untouched."""
    return _URL.sub(_public_url, _VSI_OPTIONS.sub(r"\g<prefix>", text))


def public_href(href: str) -> str:
    """Strip query string, fragment and user name from one href; local paths come back unchanged."""
    if whole := _WHOLE_URL.fullmatch(href):  # a name in it may hold spaces and quotes
        return _public_url(whole)
    return public_text(href) if "://" in href or href.startswith("/vsi") else href


def link_href(href: str) -> str:
    """Make a URI reference that leads back to a source (RFC 3986): percent-encoded, and without credentials.

    A local path becomes a file:// URI. Paths and S3 keys are encoded as they are; in an http(s) URL what is
    encoded already stays.
    """
    if "://" not in href:
        return Path(href).absolute().as_uri()
    if href.lower().startswith("s3://"):
        bucket, slash, key = href[len("s3://") :].partition("/")
        return f"s3://{bucket}{slash}{urllib.parse.quote(key)}"
    return urllib.parse.quote(public_href(href), safe=":/%@!$&'()*+,;=~[]")


def _public_url(match: re.Match[str]) -> str:
    rest = re.split(r"[?#]", match["rest"], maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{match['scheme']}{host.rpartition('@')[2]}{slash}{path}"
