"""Text as people's tools write it: UTF-8 or UTF-16, with or without a byte order mark.

Windows' Notepad and Excel put a mark before UTF-8, and PowerShell's `>` writes UTF-16.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from pipeline.errors import InputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, what: str) -> str:
    """Read a text file of a user. Without a byte order mark it is UTF-8.

    `what` names the file in messages. Raises InputError when it cannot be read or is in another encoding.
    """
    try:
        data = path.read_bytes()
        return data.decode(next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8"))
    except OSError as error:
        raise InputError(
            f"{what} must be a readable file", came=f"{path}: {error}", remedy="check path and permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} must be text in UTF-8 or UTF-16", came=f"{path}: {error}", remedy="save it as UTF-8"
        ) from error
