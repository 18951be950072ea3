"""Clouds and their shadows, computed from a scene's own bands by ukis-csmask.

Wieland, Li and Martinis, "Multi-sensor cloud and cloud shadow segmentation with a convolutional neural
network", Remote Sensing of Environment 230 (2019). The package ships the networks; this module feeds them.

1. `ComputedMask` opens blue, green, red, near infrared and two bands of short-wave infrared. The mask has the
   pixels of the coarsest of them, on which the others are averaged.
2. `_block` computes CORE_PX x CORE_PX pixels in one call, from a picture of PATCH_PX that shows MARGIN_PX
   more on each side. Blocks are counted from the scene's first pixel, so no pixel depends on the tiles of a
   run. The package's own class cuts anew whatever it is given and blends, so its answer does depend on the
   cut; it also looks at every pixel four times and loads its network for each call.
3. `ComputedMask.marks` gives each pixel of the run grid the class of its nearest pixel. Cloud and shadow hide
   the ground. Where no band holds a value, nothing is computed.

One thread computes, because sums in another order may turn a class.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window as RasterWindow

from pipeline.files.raster_access import open_quality
from pipeline.load.mask_lattice import Marks, MaskLattice, refused
from pipeline.schema.imagery import Scene
from pipeline.schema.quality_rule import QualityRule
from pipeline.schema.tiling import RunGrid, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

PATCH_PX = 256
"""Side of the picture that the network sees, as it was trained."""

MARGIN_PX = 32
"""Pixels around a block that the network sees too. 48 changed no figure by more than 0.006 on the published
chips, and costs twice the calls.
"""

CORE_PX = PATCH_PX - 2 * MARGIN_PX

CACHED_BLOCKS = 512
"""Blocks of classes that stay in memory, of 37 kB each."""

STRIP_ROWS = 64
"""Rows of a run grid of another CRS that are projected at once."""


@dataclass(frozen=True, kw_only=True)
class CloudNetwork:
    """A network in memory."""

    session: Any
    mean: NDArray[np.float32]
    """(bands, 1, 1) of reflectance."""
    spread: NDArray[np.float32]

    def classes(self, reflectance: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Find 0 = clear, 1 = cloud, 2 = cloud shadow of (bands, PATCH_PX, PATCH_PX), blue to SWIR 2."""
        picture = (reflectance - self.mean) / self.spread
        name = self.session.get_inputs()[0].name
        (logits,) = self.session.run(None, {name: picture[None]})
        found: NDArray[np.uint8] = logits[0].argmax(axis=0).astype(np.uint8)
        return found


@lru_cache(maxsize=2)
def load_network(model: str) -> CloudNetwork:
    """Load `csmask-l1c` (top of atmosphere) or `csmask-l2a` (surface) of six bands, once per process."""
    import onnxruntime
    import ukis_csmask

    path = Path(ukis_csmask.__file__).parent / f"model_6b_{model.removeprefix('csmask-')}.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    statistics = json.loads(path.with_suffix(".json").read_text())["data"]["dataset_statistics"]
    mean, spread = (np.array(figures, dtype=np.float32)[:, None, None] for figures in statistics["img"])
    return CloudNetwork(session=session, mean=mean, spread=spread)


