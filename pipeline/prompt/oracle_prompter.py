"""A prompter that knows the truth: a box and interior points for every object of a label raster in the tile.

It answers every query alike. The oracle segmenter turns its prompts (`oracle:<n>`) back into the pixels of
object n. A run with both shows what the pipeline does without any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import SourceError
from pipeline.prompt.prompter import same_for_all
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import RunGrid
from pipeline.world.oracle import OracleTruth, parse_oracle

LABEL_PREFIX = "oracle:"


class OraclePrompter:
    """A `Prompter` that reads an aligned label raster."""

    def __init__(self, model: str, grid: RunGrid) -> None:
        """`model` is `oracle:PATH[?noise=...&seed=...]`.

        Raises InputError for another text, a raster that is not there, or one on another lattice.
        """
        spec = parse_oracle(model)
        self._truth = OracleTruth.on_grid(spec, grid)
        self._model_id = f"oracle:{Path(spec.labels_href).name}?noise={spec.noise or 'none'}&seed={spec.seed}"

    @property
    def model_id(self) -> str:
        """`oracle:`, the file's name, noise and seed."""
        return self._model_id

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Give the same prompts for every query.

        EMPTY: no object is visible. FAILED: the raster cannot be read.
        """
        status = TileStatus.FOUND
        reason = Reason.NONE
        error = ""
        prompts: tuple[Prompt, ...] = ()
        try:
            prompts = object_prompts(self._truth.tile(image.tile).labels)
        except SourceError as failure:
            status = TileStatus.FAILED
            reason = Reason.MODEL_ERROR
            error = str(failure)
        else:
            if not prompts:
                status = TileStatus.EMPTY
                reason = Reason.PROMPTER
        answer = TilePrompts(
            tile_id=image.tile.tile_id,
            query_index=0,
            status=status,
            reason=reason,
            prompts=prompts,
            error=error,
        )
        return same_for_all(answer, len(queries))

    def close(self) -> None:
        """Do nothing: the raster is closed with the object."""


def object_prompts(labels: NDArray[np.int32]) -> tuple[Prompt, ...]:
    """Make one prompt per label value above 0, ascending: a box around its pixels and one or two inside.

    Args:
        labels: (H, W), 0 = background.
    """
    prompts = []
    for local, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        rows, cols = window
        points = tuple(
            (float(cols.start + x), float(rows.start + y))
            for x, y in interior_points(labels[window] == local)
        )
        prompts.append(
            Prompt(
                box_xyxy=(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)),
                points_xy=points,
                point_labels=(1,) * len(points),
                label=f"{LABEL_PREFIX}{local}",
            )
        )
    return tuple(prompts)


def interior_points(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Choose one or two pixel centres (x, y) well inside a mask (H, W) that is not empty.

    The first is the pixel deepest inside. The second is the farthest from it among those at least half as
    deep; without such a pixel there is only one.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    deep_rows, deep_cols = np.nonzero(depth >= depth[row, col] / 2)
    far = int(((deep_rows - row) ** 2 + (deep_cols - col) ** 2).argmax())
    points = dict.fromkeys(
        ((float(col) + 0.5, float(row) + 0.5), (float(deep_cols[far]) + 0.5, float(deep_rows[far]) + 0.5))
    )
    return list(points)
