"""Time and memory of a search in stac-geoparquet, against the size of the catalogue.

    python tests/benchmarks/catalogue.py --items 10000 100000 1000000

Every catalogue is a grid of NAIP-like items in row groups of 10,000, and every search has an AOI that about
1,500 of them touch (`--aoi`). Each search runs in a process of its own, which is warm: it has imported
everything and searched a catalogue of 1,000 items. Given are the median and the range of the CPU seconds and
of the peak memory above the warm process. Row `rustac` reads the same file as rustac 0.9.18 does, all of it,
and keeps what touches the AOI's box.

    python tests/benchmarks/catalogue.py --all-inside --items 20000

does all that a plan does where every item lies in the AOI and is taken: it searches, makes scenes, and plans
their tiles. The items are neighbours of 100 x 100 px of 10 m in one UTM zone.

Absolute figures depend on the machine; how the columns grow does not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

ROOT = Path(__file__).parents[2]
Box = tuple[float, float, float, float]
STEP_DEG = 0.05
"""Side of one item; neighbours share an edge."""
ROW_GROUP = 10_000
READERS = ("terraquery", "rustac")
SIDE_M = 1000.0
"""Side of one item of the grid in UTM."""
AROUND_UTM: Box = (-1.0, 37.5, 7.0, 44.0)
"""An AOI around that grid, with up to 250,000 items."""


def main() -> int:
    """Measure all sizes and print a table."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    top.add_argument("--repeats", type=int, default=5)
    top.add_argument("--readers", nargs="+", choices=READERS, default=["terraquery"])
    top.add_argument("--aoi", type=int, default=38, help="items along one side of the AOI")
    top.add_argument("--all-inside", action="store_true", help="plan catalogues of which all items are taken")
    top.add_argument("--one", nargs=3, metavar=("READER", "FILE", "SMALL"), help=argparse.SUPPRESS)
    args = top.parse_args()
    if args.one:
        print(json.dumps(measure_here(*args.one, aoi=args.aoi)))
        return 0
    print(f"{'reader':<12}{'items':>10}{'found':>8}{'cpu_s':>8}{'range':>14}{'peak_mb':>9}{'range':>14}")
    write = write_utm_catalogue if args.all_inside else write_catalogue
    with tempfile.TemporaryDirectory() as scratch:
        small = write(Path(scratch) / "small.parquet", 1000)
        for number in args.items:
            file = write(Path(scratch) / f"{number}.parquet", number)
            for reader in ["plan"] if args.all_inside else args.readers:
                print_row(
                    reader, number, [measure(reader, file, small, args.aoi) for _ in range(args.repeats)]
                )
    return 0


def write_catalogue(path: Path, number: int) -> Path:
    """Write `number` items on a square grid around (0, 0), in the order of a space-filling walk by rows."""
    side = int(np.ceil(np.sqrt(number)))
    step = min(STEP_DEG, 150.0 / side)
    rows, cols = np.divmod(np.arange(number), side)
    west = (cols - side / 2) * step
    south = (rows - side / 2) * step
    boxes = shapely.box(west, south, west + step, south + step)
    transforms = [[0.6, 0.0, 5e5, 0.0, -0.6, 4e6]] * number
    return write_items(path, boxes, transforms, side_px=10_000)


