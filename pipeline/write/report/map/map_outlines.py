"""Outlines and other whole numbers as short text, for a page that is one file.

1. `outlines_text` rounds vertices to a step, writes the way from each to the next (`zigzag`), and how many
   vertices a ring and how many rings an object has.
2. `varints` writes whole numbers in as few bytes as they need, seven bits each, the lowest first (Protocol
   Buffers, "Base 128 Varints").
3. `run_lengths` writes a raster row by row as pairs (value, how often).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

_MOST_BYTES = 10


@dataclass(frozen=True, kw_only=True)
class OutlinesText:
    """Outlines of objects, each text base64 of varints."""

    rings: str
    """Rings per object."""
    points: str
    """Vertices per ring; the first is not repeated."""
    steps: str
    """Zigzag of (x, y) steps from vertex to vertex, over all rings and objects; the first is from (0, 0)."""


def varints(numbers: NDArray[np.integer]) -> bytes:
    """Encode whole numbers >= 0, (n,)."""
    values = numbers.astype(np.uint64)
    if not len(values):
        return b""
    shifts = np.uint64(7) * np.arange(_MOST_BYTES, dtype=np.uint64)
    groups = values[:, None] >> shifts
    needed = groups > 0
    needed[:, 0] = True
    parts = (groups & np.uint64(0x7F)).astype(np.uint8)
    parts[:, :-1] |= (needed[:, 1:].astype(np.uint8)) << 7
    return bytes(parts[needed].tobytes())


def zigzag(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Make whole numbers of either sign ones >= 0, small where they were near 0."""
    return np.asarray((numbers << 1) ^ (numbers >> 63), dtype=np.int64).view(np.uint64)


def base64_text(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def run_lengths(codes: NDArray[np.integer]) -> str:
    """Encode a raster of whole numbers >= 0 as base64 of varints: value, length, value, length, ..."""
    flat = np.asarray(codes).ravel()
    starts = (
        np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]])) if len(flat) else np.zeros(0, int)
    )
    pairs = np.column_stack([flat[starts], np.diff(np.append(starts, len(flat)))])
    return base64_text(varints(pairs.ravel()))


def outlines_text(geometries: NDArray[np.object_], *, step_px: float) -> OutlinesText:
    """Encode polygons and multipolygons (n,), in pixels, to the nearest `step_px`."""
    parts, of_object = shapely.get_parts(geometries, return_index=True)
    rings, of_part = shapely.get_rings(parts, return_index=True)
    rings_of = np.bincount(of_object[of_part], minlength=len(geometries))
    xy, of_ring = shapely.get_coordinates(rings, return_index=True)
    last = np.append(of_ring[1:] != of_ring[:-1], True) if len(xy) else np.zeros(0, dtype=np.bool_)
    kept = np.rint(xy[~last] / step_px).astype(np.int64)
    points_of = np.bincount(of_ring[~last], minlength=len(rings))
    steps = np.diff(kept, axis=0, prepend=np.zeros((1, 2), dtype=np.int64))
    return OutlinesText(
        rings=base64_text(varints(rings_of)),
        points=base64_text(varints(points_of)),
        steps=base64_text(varints(zigzag(steps.ravel()))),
    )
