"""Write one window of a world as a scene with exact ground truth.

1. `draw` draws the window in pieces. Pixels go to a tiled GeoTIFF, the object of every pixel into one raster.
2. `number_components` splits each object into its 4-connected components and numbers them.
3. `write_world` makes all files in a hidden folder inside the target, then moves them up one by one. After
   any interruption the same command begins again.

Peak memory is about 12 bytes per pixel: 4 GB for 16384 x 16384 pixels.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.schema.tiling import AffineTuple, Window
from pipeline.world.classes import CLASSES
from pipeline.world.compiled import kernel
from pipeline.world.landscape import World
from pipeline.world.render import render
from pipeline.world.truth import CRS, EASTING_M, NORTHING_M, PIXEL_M, aoi_feature, scene_queries, truth_table

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

DRAW_ROWS = 512
DRAW_COLS = 2048
"""Rows and columns that are drawn at a time; multiples of the tile size of the files."""
TILE_PX = 512
"""Internal tile of scene.tif and labels.tif."""
MIN_SIZE = 64
MAX_SIZE = 16384
MAX_ORIGIN = 400_000
"""Farthest row or column of a scene from the world's origin, so that it stays inside its UTM zone."""
MANIFEST = "world.json"
FILES = ("scene.tif", "labels.tif", "truth.parquet", "aoi.geojson", "queries.json", MANIFEST)
FORMAT = "terraquery-world-1"
WORK_PREFIX = ".making-"
"""Start of the name of the hidden folder in which a scene is made."""

Progress = Callable[[str, float], None]
"""Takes a step's name and the share of it that is done, 0..1."""


@dataclass(frozen=True, kw_only=True)
class SceneSummary:
    """What was written."""

    out: Path
    window: Window
    counts: dict[str, int]
    """Instances per class, of classes that occur."""
    absent: tuple[str, ...]
    """Classes that this world leaves out."""

    @property
    def n_instances(self) -> int:
        return sum(self.counts.values())


def scene_window(size: int, *, origin_row: int = 0, origin_col: int = 0) -> Window:
    """Make the window of a square scene. Raises InputError for a size or an origin that cannot be written."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(
            f"--size must be {MIN_SIZE} to {MAX_SIZE} pixels a side",
            came=str(size),
            remedy="choose for example 4096",
        )
    for name, value in (("--origin-row", origin_row), ("--origin-col", origin_col)):
        if abs(value) > MAX_ORIGIN:
            remedy = "choose another --seed for other land"
            raise InputError(
                f"{name} must lie within {MAX_ORIGIN} pixels of 0", came=str(value), remedy=remedy
            )
    return Window(row0=origin_row, col0=origin_col, row1=origin_row + size, col1=origin_col + size)


def scene_transform(window: Window) -> AffineTuple:
    """Affine of a window's scene. Scenes of one world that overlap also overlap on the map."""
    return (
        PIXEL_M,
        0.0,
        EASTING_M + PIXEL_M * window.col0,
        0.0,
        -PIXEL_M,
        NORTHING_M - PIXEL_M * window.row0,
    )


@kernel
def _number(
    components: NDArray[np.uint32],
    codes: NDArray[np.int32],
    first: NDArray[np.int64],
    code: NDArray[np.int32],
) -> None:
    """Replace component numbers by 1 + their first pixel index, in place.

    code[k] becomes the object code of component k.
    """
    rows, cols = components.shape
    for r in range(rows):
        for c in range(cols):
            k = components[r, c]
            if k != 0:
                if first[k] == 0:
                    first[k] = r * cols + c + 1
                    code[k] = codes[r, c]
                components[r, c] = first[k]


def number_components(codes: NDArray[np.int32]) -> tuple[NDArray[np.uint32], dict[int, int]]:
    """Number the 4-connected components of equal, non-zero codes (H, W); also returns id -> code.

    An id is 1 + the component's smallest pixel index. H * W must stay below 2**31.
    """
    import cc3d

    components, n = cc3d.connected_components(codes, connectivity=4, return_N=True, out_dtype=np.uint32)
    ids: NDArray[np.uint32] = np.ascontiguousarray(components)
    first = np.zeros(n + 1, np.int64)
    code = np.zeros(n + 1, np.int32)
    _number(ids, codes, first, code)
    return ids, {int(first[k]): int(code[k]) for k in range(1, n + 1)}


