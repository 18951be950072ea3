"""The truth as a prompter: every object of a label raster that is visible in a tile, as box and interior
points.

It answers every query alike. Together with the oracle segmenter, which turns a prompt labelled
`oracle:<n>` into the pixels of local object n, it separates what the pipeline does from what the models do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import SourceError
from pipeline.schema import Prompt, Reason, RunGrid, TileImage, TilePrompts, TileStatus
from pipeline.world.oracle import OracleTruth, parse_oracle

LABEL_PREFIX = "oracle:"


class OraclePrompter:
    """Reads an aligned label raster."""

    def __init__(self, model: str, grid: RunGrid) -> None:
        """`model` is `oracle:PATH[?noise=...&seed=...]`. Raises InputError: bad text, no such raster, another
        lattice.
        """
        spec = parse_oracle(model)
        self._truth = OracleTruth.on_grid(spec, grid)
        self._model_id = f"oracle:{Path(spec.labels_href).name}?noise={spec.noise or 'none'}&seed={spec.seed}"

    @property
    def model_id(self) -> str:
        """`oracle:`, file name and noise."""
        return self._model_id

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """The same prompts for every query; EMPTY when no object is visible, FAILED when the raster cannot be
        read.
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
        return [
            TilePrompts(
                tile_id=image.tile.tile_id,
                query_index=index,
                status=status,
                reason=reason,
                prompts=prompts,
                error=error,
            )
            for index in range(len(queries))
        ]

    def close(self) -> None:
        """Nothing to give back: the raster is opened on the first read and closed with the object."""


def object_prompts(labels: NDArray[np.int32]) -> tuple[Prompt, ...]:
    """One prompt per label value above 0, ascending: the box of its pixel edges and one or two points inside.

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
    """Two pixel centres (x, y) well inside a mask that has pixels; one when it has a single such pixel.

    The first is the pixel deepest inside; the second, among those at least half as deep, the one farthest
    from it.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    deep_rows, deep_cols = np.nonzero(depth >= depth[row, col] / 2)
    far = int(((deep_rows - row) ** 2 + (deep_cols - col) ** 2).argmax())
    points = dict.fromkeys(
        ((float(col) + 0.5, float(row) + 0.5), (float(deep_cols[far]) + 0.5, float(deep_rows[far]) + 0.5))
    )
    return list(points)
