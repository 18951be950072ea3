"""Hrefs are signed just before they are read, and nowhere else: a plan may be older than its tokens.

1. `signer_for` names the signer of an href. The name is all that a scene keeps, stores or pickles.
2. `signed` gives the URL to ask. It is called for every request, and costs nothing while a token is valid.
3. `renewed` gives another one after the server refused that.

There is a signer for the Planetary Computer. Others register under the entry point group
`terraquery.signers`: the entry's name is the signer's, and it loads to an object with the members of
`HrefSigner`. A signed URL never enters a message, a log or a file.
"""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Protocol

from pipeline.files.hrefs import public_href
from pipeline.files.remote_error import RemoteError
from pipeline.files.sas_tokens import PlanetaryComputerSigner

ENTRY_POINTS = "terraquery.signers"


class HrefSigner(Protocol):
    """Signs the hrefs of some hosts. Threads share it; each process makes its own."""

    @property
    def hosts(self) -> Sequence[str]:
        """Host names whose hrefs it signs; `*.host` for all below it."""
        ...

    def sign(self, href: str) -> str:
        """Give the URL to ask, with a token that is valid for some time. An href that holds one stays."""
        ...

    def renew(self, href: str) -> None:
        """Forget the token of an href, which a server refused."""
        ...


_renewing = threading.Lock()


def signer_for(href: str) -> str:
    """Name the signer of an href. Empty: none knows its host, or the href holds a query string already."""
    if "?" in href and urllib.parse.urlsplit(href).query:
        return ""
    patterns = tuple((name, tuple(signer.hosts)) for name, signer in _signers().items())
    return _signer_of("/".join(href.split("/", 3)[:3]), patterns)


@lru_cache(maxsize=1024)
def _signer_of(origin: str, signers: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """Name the signer of hrefs that begin so, with scheme and host.

    `signers`: names, and patterns of hosts.
    """
    parts = urllib.parse.urlsplit(origin)
    if parts.scheme.lower() not in ("http", "https"):
        return ""
    host = (parts.hostname or "").lower()
    for name, patterns in signers:
        if any(fnmatchcase(host, pattern.lower()) for pattern in patterns):
            return name
    return ""


def signed(href: str, signer: str) -> str:
    """Sign an href with the signer of that name; empty: it stays as it is. Raises RemoteError."""
    if not signer:
        return href
    made = _signers().get(signer)
    if made is None:
        raise RemoteError(
            public_href(href),
            f"its signer {signer} is not installed here",
            remedy="install the package of this signer on every machine of the run",
        )
    failure: RemoteError
    try:
        return made.sign(href)
    except RemoteError:
        raise
    except Exception as error:
        failure = RemoteError(
            public_href(href), f"its signer {signer} failed ({type(error).__name__})", retryable=True
        )
    raise failure  # not from within: the signer's own error may hold a token


def renewed(href: str, signer: str, *, refused: str) -> str:
    """Sign an href again after a server refused the URL `refused`. Raises RemoteError.

    Of many requests that are refused at once, one renews the token. The same URL comes back where the signer
    has no other one now.
    """
    with _renewing:
        current = signed(href, signer)
        if current != refused:
            return current
        _signers()[signer].renew(href)
        return signed(href, signer)


def refusal_remedy(url: str, signer: str) -> str:
    """Say what to do when a server refuses access to a URL."""
    if signer:
        return f"the signer {signer} gave new tokens, and they were refused as well: check your access there"
    if url != public_href(url):
        return "the token in the URL may have expired: sign the URL again, and give the same command with it"
    return "give a signed URL, or download the file and give its path"


@lru_cache(maxsize=1)
def _signers() -> dict[str, HrefSigner]:
    """Collect the signers of this process: those that are plugged in come first."""
    found: dict[str, HrefSigner] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        loaded = entry.load()
        found[entry.name] = loaded() if isinstance(loaded, type) else loaded
    found.setdefault(PlanetaryComputerSigner.name, PlanetaryComputerSigner())
    return found
