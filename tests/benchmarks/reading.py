"""How imagery is read: requests, bytes, seconds and memory, beside tile-by-tile reads and two other packages.

    pip install odc-stac==0.5.3 rio-tiler==9.4.12     # optional: without them their rows are missing
    python tests/benchmarks/reading.py

The windows of 6 x 6 tiles (1024 px, halo 64) are read from COGs with blocks of 512 px. Everybody gets the
same windows, and must return the same pixels. `remote` reads from a server in another process that waits
before every answer. `local` says how many tiles two reading processes deliver a second, and how much memory
one of them takes.

The fewest bytes are those of the internal tiles under the windows, each once, as the file stores them. Of the
seconds only ratios within one run mean something; medians and spread of `--repeats` runs are given.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

PLACES = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
sys.path[:0] = PLACES

from benchmarks.range_server import Counts, RangeServer, serve  # noqa: E402

from pipeline.files.raster_access import set_process_defaults  # noqa: E402
from pipeline.grid.source import SourceOptions, open_scenes  # noqa: E402
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles  # noqa: E402
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes  # noqa: E402
from pipeline.load.reader import CogReader  # noqa: E402

TILE_PX = 1024
HALO_PX = 64
CORE_PX = TILE_PX - 2 * HALO_PX
BLOCK_TILES = 4

MOST_GROWTH = 2.0
"""How far a reading process grows beyond GDAL's cache (`PROCESS_CACHE_MB`), in pixels of its largest block:
1 for the pixels, 1/3 for their validity, and what is on its way. Blocks of `BLOCK_TILES` tiles a side have 40
MB, and a full cache is 3.4 of them.
"""

FILES: dict[str, dict[str, Any]] = {
    "JPEG": {"compress": "JPEG", "quality": 85},
    "ZSTD": {"compress": "ZSTD", "predictor": "YES", "level": 9},
}

VSICURL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_INGESTED_BYTES_AT_OPEN": "32768"}
"""GDAL as one sets it up for COGs, for everybody who reads by /vsicurl."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One file, and the windows to read of it."""

    href: str
    path: Path
    windows: tuple[RasterWindow, ...]


Method = Callable[[Task], Iterator[NDArray[np.uint8]]]
"""Yields the pixels (H, W, 3) of the task's windows in their order."""


def draw(side: int) -> NDArray[np.uint8]:
    """Draw (3, side, side) pixels with detail at all scales, so that compression has something to do."""
    rng = np.random.default_rng(0)
    image = np.zeros((3, side, side), dtype=np.float32)
    for octave in range(1, 9):
        cells = max(2, side >> octave)
        coarse = rng.normal(size=(3, cells + 1, cells + 1)).astype(np.float32)
        place = np.arange(side) * (cells / side)
        low = place.astype(int)
        part = (place - low).astype(np.float32)
        rows = coarse[:, low] * (1 - part)[:, None] + coarse[:, low + 1] * part[:, None]
        image += (rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part) * (1.2**octave)
    image = (image - image.min()) / (image.max() - image.min())
    return np.asarray(image * 255, dtype=np.uint8)


def write_cogs(folder: Path, side: int) -> None:
    pixels = draw(side)
    grid = {"crs": "EPSG:32636", "transform": Affine(0.5, 0, 450_000, 0, -0.5, 40_000)}
    for name, profile in FILES.items():
        size = {"width": side, "height": side, "count": 3, "dtype": "uint8"}
        profile = {"driver": "COG", "blocksize": 512, **grid, **size, **profile}
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as sink:
            sink.write(pixels)


def tile_windows(tiles: int) -> tuple[RasterWindow, ...]:
    """List the read windows of `tiles` x `tiles` tiles, row by row. The scene ends with the last core."""
    side = tiles * CORE_PX

    def edges(index: int) -> tuple[int, int]:
        return max(index * CORE_PX - HALO_PX, 0), min((index + 1) * CORE_PX + HALO_PX, side)

    found = []
    for row in range(tiles):
        for col in range(tiles):
            (top, bottom), (left, right) = edges(row), edges(col)
            found.append(RasterWindow(left, top, right - left, bottom - top))
    return tuple(found)


