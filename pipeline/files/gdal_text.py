"""What GDAL says of a failed read: its own text for logs, and plain words for people.

`gdal_message` is GDAL's text. `plain_message` says the same of damaged blocks without names of library calls;
other texts stay as they are.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(r"band (\d+): IReadBlock failed at X offset (\d+), Y offset (\d+)")
_LENGTHS = re.compile(r"got (\d+) bytes, expected (\d+)", re.IGNORECASE)
_CALLS = re.compile(r"\b(IReadBlock|TIFF(Read|Fill)\w+|[A-Za-z0-9]+Decode\w*)\b")
"""Calls of GDAL, libtiff and its decoders that fail at blocks which are damaged or cut off."""


def gdal_message(error: BaseException) -> str:
    """Read what GDAL said: the first and the innermost text of the chain, without rasterio's "see previous
    exception"."""
    texts = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        texts.append(str(error))
    said = [text for text in texts if not text.startswith("Read failed. See previous exception")] or texts
    return said[0] if said[-1] in said[0] else f"{said[0]} ({said[-1]})"


def plain_message(error: BaseException) -> str:
    """Say in plain words what GDAL could not read."""
    said = gdal_message(error)
    if not _CALLS.search(said):
        return said or type(error).__name__
    block = _BLOCK.search(said)
    where = f" (band {block[1]}, block row {block[3]}, block column {block[2]})" if block else ""
    lengths = _LENGTHS.search(said)
    missing = f": {lengths[1]} of its {lengths[2]} bytes are there" if lengths else ""
    return f"a block of its pixels is damaged or incomplete{where}{missing}"
