"""Ours: the merge that a run ships, from committed block records to Zarr rasters and GeoParquet instances.

`prepare` writes the block records that the segmenting workers leave behind. `merge` is phase two of a run on
these files, in this process: `pipeline.run.merge` with its files, compression and tables. `export` reads the
published raster.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[4]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402 - after the paths above
from exchange import Outputs, TileMasks, answer  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from record_runs import job_for, published_raster, write_records  # noqa: E402
from scipy import ndimage  # noqa: E402

from pipeline.run.merge.merge_job import MergeJob  # noqa: E402
from pipeline.run.merge.publish import publish_merge  # noqa: E402
from pipeline.schema.tile_answers import Fragment, MaskCrop, Prompt  # noqa: E402
from pipeline.schema.tiling import RunGrid, TileLattice  # noqa: E402
from pipeline.stitch.flatten import flatten_tile  # noqa: E402
from pipeline.stitch.stitch_options import StitchOptions  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class FlatTile:
    """One tile of one query as a segmenting worker leaves it."""

    tile_row: int
    tile_col: int
    labels: NDArray[np.uint16]
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True, kw_only=True)
class FlatTiles:
    """All tiles in which something was found, as `write_records` asks for them. No tile failed."""

    held: Mapping[tuple[int, int], FlatTile]
    closed: frozenset[tuple[int, int]] = frozenset()

    def records(self) -> Iterator[FlatTile]:
        return iter(self.held.values())

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        tile = self.held.get((tile_row, tile_col))
        return None if tile is None else tile.labels


@dataclass(frozen=True, kw_only=True)
class Region:
    """Block records on disk and what to do with them; gone with `folder`."""

    folder: tempfile.TemporaryDirectory[str]
    job: MergeJob


def prepare(masks: TileMasks, settings: Mapping[str, object]) -> Region:
    """Phase one after the models: every tile's masks flattened, all of them committed as block records."""
    options = StitchOptions(**settings)
    height, width = masks.shape
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=width, height=height)
    lattice = TileLattice(grid=grid, tile_px=masks.tile_px, halo_px=masks.halo_px, block_tiles=4)
    held = {}
    for index, (row, col) in enumerate(masks.tile_rc.tolist()):
        scores = masks.score[masks.tile == index].tolist()
        crops, prompts = _crops(masks.labels[index], scores)
        labels, fragments = flatten_tile(lattice.tile(row, col), crops, prompts, lattice, options)
        if labels is not None:
            held[row, col] = FlatTile(tile_row=row, tile_col=col, labels=labels, fragments=fragments)
    folder = tempfile.TemporaryDirectory()
    records = Path(folder.name) / "records"
    write_records(records, lattice, FlatTiles(held=held))
    return Region(folder=folder, job=job_for(records, Path(folder.name) / "out", lattice, stitch=options))


def _crops(labels: NDArray[np.uint16], scores: list[float]) -> tuple[list[MaskCrop], list[Prompt]]:
    """One mask per local id with the prompt that a perfect prompter gives: the mask's own box."""
    crops = []
    prompts = []
    for index, (rows, cols) in enumerate(ndimage.find_objects(labels)):
        mask = labels[rows, cols] == index + 1
        crops.append(
            MaskCrop(row0=rows.start, col0=cols.start, mask=mask, score=scores[index], prompt_index=index)
        )
        prompts.append(
            Prompt(box_xyxy=(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)))
        )
    return crops, prompts


def merge(region: Region) -> Region:
    """Phase two: rasters, instances and coverage are written to files."""
    publish_merge(region.job, note=lambda _: None)
    return region


def export(region: Region) -> Outputs:
    """Instance ids of the published raster."""
    ids = published_raster(Path(region.job.out_dir))
    region.folder.cleanup()
    return Outputs(raster=ids)


if __name__ == "__main__":
    answer(prepare, merge, export, ["numpy", "numba", "shapely", "zarr", "pyarrow"])
