"""The pixels of one window while scene after scene gives what is still missing.

1. The first valid pixel wins (`fill`). `is_full` says that later scenes need not be read.
2. `scenes` says which scene gave each pixel. Its image is made for the second scene only.
3. `hidden` says where there is imagery, but all of it shows clouds or the like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tiling import Window


@dataclass(frozen=True, kw_only=True)
class OwnPixels:
    """A window of one scene on the run grid."""

    rgb: NDArray[np.uint8]
    """(h, w, 3), black where invalid."""
    valid: NDArray[np.bool_]
    """(h, w); True = imagery that shows the ground."""
    hidden: NDArray[np.bool_] | None
    """(h, w); True = imagery that does not. None: the scene has no mask, or no imagery here."""


class Canvas:
    """Takes the pixels of scenes, in order of priority.

    Where the first scene covers the whole window, its arrays become the canvas; they are not copied.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._pixels: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None = None
        self._hidden: NDArray[np.bool_] | None = None
        self._numbers: list[int] = []
        self._image: NDArray[np.uint16] | None = None

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3), black where invalid."""
        return self._made()[0]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W); True = a scene has given the pixel."""
        return self._made()[1]

    def _made(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        if self._pixels is None:
            shape = self._window.shape
            self._pixels = np.zeros((*shape, 3), dtype=np.uint8), np.zeros(shape, dtype=np.bool_)
        return self._pixels

    def is_full(self, window: Window) -> bool:
        """Whether all pixels of a part of the window are valid."""
        return self._pixels is not None and bool(self.valid[window.slices_in(self._window)].all())

    def fill(self, window: Window, pixels: OwnPixels, *, number: int) -> None:
        """Take a scene's pixels where nothing is valid yet. The scene's arrays may become the canvas.

        `number` is the scene's place in the list; it never falls from call to call.
        """
        slices = window.slices_in(self._window)
        if pixels.hidden is not None and pixels.hidden.any():
            if self._hidden is None:
                self._hidden = np.zeros(self._window.shape, dtype=np.bool_)
            self._hidden[slices] |= pixels.hidden
        if self._pixels is None and window == self._window:
            self._remember(slices, pixels.valid, number)
            self._pixels = pixels.rgb, pixels.valid
            return
        own_rgb = self.rgb[slices]
        own_valid = self.valid[slices]
        untouched = not own_valid.any()
        take = pixels.valid if untouched else pixels.valid & ~own_valid
        self._remember(slices, take, number)
        if untouched:
            own_rgb[...] = pixels.rgb
        else:
            np.copyto(own_rgb, pixels.rgb, where=take[..., None])
        own_valid |= take

    def _remember(self, slices: tuple[slice, slice], take: NDArray[np.bool_], number: int) -> None:
        """Note which scene the pixels of `take` come from. The image is made for the second scene only."""
        if number not in self._numbers[-1:]:
            if not take.any():
                return
            if self._numbers and self._image is None:
                self._image = self.valid.astype(np.uint16)
            self._numbers.append(number)
        if self._image is not None:
            self._image[slices][take] = len(self._numbers)

    def hidden(self) -> NDArray[np.bool_] | None:
        """Imagery that no scene shows, (H, W). None: there is none."""
        if self._hidden is None:
            return None
        hidden: NDArray[np.bool_] = self._hidden & ~self.valid
        return hidden if hidden.any() else None

    def scenes(self) -> ScenePixels:
        """Which scene gave each pixel so far."""
        return ScenePixels(numbers=tuple(self._numbers), image=self._image)
