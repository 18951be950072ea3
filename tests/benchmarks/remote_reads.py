"""What do reads cost that are checked, beside GDAL's own `/vsicurl`? Requests, bytes and seconds.

    python tests/benchmarks/remote_reads.py --side 8192

The same blocks of the same files are read both ways from a server on this machine, with a pause before every
answer as over a network. Counts come out the same elsewhere; of the seconds only the ratio means something.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

sys.path[:0] = [str(Path(__file__).parents[1])]

from fault_server import FaultServer, fault_server  # noqa: E402

from pipeline.files.raster_access import open_raster, raster_environment  # noqa: E402

TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256}
FILES: dict[str, dict[str, Any]] = {
    "cog, 512 px blocks": {"driver": "COG", "blocksize": 512, "compress": "DEFLATE", "overviews": "AUTO"},
    "tiled, 256 px": {"driver": "GTiff", "compress": "DEFLATE", **TILED},
    "strips": {"driver": "GTiff", "compress": "DEFLATE"},
}
BLOCK_PX = 3584
"""Side of a block of 4 x 4 tiles of 896 px."""


def write_scene(path: Path, side: int, **profile: Any) -> None:
    """Write a noisy RGB scene of `side` x `side` pixels."""
    tile = np.random.default_rng(0).integers(0, 64, (3, 1024, 1024)).astype("uint8")
    pixels = np.tile(tile, (1, side // 1024, side // 1024))
    grid = {"crs": "EPSG:32636", "transform": Affine(0.5, 0, 450_000, 0, -0.5, 40_000)}
    size = {"width": side, "height": side, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **grid, **size, **profile) as sink:
        sink.write(pixels)


def vsicurl(url: str) -> Any:
    return rasterio.open(f"/vsicurl/{url}", driver="GTiff", sharing=False)


def read_blocks(server: FaultServer, url: str, opener: Callable[[str], Any]) -> tuple[int, float, float]:
    """Read all blocks of a file; returns requests, megabytes and seconds."""
    server.clear()
    start = time.perf_counter()
    with raster_environment(url), opener(url) as dataset:
        for row in range(0, dataset.height, BLOCK_PX):
            for col in range(0, dataset.width, BLOCK_PX):
                dataset.read(window=Window(col, row, BLOCK_PX, BLOCK_PX))
    seconds = time.perf_counter() - start
    ranges = [wanted.removeprefix("bytes=").split("-") for _, _, wanted in server.requests if wanted]
    return len(server.requests), sum(int(b) - int(a) + 1 for a, b in ranges) / 1e6, seconds


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--side", type=int, default=8192, help="pixels, a multiple of 1024")
    parser.add_argument("--delay", type=float, default=0.03, help="seconds before every answer")
    args = parser.parse_args(argv)
    print("file                    requests        MB               seconds")
    print("                        vsicurl  ours   vsicurl    ours  ours / vsicurl")
    with tempfile.TemporaryDirectory() as folder, fault_server(Path(folder)) as server:
        server.delay_s = args.delay
        for number, (name, profile) in enumerate(FILES.items()):
            write_scene(Path(folder) / f"{number}.tif", args.side, **profile)
            theirs = read_blocks(server, f"{server.url}/{number}.tif", vsicurl)
            ours = read_blocks(server, f"{server.url}/{number}.tif", open_raster)
            print(
                f"{name:24}{theirs[0]:7}{ours[0]:6}{theirs[1]:10.1f}{ours[1]:8.1f}{ours[2] / theirs[2]:16.2f}"
            )


if __name__ == "__main__":
    main()
