"""A crop per object: each prompt with a box is drawn on a picture of its own, in which the object is large.

1. `embed` encodes nothing. It keeps the tile's pixels.
2. `crop_window` cuts a square around the box, in which the box's longer side takes a given share. It is moved
   to lie within the tile, as far as that goes, and no smaller than MIN_CROP_PX.
3. `segment` has the inner segmenter encode the square at its full size and draw there. The mask moves back to
   its place in the tile.

Each box costs an encoding, where a whole tile costs one: some seconds per object on a CPU. A prompt of points
alone says nothing of the object's size, and is drawn on the whole tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.segmenter import Embedding, Segmenter

MIN_CROP_PX = 64
"""Smallest side of a crop: enlarged more, a picture shows its own pixels."""


class CropSegmenter:
    """A `Segmenter` that lets another one draw on crops."""

    def __init__(self, inner: Segmenter, share: float) -> None:
        """`inner` pads no image to more than its own longer side. `share`: of the crop's side that the box's
        longer side takes, above 0 and at most 1.
        """
        self._inner = inner
        self._share = share

    @property
    def model_id(self) -> str:
        """That of the inner segmenter."""
        return self._inner.model_id

    @property
    def n_embeddings(self) -> int:
        """Crops and tiles encoded so far."""
        return self._inner.n_embeddings

    def usage(self) -> dict[str, int]:
        """What the inner segmenter counts."""
        return dict(getattr(self._inner, "usage", dict)())

    def load_times(self) -> Mapping[str, float]:
        """What the inner segmenter tells."""
        told: Mapping[str, float] = getattr(self._inner, "load_times", dict)()
        return told

    def embed(self, image: TileImage) -> Embedding:
        """Keep the tile: its crops are encoded when prompts come."""
        height, width = image.rgb.shape[:2]
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=image,
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Draw each prompt, in order, as `Segmenter` promises. Raises ModelError."""
        image = embedding.features
        assert isinstance(image, TileImage), "an embedding belongs to the segmenter that made it"
        masks: list[MaskCrop] = []
        on_tile = [index for index, prompt in enumerate(prompts) if prompt.box_xyxy is None]
        if on_tile:
            drawn = self._inner.segment(self._inner.embed(image), [prompts[index] for index in on_tile])
            masks += [replace(mask, prompt_index=on_tile[mask.prompt_index]) for mask in drawn]
        for index, prompt in enumerate(prompts):
            if prompt.box_xyxy is None:
                continue
            window = crop_window(prompt.box_xyxy, embedding.shape_px, self._share)
            crop = cropped(image, window)
            for mask in self._inner.segment(self._inner.embed(crop), [moved(prompt, window)]):
                masks.append(
                    replace(
                        mask,
                        row0=mask.row0 + window.row0,
                        col0=mask.col0 + window.col0,
                        prompt_index=index,
                    )
                )
        return sorted(masks, key=lambda mask: mask.prompt_index)


def crop_window(
    box_xyxy: tuple[float, float, float, float], shape_px: tuple[int, int], share: float
) -> Window:
    """Choose the crop for a box, in pixels of a tile of (height, width)."""
    x0, y0, x1, y1 = box_xyxy
    side = max(round(max(x1 - x0, y1 - y0) / share), MIN_CROP_PX)
    starts = []
    for low, high, whole in ((y0, y1, shape_px[0]), (x0, x1, shape_px[1])):
        length = min(side, whole)
        start = round((low + high - length) / 2)
        starts.append((min(max(start, 0), whole - length), length))
    (row0, rows), (col0, cols) = starts
    return Window(row0=row0, col0=col0, row1=row0 + rows, col1=col0 + cols)


def cropped(image: TileImage, window: Window) -> TileImage:
    """Cut a window, in pixels of the tile, out of its picture."""
    rows = slice(window.row0, window.row1)
    cols = slice(window.col0, window.col1)
    place = window.shifted(image.tile.read.row0, image.tile.read.col0)
    tile = TileSpec(tile_row=image.tile.tile_row, tile_col=image.tile.tile_col, core=place, read=place)
    return TileImage(tile=tile, rgb=image.rgb[rows, cols], valid=image.valid[rows, cols])


def moved(prompt: Prompt, window: Window) -> Prompt:
    """A prompt of the tile, in pixels of a window of it. Points beyond the window are left out."""
    assert prompt.box_xyxy is not None, "only boxes have crops"
    x0, y0, x1, y1 = prompt.box_xyxy
    inside = [
        (x - window.col0, y - window.row0, label)
        for (x, y), label in zip(prompt.points_xy, prompt.point_labels, strict=True)
        if window.col0 <= x <= window.col1 and window.row0 <= y <= window.row1
    ]
    return replace(
        prompt,
        box_xyxy=(x0 - window.col0, y0 - window.row0, x1 - window.col0, y1 - window.row0),
        points_xy=tuple((x, y) for x, y, _ in inside),
        point_labels=tuple(label for _, _, label in inside),
    )