def draw(
    world: World, window: Window, sink: DatasetWriter, progress: Progress
) -> tuple[NDArray[np.int32], list[str]]:
    """Draw a window into an open dataset. Returns object codes (H, W), 0 = none, and their classes."""
    from rasterio.windows import Window as RasterWindow

    codes = np.zeros(window.shape, np.int32)
    names = [""]
    code_of = dict[int, int]()
    for row in range(0, window.height, DRAW_ROWS):
        progress("drawing", row / window.height)
        for col in range(0, window.width, DRAW_COLS):
            rows = min(DRAW_ROWS, window.height - row)
            cols = min(DRAW_COLS, window.width - col)
            part = Window(
                row0=window.row0 + row,
                col0=window.col0 + col,
                row1=window.row0 + row + rows,
                col1=window.col0 + col + cols,
            )
            drawn = render(world, part)
            local = np.zeros(len(drawn.objects) + 1, np.int32)
            for k, item in enumerate(drawn.objects, start=1):
                if item.key not in code_of:
                    code_of[item.key] = len(names)
                    names.append(item.class_name)
                local[k] = code_of[item.key]
            codes[row : row + rows, col : col + cols] = local[drawn.labels]
            sink.write(
                np.ascontiguousarray(drawn.rgb.transpose(2, 0, 1)), window=RasterWindow(col, row, cols, rows)
            )
    progress("drawing", 1.0)
    return codes, names


def _profile(window: Window, count: int, dtype: str, **options: object) -> dict[str, object]:
    import rasterio

    return {
        "driver": "GTiff",
        "width": window.width,
        "height": window.height,
        "count": count,
        "dtype": dtype,
        "crs": CRS,
        "transform": rasterio.Affine(*scene_transform(window)),
        "tiled": True,
        "blockxsize": TILE_PX,
        "blockysize": TILE_PX,
        "BIGTIFF": "IF_SAFER",
        **options,
    }


def _write_scene(
    world: World, window: Window, folder: Path, progress: Progress
) -> tuple[NDArray[np.int32], list[str]]:
    """Write scene.tif: first a plain GeoTIFF, from it a COG with overviews. Returns what `draw` returns."""
    import rasterio
    import rasterio.shutil

    plain = folder / "plain.tif"
    profile = _profile(
        window, 3, "uint8", photometric="RGB", interleave="pixel", compress="ZSTD", zstd_level=1
    )
    with rasterio.open(plain, "w", **profile) as sink:
        codes, names = draw(world, window, sink, progress)
    progress("writing scene.tif", 0.0)
    options = {
        "BLOCKSIZE": TILE_PX,
        "COMPRESS": "DEFLATE",
        "PREDICTOR": "YES",
        "OVERVIEWS": "AUTO",
        "RESAMPLING": "AVERAGE",
    }
    rasterio.shutil.copy(plain, folder / "scene.tif", driver="COG", BIGTIFF="IF_SAFER", **options)
    plain.unlink()
    progress("writing scene.tif", 1.0)
    return codes, names


def _write_labels(ids: NDArray[np.uint32], window: Window, path: Path) -> None:
    import rasterio
    from rasterio.windows import Window as RasterWindow

    with rasterio.open(path, "w", **_profile(window, 1, "uint32", compress="ZSTD", predictor=2)) as sink:
        for row in range(0, window.height, TILE_PX):
            rows = min(TILE_PX, window.height - row)
            sink.write(ids[row : row + rows], 1, window=RasterWindow(0, row, window.width, rows))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _silent(_step: str, _share: float) -> None:
    """Report progress to nobody."""


def _left_over(out: Path) -> list[Path]:
    """Find the hidden folders of runs that were killed before they could remove them."""
    return [path for path in out.glob(f"{WORK_PREFIX}*") if path.is_dir()]


def _is_ours(manifest: Path) -> bool:
    try:
        return bool(json.loads(manifest.read_text(encoding="utf-8")).get("format") == FORMAT)
    except (OSError, ValueError, AttributeError):
        return False