def fewest_bytes(task: Task) -> int:
    """Bytes that the file stores under all windows together."""
    with rasterio.open(task.path) as dataset:
        places = {
            (row, col)
            for window in task.windows
            for row in range(window.row_off // 512, (window.row_off + window.height - 1) // 512 + 1)
            for col in range(window.col_off // 512, (window.col_off + window.width - 1) // 512 + 1)
        }
        sizes = [dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1) for row, col in places]
    return sum(int(size) for size in sizes)


def plan_of(href: str) -> tuple[Plan, CogReader]:
    """Plan the region and make the reader that a run would use."""
    scenes = open_scenes(SourceOptions(hrefs=(href,)))
    plan = plan_tiles(None, scenes, GridOptions(tile_px=TILE_PX, halo_px=HALO_PX, block_tiles=BLOCK_TILES))
    options = LoadOptions(collar="off")
    sources = prepare_scenes(plan.scenes, options, offsets=plan.offsets, windows=plan.scene_windows)
    return plan, CogReader(sources, plan.grid, options=options)


def by_block(plan: Plan, reader: CogReader) -> Iterator[NDArray[np.uint8]]:
    """One read per block of tiles, of which tiles are slices: what a run does."""
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for block in plan.blocks():
        image = reader.read(block)
        for tile in block.tiles:
            found[tile.tile_row, tile.tile_col] = image.tile_image(tile).rgb
    for key in sorted(found):
        yield found[key]


def by_tile(task: Task) -> Iterator[NDArray[np.uint8]]:
    """rasterio with one handle, tile by tile."""
    with rasterio.Env(**VSICURL), rasterio.open(f"/vsicurl/{task.href}") as dataset:
        for window in task.windows:
            yield np.moveaxis(dataset.read(window=window), 0, -1)


def by_fresh_tile(task: Task) -> Iterator[NDArray[np.uint8]]:
    """rasterio, opened again for every tile."""
    for window in task.windows:
        with rasterio.Env(**VSICURL), rasterio.open(f"/vsicurl/{task.href}") as dataset:
            yield np.moveaxis(dataset.read(window=window), 0, -1)


def by_rio_tiler(task: Task) -> Iterator[NDArray[np.uint8]]:
    """rio-tiler, one reader."""
    from rio_tiler.io import Reader  # type: ignore[import-not-found]

    with rasterio.Env(**VSICURL), Reader(task.href) as reader:
        for window in task.windows:
            bounds = rasterio.windows.bounds(window, reader.dataset.transform)
            crs = reader.dataset.crs
            size = {"height": window.height, "width": window.width}
            image = reader.part(bounds, bounds_crs=crs, dst_crs=crs, **size)
            yield np.moveaxis(np.asarray(image.array.data), 0, -1)


def by_odc_stac(task: Task) -> Iterator[NDArray[np.uint8]]:
    """odc-stac, one load per tile; it reads the bands one after the other."""
    import odc.stac  # type: ignore[import-not-found]
    from odc.geo.geobox import GeoBox  # type: ignore[import-not-found]

    item = stac_item(task)
    with rasterio.open(task.path) as dataset:
        crs, transform = dataset.crs, dataset.transform
    for window in task.windows:
        box = GeoBox((window.height, window.width), rasterio.windows.transform(window, transform), crs)
        with rasterio.Env(**VSICURL):
            cube = odc.stac.load([item], geobox=box, bands=["red", "green", "blue"])
            yield np.stack([cube[name].values[0] for name in ("red", "green", "blue")], axis=-1)


def stac_item(task: Task) -> Any:
    """Describe the file as an item of three bands, with all the metadata that spares requests."""
    import datetime

    import pystac

    with rasterio.open(task.path) as dataset:
        epsg, transform, shape = dataset.crs.to_epsg(), list(dataset.transform)[:6], list(dataset.shape)
    item = pystac.Item(
        id=task.path.stem,
        geometry={"type": "Polygon", "coordinates": [[[32, 0], [33, 0], [33, 1], [32, 1], [32, 0]]]},
        bbox=[32, 0, 33, 1],
        datetime=datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC),
        properties={},
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    names = ("red", "green", "blue")
    fields = {
        "proj:epsg": epsg,
        "proj:transform": transform,
        "proj:shape": shape,
        "eo:bands": [{"name": name, "common_name": name} for name in names],
        "raster:bands": [{"data_type": "uint8"} for _ in names],
    }
    media_type = pystac.MediaType.COG
    item.add_asset("image", pystac.Asset(href=task.href, media_type=media_type, extra_fields=fields))
    return item


def others() -> dict[str, Method]:
    """The methods that ours is compared with, as far as their packages are installed."""
    methods: dict[str, Method] = {"tile by tile": by_tile, "opened per tile": by_fresh_tile}
    if find_spec("rio_tiler"):
        methods["rio-tiler"] = by_rio_tiler
    if find_spec("odc.stac") if find_spec("odc") else None:
        methods["odc-stac"] = by_odc_stac
    return methods


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one method cost to read all windows once."""

    seconds: float
    counts: Counts


def same_pixels(found: Sequence[NDArray[np.uint8]], wanted: Sequence[NDArray[np.uint8]]) -> bool:
    return len(found) == len(wanted) and all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def compare_remote(folder: Path, *, tiles: int, delay_s: float, repeats: int) -> None:
    """Read both files by all methods, in turns, and print requests, bytes and seconds."""
    print(f"remote, {1000 * delay_s:.0f} ms before every answer")
    print(f"{'':22}{'requests':>9}{'bytes / fewest':>16}{'seconds / tile by tile':>27}")
    with serve(folder, delay_s) as server:
        for name in FILES:
            task = Task(
                href=f"{server.url}/{name}.tif", path=folder / f"{name}.tif", windows=tile_windows(tiles)
            )
            readings = read_by_all(task, server, repeats=repeats)
            base = [item.seconds for item in readings["tile by tile"]]
            for key, found in readings.items():
                ratios = [item.seconds / other for item, other in zip(found, base, strict=True)]
                counts = found[-1].counts
                print(
                    f"{name + ', ' + key:22}{counts.requests:9}"
                    f"{counts.sent_bytes / fewest_bytes(task):16.3f}"
                    f"{statistics.median(ratios):13.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                )


def read_by_all(task: Task, server: RangeServer, *, repeats: int) -> dict[str, list[Reading]]:
    """Read a task's windows by every method in turn, `repeats` times over."""
    plan, reader = plan_of(task.href)

    def ours(_task: Task) -> Iterator[NDArray[np.uint8]]:
        reader.close()
        return by_block(plan, reader)

    methods = {"ours": ours, **others()}
    wanted = list(by_block(*plan_of(str(task.path))))
    readings: dict[str, list[Reading]] = {key: [] for key in methods}
    for number in range(repeats):
        for key, method in methods.items():
            fresh = replace(
                task, href=f"{task.href}?{number}{len(key)}"
            )  # GDAL keeps what it read by its URL
            server.counts()
            start = time.perf_counter()
            found = list(method(fresh))
            seconds = time.perf_counter() - start
            readings[key].append(Reading(seconds=seconds, counts=server.counts()))
            if not same_pixels(found, wanted):
                raise SystemExit(f"{key} returned other pixels")
    return readings


_WORKER = """
import json, pathlib, re, sys, time
from benchmarks.reading import plan_of

def memory(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

plan, reader = plan_of(sys.argv[1])
blocks = list(plan.blocks())[int(sys.argv[2]) :: int(sys.argv[3])]
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
before = memory("VmRSS")
start = time.perf_counter()
tiles = largest = 0
for _ in range(int(sys.argv[4])):
    reader.close()
    for block in blocks:
        image = None  # the reader's memory is asked for, not that of who holds its blocks
        image = reader.read(block)
        tiles += len([image.tile_image(tile) for tile in block.tiles])
        largest = max(largest, image.rgb.nbytes)
seconds = time.perf_counter() - start
print(json.dumps({"rate": tiles / seconds, "grown": (memory("VmHWM") - before) / largest}))
"""
"""Reads a share of a file's blocks; prints tiles per second, and its growth in bytes of the largest block."""


def read_in_processes(path: Path, workers: int, rounds: int) -> list[dict[str, float]]:
    """Read a local file in several processes at once, each its share of the blocks, `rounds` times over."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(PLACES)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(path), str(number), str(workers), str(rounds)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(workers)
    ]
    return [json.loads(process.communicate()[0]) for process in started]


def measure_local(folder: Path, *, repeats: int, rounds: int) -> None:
    """Print tiles per second of two processes, and the memory of one."""
    print("\nlocal, two reading processes        tiles / s: median (least to most)")
    for name in FILES:
        rates = []
        for _ in range(repeats):
            found = read_in_processes(folder / f"{name}.tif", workers=2, rounds=rounds)
            rates.append(sum(item["rate"] for item in found))
        print(f"{name:34}{statistics.median(rates):10.0f} ({min(rates):.0f} to {max(rates):.0f})")
    print("\nmemory of one reading process       grown / pixels of its largest block")
    for name in FILES:
        grown = []
        for _ in range(repeats):
            (found_one,) = read_in_processes(folder / f"{name}.tif", workers=1, rounds=1)
            grown.append(found_one["grown"])
        print(f"{name:34}{statistics.median(grown):10.2f} ({min(grown):.2f} to {max(grown):.2f})")


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tiles", type=int, default=6, help="tiles a side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6, help="how often a process reads its share")
    parser.add_argument("--delay", type=float, default=0.03, help="seconds before every answer")
    parser.add_argument("--only", choices=("remote", "local"), help="one half of it")
    args = parser.parse_args(argv)
    set_process_defaults()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cogs(folder, args.tiles * CORE_PX)
        if args.only != "local":
            compare_remote(folder, tiles=args.tiles, delay_s=args.delay, repeats=args.repeats)
        if args.only != "remote":
            measure_local(folder, repeats=args.repeats, rounds=args.rounds)


if __name__ == "__main__":
    main()
