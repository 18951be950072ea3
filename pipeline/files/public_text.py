"""The one rule for texts that leave a run, whoever wrote them: models, catalogues, servers, libraries.

1. `visible` takes out what a screen would obey or hide: escape sequences, control characters, and marks that
   turn the direction of text or are never shown.
2. `without_secrets` reduces URLs to scheme, host and path, and puts HIDDEN for what gives access: values of
   this process's secret variables wherever they appear, keys of known shape, and what stands behind a name
   like `sig=`, `token=` or `Authorization:`.
3. `public_text` does both, and cuts. `public_line` makes one line of it. `public_json` is a document of which
   no reader's screen obeys a character.

A secret without a known shape, without such a name before it, and in no variable, cannot be told from other
text.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache

from pipeline.files.hrefs import public_urls

HIDDEN = "***"
"""Stands for a secret."""

CUT = "…"
"""Ends a text that was cut."""

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erasing (ECMA-48)
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS: titles, links
    r"|\x1b[ -/]*[0-~]"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_NEVER_SHOWN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # controls but tab and line feed
    "\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f"  # of no width; tag characters, which hide text
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # direction
    "\ufff9-\ufffb]"  # annotations
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNREADABLE_JSON = re.compile(f"{_NEVER_SHOWN.pattern}|{_SURROGATES.pattern}|[\u2028\u2029]")

_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"  # AWS access keys
    r"|\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}"
    r"|\beyJ[\w-]{8,2000}\.[\w-]{8,4000}\.[\w-]*"  # JSON Web Tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_BEARER = re.compile(r"\b(bearer)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_AUTHORIZATION = re.compile(
    r"\b((?:proxy-|x-ray-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:[A-Za-z][\w-]* +)?[^\s\"',;}]+",
    re.IGNORECASE,
)
_NAME = (
    r"(?<![\w.-])(?:[\w.-]*(?:secret|token|password|passwd|signature|credential"
    r"|(?:secret|access|api|account|subscription|private|shared)[_-]?key)|sig)"
)
_VALUE = r"[^\s\"'&;,<>)\]}]+"
_NAMED = re.compile(
    rf"({_NAME}(?:=|%3D)[\"']?|{_NAME}[\"']\s*[:=]\s*[\"']){_VALUE}"  # in URLs, settings and documents
    # headers
    r"|(?<![\w.-])((?:[A-Za-z0-9]+[_-]){1,6}(?:token|key|signature|secret|password):\s*)[^\s\"',;]{6,}",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,100}:[^\s/@\"'<>]{1,200}@(?=[\w\[])")

_SECRET_VARIABLE = re.compile(r"(?:SECRET|TOKEN|PASSWORD|PASSWD|_KEY)$|SECRET_|_SAS(?:_|$)")
_LONGEST_SECRET_CHARS = 8192
"""What is read beyond the end of a text that is cut, so that no half of a secret goes unseen."""

_LEAST_SECRET_CHARS = 8
"""Values of variables that are shorter say too little, and appear in harmless texts."""


def public_text(text: str, *, most_chars: int | None = None) -> str:
    """Make a text fit for screens, logs, tables and pages. Line breaks and tabs stay.

    `most_chars`: a longer result is cut and ends with CUT. Doing it twice is doing it once.
    """
    if not text:
        return text
    if most_chars is not None:
        text = text[: most_chars + _LONGEST_SECRET_CHARS]
    shown = without_secrets(visible(text))
    return shown if most_chars is None else cut(shown, most_chars)


def public_line(text: str, *, most_chars: int | None = None) -> str:
    """Make `public_text` of one line, with single blanks."""
    line = " ".join(public_text(text).split())
    return line if most_chars is None else cut(line, most_chars)


def visible(text: str) -> str:
    """Take out what a screen obeys or does not show; a lone surrogate becomes `?`."""
    if text.isprintable() and text.isascii():
        return text
    text = _ESCAPES.sub("", text)  # what is left of nested ones loses its escape character
    text = _NEVER_SHOWN.sub("", _LINE_ENDS.sub("\n", text))
    return _SURROGATES.sub("?", text)


def without_secrets(text: str) -> str:
    """Put HIDDEN for what gives access, and strip URLs of their query strings and user names."""
    for value in secret_values():
        text = text.replace(value, HIDDEN)
    text = _SHAPES.sub(HIDDEN, public_urls(text))
    text = _AUTHORIZATION.sub(rf"\g<1>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<1>\g<2>{HIDDEN}", text)
    text = _NAMED.sub(lambda match: f"{match[1] or match[2]}{HIDDEN}", text)
    return _USER.sub(f"{HIDDEN}@", text)


def cut(text: str, most_chars: int) -> str:
    """Shorten a text to `most_chars` characters, of which the last is then CUT."""
    return text if len(text) <= most_chars else text[: most_chars - 1] + CUT


def public_json(document: object, *, indent: int | None = 2) -> str:
    """Write a document as JSON. Characters that no screen shows are escaped, and read back as they were.

    Mappings of any kind are objects. Raises ValueError for NaN and infinity.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False, default=dict)
    return _UNREADABLE_JSON.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


@cache
def secret_values() -> tuple[str, ...]:
    """The values of variables whose names say that they are secrets, longest first; read once per process."""
    values = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name.upper())}
    long = (value for value in values if len(value) >= _LEAST_SECRET_CHARS and not value.startswith("/"))
    return tuple(sorted(long, key=len, reverse=True))
