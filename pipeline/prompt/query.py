"""Check that a query may stand in a model's prompt.

Tokenizers do not tell control tokens in a user's text from real ones. `<|im_end|>` in a query ends the user's
turn; an extra `<|image_pad|>` breaks the count of images and fails the request. The model has no tools, so
such a query spoils only its own run. It should still fail clearly, before a model is loaded.
"""

from __future__ import annotations

import re
import unicodedata

from pipeline.errors import InputError

MAX_QUERY_CHARS = 512
"""Longest query of a run, in characters after normalisation; it is asked of every tile.

How many tokens it makes, and whether they fit the context, depends on the checkpoint
(`prompter_checkpoint.check_context`).
"""

_CONTROL_TOKEN = re.compile(r"<\s*\|.*?\|\s*>|<\|", re.DOTALL)
_REPLY_TAG = re.compile(r"<\s*/?\s*(?:think|answer)\s*>", re.IGNORECASE)
_INVISIBLE = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that no query needs: control, surrogate, private use, unassigned, line and paragraph
separators.
"""
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction overrides: they make a report show another query than the model read."""


def check_query(text: object, *, max_chars: int = MAX_QUERY_CHARS) -> str:
    """Normalise a query: to NFC, without white space around it.

    Raises:
        InputError: it is not text (queries may come from JSON files), it is empty, it is longer than
            `max_chars` characters, or it holds control tokens (`<|...|>`), reply tags (`<think>`,
            `<answer>`), control characters or direction overrides.
    """
    if not isinstance(text, str):
        raise InputError(
            "a query must be text",
            came=repr(text)[:80],
            remedy='put it in quotes, for example {"query": "storage tanks"}',
        )
    query = unicodedata.normalize("NFC", text).strip()
    if not query:
        raise InputError(
            "a query must hold text",
            came=repr(text),
            remedy='ask a query, for example --query "storage tanks"',
        )
    if len(query) > max_chars:
        what = f"a query may have at most {max_chars} characters"
        raise InputError(what, came=f"{len(query)} characters", remedy="ask a shorter query")
    for pattern, what in ((_CONTROL_TOKEN, "control tokens"), (_REPLY_TAG, "reply tags")):
        if found := pattern.search(query):
            raise InputError(
                f"a query may not hold {what} of the model",
                came=repr(found.group()),
                remedy="take them out of the query",
            )
    for char in query:
        if unicodedata.category(char) in _INVISIBLE or char in _BIDI:
            what = "a query must be one line of printable text"
            raise InputError(what, came=f"the character {char!a}", remedy="take it out of the query")
    return query
