"""Hrefs as they may be stored and shown: without query string, fragment or user name.

Pre-signed URLs and SAS tokens carry credentials in the query string, `https://user:password@host/` before the
host.

1. `encoded_url` and `split_access` take a source's URL apart when it is named, so that no message about a
   scene can hold its token. `join_access` puts it together where it is opened.
2. `public_href` strips the hrefs that a run leaves behind, `public_urls` those inside a text, and `link_href`
   the links of the catalogue entry. `public_text.py` is the rule for texts, of which this is a part.
"""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{0,30}://)(?P<rest>[^\s'\"<>]*)")
_WHOLE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<rest>.*)", re.DOTALL)
_VSI_OPTIONS = re.compile(r"(?P<prefix>/vsi[a-z0-9_]+)\?[^\s'\"<>]*")

_KEPT = "%/:@!$&()*+,;=~-._"
"""Characters that stay as they are in a URL's path and query string. `%` begins what is encoded already."""

_PLAIN_URL = re.compile(r"https?://[^/?#]*(?:/[A-Za-z0-9_.\-~%/:@!$&()*+,;=?#]*)?")
"""URLs that are written as they have to be."""


def public_urls(text: str) -> str:
    """Reduce every URL in `text` to scheme, host and path. Other text stays."""
    return _URL.sub(_public_url, _VSI_OPTIONS.sub(r"\g<prefix>", text))


def public_href(href: str) -> str:
    """Strip query string, fragment and user name from one href, which may hold blanks. Local paths stay."""
    if whole := _WHOLE.fullmatch(href):
        return _public_url(whole)
    return public_urls(href) if "://" in href or href.startswith("/vsi") else href


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


def split_access(href: str) -> tuple[str, str]:
    """Split an http(s) URL into what may be shown and its query string. Other hrefs come back whole.

    A fragment is dropped. `join_access` puts the two together again.
    """
    if not href.lower().startswith(("http://", "https://")):
        return href, ""
    shown, _, access = href.partition("#")[0].partition("?")
    return shown, access


def join_access(href: str, access: str) -> str:
    """Build the URL that is requested from the two results of `split_access`."""
    return f"{href}?{access}" if access else href


def encoded_url(href: str) -> str:
    """Percent-encode what must not stand in an http(s) URL, such as blanks and umlauts. The rest stays.

    `public_urls` finds the end of such a URL in any text. Other hrefs come back unchanged.
    """
    if not href.lower().startswith(("http://", "https://")):
        return href
    if _PLAIN_URL.fullmatch(href):
        return href
    scheme, _, rest = href.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host}{slash}{urllib.parse.quote(path, safe=_KEPT + '?#')}"


def _public_url(match: re.Match[str]) -> str:
    key = match["scheme"].lower() == "s3://" and "://" not in match["rest"]  # a key may hold both
    ends = r"\Z" if key else r"[?#]"
    rest = re.split(ends, match["rest"], maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{match['scheme']}{host.rpartition('@')[2]}{slash}{path}"
