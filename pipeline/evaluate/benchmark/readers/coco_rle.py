"""Decode masks in COCO's run-length encoding, without its library.

1. `counts` holds run lengths, as a list (`_listed`) or packed into a text (`_numbers`).
2. Runs go down the columns (column-major) and alternate between outside and inside, outside first
   (`decode_rle`).
3. `decode_union` joins several masks.

Source: COCO API, maskApi.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

_REMEDY = "fetch the annotation file again; it must hold COCO run-length masks"


def decode_rle(rle: Mapping[str, object]) -> NDArray[np.bool_]:
    """Decode `{"size": [height, width], "counts": text, bytes or list}` to a mask (H, W), True = inside.

    Raises InputError for a damaged mask.
    """
    height, width = rle_size(rle)
    counts = rle.get("counts")
    runs = _numbers(counts) if isinstance(counts, str | bytes) else _listed(counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        came = f"{len(runs)} runs that add up to {sum(runs)}"
        raise InputError(
            f"the runs of a mask of {height} x {width} px must add up to {height * width}",
            came=came,
            remedy=_REMEDY,
        )
    inside = np.arange(len(runs)) % 2 == 1
    flat = np.repeat(inside, np.asarray(runs, dtype=np.int64))
    return np.ascontiguousarray(flat.reshape(width, height).T)


def decode_union(rles: Sequence[Mapping[str, object]]) -> NDArray[np.bool_]:
    """Decode several masks to their union (H, W). Raises InputError for none, or for more than one size."""
    masks = [decode_rle(rle) for rle in rles]
    if not masks or len({mask.shape for mask in masks}) != 1:
        came = ", ".join(f"{mask.shape[0]} x {mask.shape[1]}" for mask in masks) or "none"
        raise InputError("the masks of one sample must be of one size", came=came, remedy=_REMEDY)
    union: NDArray[np.bool_] = np.logical_or.reduce(masks)
    return union


def rle_size(rle: Mapping[str, object]) -> tuple[int, int]:
    """Read the (height, width) that a mask states. Raises InputError."""
    size = rle.get("size") if isinstance(rle, Mapping) else None
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(isinstance(side, int) and side > 0 for side in size)
    ):
        raise InputError(
            'a run-length mask needs "size": [height, width]', came=repr(rle)[:80], remedy=_REMEDY
        )
    return int(size[0]), int(size[1])


def _listed(counts: object) -> list[int]:
    """Check run lengths that are a list already. Raises InputError."""
    if not isinstance(counts, Sequence) or not all(isinstance(run, int) for run in counts):
        raise InputError(
            'a run-length mask needs "counts" as text or as a list of whole numbers',
            came=repr(counts)[:80],
            remedy=_REMEDY,
        )
    return [int(run) for run in counts]


def _numbers(text: str | bytes) -> list[int]:
    """Unpack run lengths from text (maskApi.c, rleFrString). Raises InputError.

    Every number is cut into groups of five bits, lowest first. A group is one character, 48 + bits, + 32 if
    more groups follow. The highest bit of the last group is the sign. From the fourth number on, the text
    holds the difference to the number two places before.
    """
    runs: list[int] = []
    value = 0
    shift = 0
    for byte in text.encode("ascii", "replace") if isinstance(text, str) else text:
        bits = byte - 48
        if not 0 <= bits < 64:
            raise InputError(
                "a run-length mask holds characters from '0' to 'o'", came=repr(chr(byte)), remedy=_REMEDY
            )
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = 0
        shift = 0
    if shift:
        raise InputError(
            "a run-length mask must end with a whole number", came=f"...{text[-8:]!r}", remedy=_REMEDY
        )
    return runs
