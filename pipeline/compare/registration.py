"""How far the second date is shifted against the first, in whole pixels, from the masks of both.

Most objects of a region do not change between two dates. So the masks of both agree best when the second is
moved back to where it belongs:

1. For every shift up to `most_px`, `agreements` counts on the common judged pixels how many are object at
   both dates, and how many at one at least (three correlations by FFT). Their quotient is the agreement.
2. `estimate_shift` takes the shift with the best agreement, of equal ones the shortest. One that is better
   than no shift by less than `LEAST_GAIN` is none. Where even the best is below `LEAST_AGREEMENT`, or too few
   pixels are object, the shift is not known.

A shift says nothing about single objects, and objects that all move the same way look like one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

LEAST_AGREEMENT = 0.3
"""Best agreement, 0..1, from which a shift is believed."""

LEAST_GAIN = 0.05
"""What a shift must add to the agreement. A few objects that changed add less by chance."""

LEAST_PX = 64
"""Object pixels that each date needs in the square."""


_LEAST_SHARE = 0.5
"""Share of the object pixels of the date with fewer that must lie where both were judged, for every shift."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """Where a pixel of the first date is found at the second: so many rows down and columns right."""

    rows: int
    cols: int
    agreement: float
    """After the second is moved back: pixels of objects at both dates over those at one at least, 0..1."""
    unmoved: float
    """The same without moving."""
    known: bool

    @property
    def px(self) -> float:
        """Length in pixels; 0 where it is not known."""
        return float(np.hypot(self.rows, self.cols)) if self.known else 0.0


UNKNOWN = Shift(rows=0, cols=0, agreement=0.0, unmoved=0.0, known=False)


def estimate_shift(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    judged_before: NDArray[np.bool_],
    judged_after: NDArray[np.bool_],
    *,
    most_px: int,
) -> Shift:
    """Estimate the shift of one square. All arrays: (H, W), on one lattice of pixels."""
    seen_before = before & judged_before
    seen_after = after & judged_after
    if min(seen_before.sum(), seen_after.sum()) < LEAST_PX:
        return UNKNOWN
    agreement = agreements(seen_before, seen_after, judged_before, judged_after, most_px=most_px)
    steps = np.arange(-most_px, most_px + 1)
    length = np.hypot(steps[:, None], steps[None, :])
    unmoved = float(agreement[most_px, most_px])
    if agreement.max() < unmoved + LEAST_GAIN:
        known = unmoved >= LEAST_AGREEMENT
        return Shift(rows=0, cols=0, agreement=unmoved, unmoved=unmoved, known=known)
    best = agreement.max()
    shortest = np.where(agreement >= best - 1e-9, length, np.inf)
    row, col = np.unravel_index(int(shortest.argmin()), agreement.shape)
    return Shift(
        rows=int(steps[row]),
        cols=int(steps[col]),
        agreement=float(best),
        unmoved=unmoved,
        known=bool(best >= LEAST_AGREEMENT),
    )


def agreements(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    judged_before: NDArray[np.bool_],
    judged_after: NDArray[np.bool_],
    *,
    most_px: int,
) -> NDArray[np.float64]:
    """(2 * most_px + 1, same) agreement for every shift of the second date, rows first, from -most_px on.

    Objects must be judged pixels. 0 where so few of them can be compared that it would say nothing.
    """
    size = [fft.next_fast_len(max(side, most_px + 1) + most_px, real=True) for side in before.shape]
    spectra = [
        fft.rfft2(array.astype(np.float32), size) for array in (before, judged_before, after, judged_after)
    ]
    objects, judged, objects_after, judged_after_f = spectra

    def count(first: NDArray[np.complex64], second: NDArray[np.complex64]) -> NDArray[np.float64]:
        """For each shift: how many pixels p are in the first, with p + shift in the second."""
        found = fft.irfft2(np.conj(first) * second, size)
        near = np.roll(found, (most_px, most_px), axis=(0, 1))[: 2 * most_px + 1, : 2 * most_px + 1]
        return np.asarray(np.round(near), dtype=np.float64)

    both = count(objects, objects_after)
    either = count(objects, judged_after_f) + count(judged, objects_after) - both
    enough = either >= max(_LEAST_SHARE * min(before.sum(), after.sum()), 1)
    return np.divide(both, either, out=np.zeros_like(both), where=enough)