class ComputedMask:
    """`OpenMarks` of a scene without a mask."""

    def __init__(self, scene: Scene, grid: RunGrid, network: CloudNetwork | None = None) -> None:
        """Open the bands. `network`: in place of the one that the mask names.

        Raises SourceError: a file cannot be read, is not the planned one, or does not fit its scene.
        """
        quality = scene.quality
        assert quality is not None
        assert quality.reflectance is not None
        self._grid = grid
        self._rule = QualityRule.of(quality.rule)
        self._reflectance = quality.reflectance
        self._files = quality.bands
        self._network = network or load_network(quality.model)
        self._datasets: tuple[DatasetReader, ...] = open_quality(scene)
        self._blocks: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        try:
            self._lattices = tuple(
                self._placed(dataset, scene, number) for number, dataset in enumerate(self._datasets)
            )
        except BaseException:
            self.close()
            raise
        self._lattice = max(self._lattices, key=lambda own: abs(own.transform.determinant))

    def close(self) -> None:
        for dataset in self._datasets:
            dataset.close()

    def marks(self, window: Window) -> Marks:
        """Compute what is hidden in a window of the run grid, (h, w); what lies beyond the bands is."""
        places = self._lattice.crossing(self._grid, window)
        if places is not None:
            rows, cols = places
            hidden = self._hidden(rows[:, None], cols[None, :])
        else:
            hidden = np.concatenate(
                [
                    self._hidden_anywhere(
                        Window(
                            row0=top,
                            col0=window.col0,
                            row1=min(top + STRIP_ROWS, window.row1),
                            col1=window.col1,
                        )
                    )
                    for top in range(window.row0, window.row1, STRIP_ROWS)
                ]
            )
        return Marks(hidden=hidden, lacking=np.zeros(hidden.shape, dtype=np.bool_))

    def _hidden_anywhere(self, window: Window) -> NDArray[np.bool_]:
        rows, cols, known = self._lattice.scattered(self._grid, window)
        hidden = np.ones(window.shape, dtype=np.bool_)
        if known.any():
            hidden[known] = self._hidden(rows[known], cols[known])
        return hidden

    def _hidden(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether pixels of the mask hide the ground; `rows` and `cols` are broadcast."""
        row0 = int(rows.min())
        col0 = int(cols.min())
        region = self._region(row0, col0, int(rows.max()) + 1, int(cols.max()) + 1)
        return self._rule.hides(np.asarray(region[rows - row0, cols - col0]))

    def _region(self, row0: int, col0: int, row1: int, col1: int) -> NDArray[np.uint8]:
        """Classes of a part of the mask, pieced together from blocks."""
        top = row0 // CORE_PX
        left = col0 // CORE_PX
        bands = [
            np.concatenate([self._block(row, col) for col in range(left, (col1 - 1) // CORE_PX + 1)], axis=1)
            for row in range(top, (row1 - 1) // CORE_PX + 1)
        ]
        whole: NDArray[np.uint8] = np.concatenate(bands)
        return whole[
            row0 - top * CORE_PX : row1 - top * CORE_PX, col0 - left * CORE_PX : col1 - left * CORE_PX
        ]

    def _block(self, row: int, col: int) -> NDArray[np.uint8]:
        """Classes of one block (CORE_PX, CORE_PX), or of what of it lies on the mask."""
        if (row, col) in self._blocks:
            self._blocks.move_to_end((row, col))
            return self._blocks[row, col]
        while len(self._blocks) >= CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        self._blocks[row, col] = self._computed(row * CORE_PX, col * CORE_PX)
        return self._blocks[row, col]

    def _computed(self, row0: int, col0: int) -> NDArray[np.uint8]:
        lattice = self._lattice
        core = Window(
            row0=row0,
            col0=col0,
            row1=min(row0 + CORE_PX, lattice.height),
            col1=min(col0 + CORE_PX, lattice.width),
        )
        whole = Window(row0=0, col0=0, row1=lattice.height, col1=lattice.width)
        patch = Window(
            row0=row0 - MARGIN_PX,
            col0=col0 - MARGIN_PX,
            row1=row0 - MARGIN_PX + PATCH_PX,
            col1=col0 - MARGIN_PX + PATCH_PX,
        )
        seen = patch.intersect(whole)
        assert seen is not None
        values = np.stack([self._values(number, seen) for number in range(len(self._datasets))])
        if not values.any():
            return np.zeros(core.shape, dtype=np.uint8)
        edges = (
            (seen.row0 - patch.row0, patch.row1 - seen.row1),
            (seen.col0 - patch.col0, patch.col1 - seen.col1),
        )
        padded = np.pad(values, ((0, 0), *edges), mode="symmetric")
        known = np.asarray(self._reflectance.coefficients(len(values)), dtype=np.float32)[:, :, None, None]
        reflectance = padded * known[:, 0] + known[:, 1]
        rows, cols = core.slices_in(patch)
        return self._network.classes(reflectance.astype(np.float32))[rows, cols]

    def _values(self, number: int, window: Window) -> NDArray[np.float32]:
        """Stored values of one band on a window of the mask, averaged where it is finer. Nodata is 0."""
        own = self._lattices[number]
        move = own.places_of(self._lattice.transform)
        dataset = self._datasets[number]
        (left, top), (right, bottom) = (
            move @ (float(col), float(row))
            for col, row in ((window.col0, window.row0), (window.col1, window.row1))
        )
        place = RasterWindow.from_slices(
            (max(top, 0.0), min(bottom, float(own.height))), (max(left, 0.0), min(right, float(own.width)))
        )
        found = dataset.read(
            self._files[number].band,
            window=place,
            out_shape=window.shape,
            resampling=Resampling.average,
            masked=True,
        )
        values: NDArray[np.float32] = np.nan_to_num(found.astype(np.float32).filled(0))
        return values

    def _placed(self, dataset: DatasetReader, scene: Scene, number: int) -> MaskLattice:
        name = self._files[number].href
        if not 1 <= self._files[number].band <= dataset.count:
            raise refused(
                name, f"needs band {self._files[number].band}", f"{dataset.count} bands", "--mask off"
            )
        return MaskLattice.of(dataset, scene, name)
