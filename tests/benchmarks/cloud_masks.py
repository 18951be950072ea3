"""How good are computed masks of clouds, and what do masks cost? On real chips with published masks.

python tests/benchmarks/cloud_masks.py --chips ../shared/data/clouds

The chips are those that ukis-csmask publishes with its tests: 512 x 512 px of Sentinel-2, Landsat 5 and
Landsat 7, six bands of reflectance, and a mask (0 cloud shadow, 4 cloud, 1 to 3 clear).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from pipeline.files.raster_access import raster_environment
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.load.quality import open_marks, quality_source
from pipeline.load.reader import CogReader
from pipeline.schema.imagery import QualityMask, Reflectance, Scene, SceneFile
from pipeline.schema.tiling import RunGrid

CHIPS = ("sentinel2", "landsat5", "landsat7")
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
SQUARE_PX = 64
"""Side of the squares in which chips are cut to see what a limit for tiles gives up."""


@dataclass(frozen=True, kw_only=True)
class MaskFigures:
    """A mask beside the published one."""

    recall: float
    """Share of what is hidden that the mask hides."""
    precision: float
    """Share of what the mask hides that is hidden."""
    agreement: float
    """Share of pixels that are hidden in both or in neither."""


def figures_of(hidden: NDArray[np.bool_], truth: NDArray[np.bool_]) -> MaskFigures:
    """Compare two masks (H, W), True = hidden."""
    both = int((hidden & truth).sum())
    return MaskFigures(
        recall=both / max(int(truth.sum()), 1),
        precision=both / max(int(hidden.sum()), 1),
        agreement=float((hidden == truth).mean()),
    )


def given_up(hidden: NDArray[np.bool_], limit: float) -> tuple[float, float]:
    """Share of squares of which more than `limit` is hidden, and of the clear ground that lies in them."""
    rows, cols = (side // SQUARE_PX for side in hidden.shape)
    squares = hidden[: rows * SQUARE_PX, : cols * SQUARE_PX].reshape(rows, SQUARE_PX, cols, SQUARE_PX)
    share = squares.mean(axis=(1, 3))
    return float((share > limit).mean()), float((1 - share)[share > limit].sum() / (1 - share).sum())


def chip_scene(folder: Path, chip: Path) -> tuple[Scene, NDArray[np.bool_]]:
    """Write a chip as six files of uint16; returns the scene that has them, and what is hidden in truth."""
    data = np.load(chip)
    stored = np.rint(np.moveaxis(data["img"], -1, 0) * 10_000 + 1000).clip(1).astype(np.uint16)
    height, width = stored.shape[1:]
    transform = from_origin(500_000, 5_500_000, 30, 30)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": "EPSG:32633", "transform": transform}
    paths = [folder / f"{chip.stem}_{name}.tif" for name in BANDS]
    for path, band in zip(paths, stored, strict=True):
        with rasterio.open(path, "w", height=height, width=width, tiled=True, **profile) as dataset:
            dataset.write(band, 1)
            wkt = str(dataset.crs.to_wkt())
    files = tuple(SceneFile(href=str(path)) for path in paths)
    scene = Scene(
        scene_id=chip.stem,
        href=str(paths[2]),
        crs_wkt=wkt,
        transform=tuple(transform)[:6],
        width=width,
        height=height,
        count=3,
        dtype="uint16",
        rgb_bands=(1, 2, 3),
        nodata=None,
        band_files=(files[2], files[1], files[0]),
        quality=QualityMask(
            file=files[0],
            rule="values:1,2",
            source="this benchmark",
            model="csmask-l1c",
            bands=files,
            reflectance=Reflectance(scale=1e-4, offset=-0.1, source="this benchmark"),
        ),
    )
    return scene, np.isin(data["msk"][..., 0], (0, 4))


def computed(scene: Scene) -> tuple[NDArray[np.bool_], float]:
    """The mask of the whole scene, and the seconds that it took, without loading the network."""
    grid = RunGrid(crs_wkt=scene.crs_wkt, transform=scene.transform, width=scene.width, height=scene.height)
    with raster_environment(quality_source(scene)):
        mask = open_marks(scene, grid)
        start = time.perf_counter()
        hidden = mask.marks(grid.window).hidden
        seconds = time.perf_counter() - start
        mask.close()
    return hidden, seconds


def packages_own(chip: Path) -> tuple[NDArray[np.bool_], float]:
    """The same from the package's class, which loads its network each time; one thread."""
    from ukis_csmask.mask import CSmask

    image = np.load(chip)["img"].astype(np.float32)
    start = time.perf_counter()
    mask = CSmask(image, list(BANDS), product_level="l1c", intra_op_num_threads=1, inter_op_num_threads=1)
    return mask.csm[..., 0] > 0, time.perf_counter() - start