def check_target(out: Path, *, overwrite: bool) -> None:
    """Refuse a file, and unless `overwrite` a folder that holds anything but an earlier scene.

    The hidden folder of an interrupted run does not count as content. If it holds a manifest, the run was
    moving its files in when it ended, so the files beside it belong to a scene. Without that proof a
    scene.tif may be the user's own, and is refused like any other file. Raises InputError.
    """
    with writing_to(out):
        require_folder(out)
        if overwrite or not out.exists():
            return
        left = _left_over(out)
        if set(out.iterdir()) <= set(left) or any(_is_ours(folder / MANIFEST) for folder in (out, *left)):
            return
    raise InputError(
        "--out must be new, empty or an earlier scene of this job", came=f"{out}, which holds other files",
        remedy="name another folder, or pass --overwrite to replace " + ", ".join(FILES) + " there",
    )  # fmt: skip


def _work_folder(out: Path) -> Path:
    """Make a new hidden folder inside `out`. Raises InputError.

    Folders left by killed runs are removed first, since a scene may be gigabytes.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        for folder in _left_over(out):
            shutil.rmtree(folder)
        return Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=out))


def write_world(
    world: World, window: Window, out: Path, *, overwrite: bool = False, progress: Progress = _silent
) -> SceneSummary:
    """Draw a window of a world and write the scene and its truth (FILES) to folder `out`.

    Equal arguments give equal pixels, labels, polygons and queries. Other files in `out` are left alone, and
    an earlier scene there stays whole until the new one is drawn. Only one process at a time may write to
    `out`. Raises InputError when `out` may not be used.
    """
    check_target(out, overwrite=overwrite)
    work = _work_folder(out)
    try:
        summary = _make_files(world, window, out=out, work=work, progress=progress)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _move_in(work, out)
    progress("tracing polygons", 1.0)
    return summary


def _make_files(world: World, window: Window, *, out: Path, work: Path, progress: Progress) -> SceneSummary:
    """Make all of FILES in the folder `work`; the summary names `out`, where they will be."""
    codes, names = _write_scene(world, window, work, progress)
    progress("numbering", 0.0)
    ids, code_of_id = number_components(codes)
    del codes
    _write_labels(ids, window, work / "labels.tif")
    progress("tracing polygons", 0.0)
    classes = {instance: names[code] for instance, code in code_of_id.items()}
    table = truth_table(ids, classes, scene_transform(window))
    table.to_parquet(
        work / "truth.parquet",
        index=False,
        compression="zstd",
        schema_version="1.1.0",
        write_covering_bbox=True,
    )
    counted = Counter(classes.values())
    counts = {name: counted[name] for name in CLASSES if counted[name]}
    a, _, west, _, _, north = scene_transform(window)
    bounds = (west, north - a * window.height, west + a * window.width, north)
    _write_json(work / "aoi.geojson", aoi_feature(bounds))
    _write_json(work / "queries.json", scene_queries(world.seed, counts, world.absent))
    summary = SceneSummary(out=out, window=window, counts=counts, absent=tuple(sorted(world.absent)))
    _write_json(work / MANIFEST, _manifest(world, summary))
    return summary


def _move_in(work: Path, out: Path) -> None:
    """Replace the files of `out`. world.json goes first and comes last: a folder without it is incomplete.

    `work` is deleted at the end. After an interruption, world.json in it tells the next run that the files in
    `out` are ours.
    """
    (out / MANIFEST).unlink(missing_ok=True)
    for name in FILES:
        (work / name).replace(out / name)
    shutil.rmtree(work, ignore_errors=True)


def _manifest(world: World, summary: SceneSummary) -> dict[str, object]:
    window = summary.window
    return {
        "format": FORMAT,
        "seed": world.seed,
        "scale": world.scale,
        "origin_rc": [window.row0, window.col0],
        "size_px": window.height,
        "crs": CRS,
        "pixel_m": PIXEL_M,
        "absent": list(summary.absent),
        "instances": summary.counts,
    } | ({} if world.edits is None else {"edits": asdict(world.edits)})
