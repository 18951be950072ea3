"""Time and memory of phase two against the number of instances, on synthetic block records.

    python tests/benchmarks/merge_scaling.py --instances 10000 100000 1000000
    python tests/benchmarks/merge_scaling.py --instances 1000000 10000000 --records /data/scaling  # kept

The world is a town without end: a grid of 28 px cells with one house each (12 to 22 px a side, about 1000 per
tile core), and a road along every 64th row of cells from border to border, so that some objects cross every
block. Tiles see it as an oracle would. Records are written once per size and may be kept; phase two runs in a
fresh process, tasks one after the other, after a throw-away merge of a small town that compiles the numba
functions. The table has for each kind of task the CPU seconds of all threads (wall seconds say more about
what else the machine does), microseconds per instance, and the largest resident set while it ran. `driver` is
the rest of the process (ledger, keys). `exponent` is the slope of log seconds over log instances by least
squares; 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.run.merge.merge_job import MergeJob, Task, run_here  # noqa: E402
from pipeline.run.merge.publish import publish_merge  # noqa: E402
from pipeline.schema.tile_answers import BlockRecord, Prompt, Reason, TileRecord, TileStatus  # noqa: E402
from pipeline.schema.tiling import RunGrid, TileLattice, TileSpec, block_id  # noqa: E402
from pipeline.stitch.flatten import measure  # noqa: E402
from pipeline.stitch.stitch_options import MergeOptions, StitchOptions  # noqa: E402
from pipeline.write.instances import InstanceMeta  # noqa: E402
from pipeline.write.records.block_records import write_block_record  # noqa: E402
from pipeline.write.records.record_keys import AlikeKeys  # noqa: E402
from pipeline.write.run_dir import RunDir  # noqa: E402

CELL_PX = 28
ROAD_CELLS = 64
WARM_UP = 17_000
"""Instances of the merge that compiles everything: 5 x 5 tiles in 2 x 2 blocks."""
FINGERPRINT = "5ca1e" + "0" * 59


def main() -> int:
    """Run all sizes, then print the table."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--instances", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    top.add_argument("--super-tile", type=int, default=MergeOptions().super_tile_tiles)
    top.add_argument("--records", type=Path, help="keep the records here and reuse them")
    top.add_argument("--json", type=Path, help="also write the figures here")
    top.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = top.parse_args()
    if args.child:
        warm_up()
        print(json.dumps(merge(args.child, args.instances[0], args.super_tile)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for n in args.instances:
            folder = (args.records or Path(scratch)) / f"n{n}"
            start = time.monotonic()
            write_world(folder, n)
            print(
                f"# records of {n} instances: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True
            )
            command = [
                sys.executable,
                __file__,
                "--child",
                str(folder),
                "--instances",
                str(n),
                "--super-tile",
                str(args.super_tile),
            ]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"# {n}: {rows[-1]['wall_s']:.1f} s", file=sys.stderr, flush=True)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def lattice_for(n: int) -> TileLattice:
    """About n cells in a square, tiles of 1024 px with a halo of 64 px, blocks of 4 x 4."""
    side = max(math.isqrt(n), 1) * CELL_PX
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=side, height=side)
    return TileLattice(grid=grid, tile_px=1024, halo_px=64, block_tiles=4)


def write_world(folder: Path, n: int) -> None:
    """Block records of the town, unless they are there already."""
    lattice = lattice_for(n)
    run_dir = RunDir(folder)
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            name = block_id(block_row, block_col)
            if not run_dir.block(name).exists():
                rows = tuple(
                    town_tile(tile, lattice) for tile in lattice.tiles_of_block(block_row, block_col)
                )
                valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_) for row in rows}
                record = BlockRecord(block_id=name, fingerprint=FINGERPRINT, tiles=rows, valid=valid)
                write_block_record(run_dir, record, lattice=lattice)


def town_tile(tile: TileSpec, lattice: TileLattice) -> TileRecord:
    """What an oracle sees in one tile."""
    objects = town(tile.read.row0, tile.read.row1, tile.read.col0, tile.read.col1)
    present, first, local = np.unique(objects, return_index=True, return_inverse=True)
    keep = present >= 0
    order = np.argsort(first[keep])
    number = np.zeros(present.size, dtype=np.uint16)
    number[np.flatnonzero(keep)[order]] = np.arange(1, order.size + 1)
    labels = number[local.reshape(objects.shape)]
    score = (present[keep][order] * 7919 % 40_000 + 20_000).tolist()
    fragments = measure(tile, labels, lattice, identity=list(enumerate(score)))
    boxes = [fragment.window.shifted(-tile.read.row0, -tile.read.col0) for fragment in fragments]
    prompts = tuple(
        Prompt(box_xyxy=(float(b.col0), float(b.row0), float(b.col1), float(b.row1)), label="house")
        for b in boxes
    )
    return TileRecord(
        tile=tile,
        query_index=0,
        status=TileStatus.FOUND,
        reason=Reason.NONE,
        rationale="houses in rows",
        prompts=prompts,
        n_calls=1,
        valid_px=tile.core.area_px,
        labels=labels,
        fragments=fragments,
    )