def write_utm_catalogue(path: Path, number: int) -> Path:
    """Write `number` items that are neighbours on a square grid in UTM zone 31 N, row by row."""
    side = int(np.ceil(np.sqrt(number)))
    rows, cols = np.divmod(np.arange(number), side)
    west = 500_000.0 + (cols - side // 2) * SIDE_M
    north = 4_500_000.0 - (rows - side // 2) * SIDE_M
    x = np.stack([west, west + SIDE_M, west + SIDE_M, west, west], axis=1)
    y = np.stack([north, north, north - SIDE_M, north - SIDE_M, north], axis=1)
    lonlat = Transformer.from_crs(32631, 4326, always_xy=True).transform(x.ravel(), y.ravel())
    footprints = shapely.polygons(np.stack(lonlat, axis=1).reshape(number, 5, 2))
    transforms = [
        [SIDE_M / 100, 0.0, left, 0.0, -SIDE_M / 100, top]
        for left, top in zip(west.tolist(), north.tolist(), strict=True)
    ]
    return write_items(path, footprints, transforms, side_px=100)


def write_items(path: Path, footprints: NDArray[Any], transforms: list[list[float]], *, side_px: int) -> Path:
    """Write items with these footprints in degrees and transforms, each of `side_px` x `side_px` px."""
    number = len(footprints)
    ids = [f"item_{index:07}" for index in range(number)]
    hrefs = pa.array([f"https://files.example/{name}.tif" for name in ids])
    bands = pa.array([[{"name": "Red"}, {"name": "Green"}, {"name": "Blue"}]] * number)
    image = pa.StructArray.from_arrays([hrefs, bands], ["href", "eo:bands"])
    sides = [pa.array(values) for values in shapely.bounds(footprints).T]
    days = np.datetime64("2024-01-01", "us") + (np.arange(number) % 365) * np.timedelta64(
        86_400_000_000, "us"
    )
    table = pa.table(
        {
            "type": ["Feature"] * number,
            "stac_version": ["1.1.0"] * number,
            "id": ids,
            "collection": ["naip"] * number,
            "geometry": shapely.to_wkb(footprints),
            "bbox": pa.StructArray.from_arrays(sides, ["xmin", "ymin", "xmax", "ymax"]),
            "links": pa.array([[{"href": "https://api.example", "rel": "root"}]] * number),
            "datetime": pa.array(days, pa.timestamp("us", "UTC")),
            "assets": pa.StructArray.from_arrays([image], ["image"]),
            "gsd": np.full(number, transforms[0][0]),
            "proj:epsg": np.full(number, 32631),
            "proj:shape": pa.array([[side_px, side_px]] * number),
            "proj:transform": pa.array(transforms),
        }
    )
    column = {"encoding": "WKB", "geometry_types": ["Polygon"]}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, path, row_group_size=ROW_GROUP)
    return path


def measure(reader: str, file: Path, small: Path, aoi: int) -> dict[str, float]:
    """Search one file in a fresh process; gives `found`, `cpu_s` and `peak_mb`."""
    command = [sys.executable, __file__, "--aoi", str(aoi), "--one", reader, str(file), str(small)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


def measure_here(reader: str, file: str, small: str, *, aoi: int) -> dict[str, float]:
    """Search one file in this process, warmed by the small one."""
    search = {"terraquery": search_here, "rustac": search_by_rustac, "plan": plan_here}[reader]
    box = aoi_box(aoi)
    search(small, box)
    before_mb = peak_mb()
    start = time.process_time()
    found = search(file, box)
    cpu_s = time.process_time() - start
    return {"found": found, "cpu_s": cpu_s, "peak_mb": peak_mb() - before_mb}


def peak_mb() -> float:
    """The most memory that this process has held. `ru_maxrss` would count what its parent held as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def aoi_box(items: int) -> Box:
    """The AOI around (0, 0), a little less than `items` wide: west, south, east, north in degrees."""
    half = (items / 2 - 0.25) * STEP_DEG
    return (-half, -half, half, half)


def search_here(file: str, box: Box) -> int:
    """Search as a run does; returns the number of items found."""
    from pipeline.grid.aoi import aoi_from_bbox
    from pipeline.grid.catalog.catalog_search import CatalogSearch, find_items

    return len(find_items(CatalogSearch(source=file), aoi_from_bbox(*box)).items)


def plan_here(file: str, _box: Box) -> int:
    """Search, make scenes and plan, as a run does; returns the number of scenes that are planned."""
    from pipeline.grid.aoi import aoi_from_bbox
    from pipeline.grid.catalog.catalog_options import CatalogOptions
    from pipeline.grid.find_scenes import find_scenes
    from pipeline.grid.source import SourceOptions
    from pipeline.grid.tiles import GridOptions, plan_tiles

    aoi = aoi_from_bbox(*AROUND_UTM)
    found = find_scenes(SourceOptions(hrefs=(file,)), CatalogOptions(allow_hosts=("files.example",)), aoi)
    return len(plan_tiles(aoi, found.scenes, GridOptions()).scenes)


def search_by_rustac(file: str, box: Box) -> int:
    """Read the whole file by rustac, and keep what touches the box."""
    import rustac

    west, south, east, north = box
    features = rustac.read_sync(file)["features"]
    return sum(
        item["bbox"][0] <= east
        and item["bbox"][2] >= west
        and item["bbox"][1] <= north
        and item["bbox"][3] >= south
        for item in features
    )


def print_row(reader: str, number: int, runs: list[dict[str, float]]) -> None:
    """Print medians and ranges of several runs."""
    cells = [f"{reader:<12}{number:>10,}{int(runs[0]['found']):>8,}"]
    for name, width, decimals in (("cpu_s", 8, 2), ("peak_mb", 9, 0)):
        values = [run[name] for run in runs]
        spread = f"{min(values):.{decimals}f}-{max(values):.{decimals}f}"
        cells.append(f"{statistics.median(values):>{width}.{decimals}f}{spread:>14}")
    print("".join(cells), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