def write_scene(folder: Path, side_px: int) -> Path:
    """Write a scene of 10 m, and its `SCL` of 20 m beside it, in which clouds are patches of 640 m."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "dtype": "uint8", "crs": "EPSG:32633", "tiled": True, "compress": "DEFLATE"}
    pixels = rng.integers(30, 220, (3, side_px, side_px)).astype(np.uint8)
    classes = rng.integers(0, 12, (side_px // 64, side_px // 64)).astype(np.uint8)
    mask = classes.repeat(32, axis=0).repeat(32, axis=1)[None]
    for name, values, gsd in (("scene", pixels, 10), ("scene_SCL", mask, 20)):
        place = {"transform": from_origin(500_000, 5_500_000, gsd, gsd), "blockxsize": 512, "blockysize": 512}
        count, height, width = values.shape
        with rasterio.open(
            folder / f"{name}.tif", "w", count=count, height=height, width=width, **place, **profile
        ) as dataset:
            dataset.write(values)
    return folder / "scene.tif"


def tiles_per_cpu_s(scene: Path, mask_file: str | None, crs: str | None) -> float:
    """Read a scene in blocks of 4 x 4 tiles of 1024 px; the best of three."""
    scenes = open_scenes(SourceOptions(hrefs=(str(scene),), mask_file=mask_file))
    plan = plan_tiles(None, scenes, GridOptions(tile_px=1024, halo_px=64, block_tiles=4, crs=crs))
    sources = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    best = 0.0
    for _ in range(3):
        reader = CogReader(sources, plan.grid)
        start = time.process_time()
        tiles = sum(len(reader.read(block).block.tiles) for block in plan.blocks())
        best = max(best, tiles / (time.process_time() - start))
        reader.close()
    return best


def main(argv: list[str] | None = None) -> None:
    """Print one line per chip and method, then what limits for tiles give up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chips", type=Path, default=Path("../shared/data/clouds"))
    parser.add_argument("--side", type=int, default=7168, help="side in px of the scene that is read")
    args = parser.parse_args(argv)
    masks = []
    with tempfile.TemporaryDirectory() as folder:
        print("chip       method   recall precision agreement seconds")
        for name in CHIPS:
            chip = args.chips / f"{name}.npz"
            scene, truth = chip_scene(Path(folder), chip)
            computed(scene)  # the network is loaded once
            for method, (hidden, seconds) in (("ours", computed(scene)), ("package", packages_own(chip))):
                told = figures_of(hidden, truth)
                print(
                    f"{name:10s} {method:8s} {told.recall:6.3f} {told.precision:9.3f} {told.agreement:9.3f} "
                    f"{seconds:7.2f}"
                )
            masks.append(computed(scene)[0])
        scene_path = write_scene(Path(folder), args.side)
        for text, crs in (("on its lattice", None), ("warped to another zone", "EPSG:32632")):
            bare, masked = (tiles_per_cpu_s(scene_path, name, crs) for name in (None, "{stem}_SCL.tif"))
            print(f"read {text}: {bare:.0f} tiles per CPU second, with SCL {masked:.0f}")
    whole = np.concatenate(masks)
    for limit in (0.5, 0.6, 0.7, 0.8, 0.9):
        squares, clear = given_up(whole, limit)
        print(
            f"limit {limit:.0%}: {squares:.0%} of squares are left out, with {clear:.1%} of the clear ground"
        )


if __name__ == "__main__":
    main()
