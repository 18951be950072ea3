"""Which scene gave each pixel: reader, block record and merge all speak of it.

Where scenes overlap, the first with a valid pixel wins. A footprint alone does not tell whose pixels a model
saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenePixels:
    """Which scene gave each valid pixel of a window."""

    numbers: tuple[int, ...] = ()
    """Places in the run's list of scenes of those that gave a valid pixel, ascending. Empty: none did, or it
    is not known.
    """
    image: NDArray[np.uint16] | None = None
    """(H, W): 1 + index into `numbers`, 0 = no imagery. None: one scene gave all valid pixels."""

    def cut(self, slices: tuple[slice, slice], valid: NDArray[np.bool_]) -> ScenePixels:
        """Cut out a part of the window; scenes without a valid pixel in it are no longer listed.

        `slices`: numpy slices (rows, cols) of the part. `valid`: its validity (h, w).
        """
        if self.image is None:
            return self if valid.any() else ScenePixels()
        image = np.where(valid, self.image[slices], 0)
        places = np.unique(image[image > 0])
        numbers = tuple(self.numbers[place - 1] for place in places.tolist())
        if len(numbers) < 2:
            return ScenePixels(numbers=numbers)
        rank = np.zeros(len(self.numbers) + 1, dtype=np.uint16)
        rank[places] = np.arange(1, len(places) + 1)
        return ScenePixels(numbers=numbers, image=rank[image])
