"""Is this query safe to put into a model's prompt?

Tokenizers read control tokens in user text as control tokens: `<|im_end|>` in a query ends the user's
turn, and one more `<|image_pad|>` breaks the count of image placeholders and fails the request. The model has
no tools, so the worst a query can do is spoil its own run; it should then fail before a model is loaded,
with a sentence.
"""

from __future__ import annotations

import re
import unicodedata

from pipeline.errors import InputError

MAX_QUERY_CHARS = 512
"""Longest query of a run, in characters after normalisation. A region asks it of every tile. What it is in
tokens, and whether these fit into a model's context, depends on the checkpoint: `checkpoint.check_questions`.
"""

_CONTROL_TOKEN = re.compile(r"<\s*\|.*?\|\s*>|<\|", re.DOTALL)
_REPLY_TAG = re.compile(r"<\s*/?\s*(?:think|answer)\s*>", re.IGNORECASE)
_INVISIBLE = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories no query needs: control, surrogate, private use, unassigned, line and paragraph
separators.
"""
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction overrides: they make a report show another query than the model read."""


def check_query(text: object, *, max_chars: int = MAX_QUERY_CHARS) -> str:
    """The query in NFC, without white space around it.

    Raises: InputError: it is no text (queries come from JSON files too), empty, longer than `max_chars`
        characters, or holds control tokens (`<|...|>`), reply tags (`<think>`, `<answer>`), control
        characters or direction overrides.
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
                remedy="take them out of the question",
            )
    for char in query:
        if unicodedata.category(char) in _INVISIBLE or char in _BIDI:
            what = "a query must be one line of printable text"
            raise InputError(what, came=f"the character {char!a}", remedy="take it out of the question")
    return query
