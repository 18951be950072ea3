"""Does merging tiles give what one tile of the whole world gives? Same instances, same raster, to the bit.

    python tests/benchmarks/restitch_identity.py --size 16384

1. jobs/make_world.py draws a world of `--size` px a side (`--world` keeps it); labels.tif is its truth.
2. jobs/segment_region.py with oracle models cuts it into many tiles, and jobs/restitch_region.py merges their
   block records again into a directory of its own, with super-tiles of another size.
3. jobs/segment_region.py runs once more with ONE tile as large as the world: no seam, nothing to merge.
4. `compare` puts the merged result beside that of the single tile and beside labels.tif: ids of the raster
   pixel by pixel, and of the table ids, pixel counts, ground areas, flags and the bytes of every geometry.

Exit code 1 when anything differs. `--no-single` leaves step 3 out and compares with labels.tif alone: the
single tile of 16384 x 16384 px took 12.6 GB, and a tile holds at most 65535 objects. Memory is the largest
resident set of each job.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import rasterio.windows
import zarr
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]

STRIP_ROWS = 4096
"""Rows of the rasters that are compared at a time. Each strip decodes the single tile, which is one chunk."""

COLUMNS = (
    "instance_id",
    "query",
    "area_px",
    "area_m2",
    "score",
    "truncated",
    "one_sided",
    "part_no",
    "n_parts",
    "bbox",
    "geometry",
)
"""What does not say how the region was cut."""


def main() -> int:
    """Draw the world, run, compare; returns the exit code."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--size", type=int, default=4096, help="side of the world in pixels")
    top.add_argument("--seed", type=int, default=29)
    top.add_argument("--world", type=Path, help="keep the world here, or use the one that is there")
    top.add_argument(
        "--out",
        type=Path,
        help="keep the runs here, and use those that are there (default: a temporary folder)",
    )
    top.add_argument("--tile", type=int, default=512)
    top.add_argument("--halo", type=int, default=32)
    top.add_argument(
        "--super-tile", type=int, default=8, help="of the second merge; the first one has the default"
    )
    top.add_argument("--runner", choices=("local", "ray"), default="local")
    top.add_argument("--no-single", dest="single", action="store_false", help="compare with labels.tif alone")
    args = top.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        world = args.world or Path(scratch) / "world"
        out = args.out or Path(scratch) / "runs"
        if not (world / "world.json").exists():
            run_job(
                "world",
                ["make_world.py", "--seed", args.seed, "--size", args.size, "--out", world, "--quiet"],
            )
        cut = ["--tile", args.tile, "--halo", args.halo, "--runner", args.runner]
        run_job("segment, many tiles", [*segment(world), *cut, "--out", out / "many"])
        again = ["--super-tile", args.super_tile, "--runner", args.runner]
        run_job("restitch", ["restitch_region.py", "--run", out / "many", "--out", out / "merged", *again])
        failures = compare_raster("labels.tif", out / "merged", label_strips(world / "labels.tif"))
        if args.single:
            one = ["--tile", args.size + 2, "--halo", 1, "--block", 1, "--runner", "local"]
            run_job("segment, one tile", [*segment(world), *one, "--out", out / "single"])
            failures += compare_raster("single tile", out / "merged", id_strips(out / "single"))
            failures += compare_tables(out / "merged", out / "single")
    print("identical" if not failures else f"DIFFERENT: {failures} checks failed")
    return 1 if failures else 0


def segment(world: Path) -> list[object]:
    """The command of an oracle run."""
    models = f"oracle:{world / 'labels.tif'}"
    return [
        "segment_region.py",
        "--source",
        world / "scene.tif",
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        models,
    ]


def run_job(title: str, words: Sequence[object]) -> None:
    """One job in a process of its own; prints its time and memory. Raises SystemExit when it fails."""
    command = [sys.executable, f"jobs/{words[0]}", *(str(word) for word in words[1:])]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    print(
        f"{title:>22}: {time.monotonic() - start:8.1f} s, {usage.ru_maxrss * 1024 / 1e9:6.2f} GB", flush=True
    )
    if process.returncode:
        raise SystemExit(f"ended with {process.returncode}: {' '.join(command)}")


def id_strips(run: Path) -> Iterator[NDArray[np.uint64]]:
    """The published id raster of a run, some rows at a time."""
    ids = zarr.open_group(str(run / "masks.zarr"), mode="r")["instance_id"]
    assert isinstance(ids, zarr.Array)
    for row in range(0, ids.shape[1], STRIP_ROWS):
        yield np.asarray(ids[0, row : row + STRIP_ROWS])


def label_strips(labels: Path) -> Iterator[NDArray[np.uint64]]:
    """Read labels.tif the same way; its ids are those of the project, so they need no renaming."""
    with rasterio.open(labels) as dataset:
        for row in range(0, dataset.height, STRIP_ROWS):
            rows = min(STRIP_ROWS, dataset.height - row)
            yield dataset.read(1, window=rasterio.windows.Window(0, row, dataset.width, rows)).astype(
                np.uint64
            )


def compare_raster(title: str, merged: Path, strips: Iterator[NDArray[np.uint64]]) -> int:
    """Print how many pixels differ; returns 1 when any does, or when there is no object."""
    different = total = objects = 0
    for mine, theirs in zip(id_strips(merged), strips, strict=True):
        different += (
            int((mine != theirs).sum()) if mine.shape == theirs.shape else max(mine.size, theirs.size)
        )
        total, objects = total + mine.size, objects + int((theirs > 0).sum())
    print(
        f"id raster against {title}: {different:,} of {total:,} pixels differ ({objects:,} show an object)",
        flush=True,
    )
    return int(different > 0 or objects == 0)


def compare_tables(merged: Path, single: Path) -> int:
    """Print for each column how many rows differ, in the order of ids; returns the number of such columns."""
    mine = table(merged)
    theirs = table(single)
    n_rows = (mine.num_rows, theirs.num_rows)
    print(
        f"instances: {n_rows[0]:,} merged, {n_rows[1]:,} of the single tile; "
        f"{max(mine['n_parts'].to_pylist(), default=0)} parts at most"
    )
    if n_rows[0] != n_rows[1] or not n_rows[0]:
        return 1
    tiles = mine["n_tiles"].to_numpy()
    print(
        f"objects that more than one tile saw: {int((tiles > 1).sum()):,}; "
        f"the widest lies in {int(tiles.max())} tiles"
    )
    failures = 0
    for name in COLUMNS:
        a = mine[name].to_pylist()
        b = theirs[name].to_pylist()
        different = sum(x != y for x, y in zip(a, b, strict=True))
        print(f"{name:>14}: {different} rows differ")
        failures += different > 0
    return failures


def table(run: Path) -> pa.Table:
    """The published instances, geometry as WKB, by (instance_id, part_no)."""
    return pq.read_table(run / "instances", partitioning=None).sort_by(
        [("instance_id", "ascending"), ("part_no", "ascending")]
    )


if __name__ == "__main__":
    sys.exit(main())