def town(row0: int, row1: int, col0: int, col1: int) -> NDArray[np.int64]:
    """(h, w) object number of every pixel, -1 = nothing; a pure function of the pixel's place."""
    r = np.arange(row0, row1)[:, None]
    c = np.arange(col0, col1)[None, :]
    cell_row = r // CELL_PX
    cell_col = c // CELL_PX
    mix = (cell_row * 73_856_093) ^ (cell_col * 19_349_663)
    height = 12 + mix % 11
    width = 12 + (mix >> 5) % 11
    y = r % CELL_PX - 2
    x = c % CELL_PX - 2
    house = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    road = (cell_row % ROAD_CELLS == ROAD_CELLS // 2) & (y >= 6) & (y < 14)
    objects = np.where(
        house & (cell_row % ROAD_CELLS != ROAD_CELLS // 2), (cell_row << 24) + cell_col + 1, -1
    )
    return np.where(road & (x >= -2), cell_row << 24, objects)


def warm_up() -> None:
    """Merge a throw-away town, so that what is measured afterwards compiles nothing.

    Every block is a super-tile of its own here: the roads cross them, and the joining of super-tiles is
    compiled too.
    """
    with tempfile.TemporaryDirectory() as scratch:
        write_world(Path(scratch), WARM_UP)
        merge(Path(scratch), WARM_UP, lattice_for(WARM_UP).block_tiles)


def merge(folder: Path, n: int, super_tile: int) -> dict[str, Any]:
    """Phase two on stored records; returns its figures."""
    lattice = lattice_for(n)
    job = MergeJob(
        records_dir=str(RunDir(folder).blocks),
        out_dir=str(folder / "out"),
        keys=AlikeKeys(FINGERPRINT),
        lattice=lattice,
        inside=np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_),
        aoi_grid=None,
        scenes=(),
        meta=InstanceMeta(queries=("houses",), prompter_id="oracle", segmenter_id="oracle", run_id="scaling"),
        stitch=StitchOptions(),
        mode="instances",
        min_area_m2=0.0,
        super_tile_tiles=super_tile,
    )
    (folder / "out").mkdir(exist_ok=True)
    watch = Watch()
    published = publish_merge(job, note=lambda text: None, run_tasks=watch.run_tasks)
    watch.stop()
    qa = published.qa["houses"]
    return {
        "instances": published.n_instances[0],
        "tiles": int(job.inside.sum()),
        "fragments": qa["fragments"],
        "crossing": published.joined[0].n_roots,
        "crossing_bytes": published.joined[0].n_bytes,
        "wall_s": published.elapsed_s,
        "cpu_s": watch.seconds,
        "peak_mb": watch.peak_mb,
    }


class Watch:
    """CPU seconds and largest resident set of each task function; sampled fifty times a second."""

    def __init__(self) -> None:
        self.peak_mb: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self._now = "driver"
        self._ended = threading.Event()
        self._last = time.process_time()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def run_tasks(self, task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        for key in keys:
            self._now = task.__name__
            self._add("driver")
            result = list(run_here(task, job, [key]))
            self._add(task.__name__)
            self._now = "driver"
            yield from result

    def _add(self, name: str) -> None:
        now = time.process_time()
        self.seconds[name], self._last = self.seconds.get(name, 0.0) + now - self._last, now

    def stop(self) -> None:
        self._add("driver")
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.02):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.peak_mb[self._now] = max(self.peak_mb.get(self._now, 0.0), pages * 4096 / 1e6)


def table(rows: list[dict[str, Any]]) -> str:
    """Steps down, sizes across."""
    names = list(rows[-1]["cpu_s"])
    sizes = [row["instances"] for row in rows]
    lines = [f"{'CPU':>16}" + "".join(f"{n:>22,}" for n in sizes) + f"{'exponent':>10}"]
    for name in [*names, "total"]:
        seconds = [
            sum(row["cpu_s"].values()) if name == "total" else row["cpu_s"].get(name, 0.0) for row in rows
        ]
        cells = "".join(f"{s:>10.2f} s{1e6 * s / n:>7.1f} us" for s, n in zip(seconds, sizes, strict=True))
        lines.append(f"{name:>16}{cells}{exponent(sizes, seconds):>10}")
    lines.append(f"{'wall':>16}" + "".join(f"{row['wall_s']:>10.2f} s          " for row in rows))
    for name in ("tiles", "fragments", "crossing", "crossing_bytes"):
        lines.append(f"{name:>16}" + "".join(f"{row[name]:>22,}" for row in rows))
    lines.append("peak resident set, MB")
    for name in rows[-1]["peak_mb"]:
        lines.append(f"{name:>16}" + "".join(f"{row['peak_mb'].get(name, 0.0):>22.0f}" for row in rows))
    return "\n".join(lines)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """Slope of log seconds over log sizes; blank for a single size or a step that takes no time."""
    if len(sizes) < 2 or min(seconds) <= 0:
        return ""
    return f"{np.polyfit(np.log(sizes), np.log(seconds), 1)[0]:.2f}"


if __name__ == "__main__":
    sys.exit(main())
