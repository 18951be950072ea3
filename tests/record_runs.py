"""Label worlds as committed block records on disk, and phase two run on them: what the merge's tasks really
read and write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import rasterio.features
import shapely
import zarr
from numpy.typing import NDArray

from pipeline.run.merge.merge_job import MergeJob, Task, run_here
from pipeline.run.merge.publish import Published, publish_merge
from pipeline.schema.tile_answers import BlockRecord, Prompt, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import TileLattice, block_id
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.instances import InstanceMeta
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

FINGERPRINT = "ab" * 32


def write_records(folder: Path, lattice: TileLattice, source: Any) -> None:
    """Block records of everything an `ArraySource` holds; its closed tiles are failed ones."""
    fragments = {
        (record.tile_row, record.tile_col): sorted(record.fragments, key=lambda f: f.local)
        for record in source.records()
    }
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            rows = tuple(
                _row(lattice, source, fragments, t.tile_row, t.tile_col)
                for t in lattice.tiles_of_block(block_row, block_col)
            )
            valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_) for row in rows}
            record = BlockRecord(
                block_id=block_id(block_row, block_col), fingerprint=FINGERPRINT, tiles=rows, valid=valid
            )
            write_block_record(RunDir(folder), record, lattice=lattice)


def _row(
    lattice: TileLattice, source: Any, fragments: dict[tuple[int, int], Any], tile_row: int, tile_col: int
) -> TileRecord:
    tile = lattice.tile(tile_row, tile_col)
    found = fragments.get((tile_row, tile_col), ())
    common = {"tile": tile, "query_index": 0, "valid_px": tile.core.area_px}
    if (tile_row, tile_col) in source.closed:
        return TileRecord(**common, status=TileStatus.FAILED, reason=Reason.MALFORMED, error="no JSON")
    if not found:
        return TileRecord(**common, status=TileStatus.EMPTY, reason=Reason.PROMPTER)
    prompts = tuple(
        Prompt(box_xyxy=(0.0, float(i), 2.0, float(i) + 1.5), label=f"{tile.tile_id}#{i}")
        if i % 3
        else Prompt(
            box_xyxy=None, points_xy=((float(i), 0.5),), point_labels=(1,), label=f"{tile.tile_id}#{i}"
        )
        for i in range(1 + max(fragment.prompt_index for fragment in found))
    )
    labels = source.labels(tile_row, tile_col)
    rationale = f"because of {tile.tile_id}"
    status = {"status": TileStatus.FOUND, "reason": Reason.NONE}
    return TileRecord(
        **common, **status, prompts=prompts, rationale=rationale, labels=labels, fragments=tuple(found)
    )


def job_for(folder: Path, out: Path, lattice: TileLattice, **changes: Any) -> MergeJob:
    """Phase two of the records in `folder`, results in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    job = MergeJob(
        records_dir=str(RunDir(folder).blocks),
        out_dir=str(out),
        keys=AlikeKeys(FINGERPRINT),
        lattice=lattice,
        inside=np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_),
        aoi_grid=None,
        scenes=(),
        meta=InstanceMeta(queries=("anything",), prompter_id="p", segmenter_id="s", run_id="run"),
        stitch=StitchOptions(),
        mode="instances",
        min_area_m2=0.0,
        super_tile_tiles=32,
    )
    return replace(job, **changes)


@dataclass
class Shuffled:
    """A `TaskRunner` that takes keys in an arbitrary order, every task on its own; dies before task number
    `dies_at`.
    """

    seed: int
    dies_at: int | None = None
    n_tasks: int = 0

    def __call__(self, task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        keys = list(keys)
        for i in np.random.default_rng((self.seed, len(keys))).permutation(len(keys)):
            if self.n_tasks == self.dies_at:
                raise KeyboardInterrupt
            self.n_tasks += 1
            yield from run_here(task, job, [keys[i]])


def merge(job: MergeJob, *, seed: int = 0) -> Published:
    return publish_merge(job, note=lambda _: None, run_tasks=Shuffled(seed))


def results_of(out: Path) -> Path:
    """Where phase two put its results: into its one snapshot; its steps alone, into the directory itself."""
    snapshots = sorted((out / "snapshots").iterdir()) if (out / "snapshots").is_dir() else [out]
    (results,) = snapshots
    return results


def result_bytes(out: Path) -> dict[str, bytes]:
    """Every published file of phase two, by its path in the snapshot, and the snapshot's name; not what a
    closed run adds.
    """
    results = results_of(out)
    wanted = {"masks.zarr", "instances", "coverage.parquet"}
    found = {str(path.relative_to(results)): path for path in results.rglob("*") if path.is_file()}
    files = {name: path for name, path in found.items() if name.partition("/")[0] in wanted}
    assert {name.partition("/")[0] for name in files} == wanted
    assert {name for name in found if name not in files} <= {"report.html", "manifest.json"}
    return {name: path.read_bytes() for name, path in files.items()} | {"": results.name.encode()}


def published_raster(out: Path) -> NDArray[np.uint64]:
    return np.asarray(zarr.open_group(str(results_of(out) / "masks.zarr"), mode="r")["instance_id"][0])


def assert_raster_equals_vector(out: Path) -> geopandas.GeoDataFrame:
    """For every id: rows of the table, pixels of the raster, area and burnt shape of the geometry; no
    overlaps, all valid.
    """
    raster = published_raster(out)
    out = results_of(out)
    frame = geopandas.read_parquet(out / "instances").sort_values(["instance_id", "part_no"])
    ids, counts = np.unique(raster[raster > 0], return_counts=True)
    total = frame.groupby("instance_id")["area_px"].sum()
    assert total.index.tolist() == ids.tolist()
    assert total.tolist() == counts.tolist()
    assert (frame["part_no"] < frame["n_parts"]).all()
    assert (
        frame.groupby("instance_id").size().tolist()
        == frame.groupby("instance_id")["n_parts"].first().tolist()
    )
    assert frame.geometry.is_valid.all()
    assert (frame.geometry.area == frame["area_px"]).all()
    assert set(frame.geometry.geom_type) <= {"Polygon", "MultiPolygon"}
    if len(frame):
        burnt = rasterio.features.rasterize(
            [(g, i + 1) for i, g in enumerate(frame.geometry)],
            out_shape=raster.shape,
            transform=rasterio.Affine.identity(),
            dtype="int32",
        )
        np.testing.assert_array_equal(np.append(np.uint64(0), frame["instance_id"].to_numpy())[burnt], raster)
        assert shapely.union_all(frame.geometry.to_numpy()).area == frame["area_px"].sum(), (
            "no two rows overlap"
        )
    bounds = frame.geometry.bounds.to_numpy()
    table = pq.read_table(
        out / "instances", columns=["bbox", "instance_id", "part_no"], partitioning=None
    ).to_pandas()
    table = table.sort_values(["instance_id", "part_no"])
    assert [[box[k] for k in ("xmin", "ymin", "xmax", "ymax")] for box in table["bbox"]] == bounds.tolist()
    return frame
