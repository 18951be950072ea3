"""Small rasters with known pixels, a range server that counts, and the sample data when it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fault_server import FaultServer, fault_server
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, SceneSource, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.load.stretch import IDENTITY
from pipeline.load.validity import ValidityRule

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip("the sample data folder ../shared/data is absent")
    return DATA


def write_tif(
    path: Path, pixels: NDArray[np.generic], *, mask: NDArray[np.bool_] | None = None, **profile: object
) -> str:
    """Write (bands, H, W) pixels as a tiled GeoTIFF, or as a COG with `driver="COG"`."""
    settings: dict[str, object] = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32636",
        "transform": Affine(0.5, 0, 450000, 0, -0.5, 40000),
        "compress": "DEFLATE",
    }
    if profile.get("driver") != "COG":
        settings |= {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(path, "w", **(settings | profile)) as dataset,
    ):
        if pixels.shape[0] >= 3 and dataset.driver != "COG":
            names = [
                ColorInterp.red,
                ColorInterp.green,
                ColorInterp.blue,
                *[ColorInterp.undefined] * (pixels.shape[0] - 3),
            ]
            if pixels.shape[0] == 4 and profile.get("alpha"):
                names[3] = ColorInterp.alpha
            dataset.colorinterp = names
        dataset.write(pixels)
        if mask is not None:
            dataset.write_mask(mask)
    return str(path)


@pytest.fixture
def make_tif(tmp_path: Path) -> Callable[..., str]:
    def make(name: str, pixels: NDArray[np.generic], **profile: object) -> str:
        return write_tif(tmp_path / name, pixels, **profile)  # type: ignore[arg-type]

    return make


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A planned run and its reader."""

    plan: Plan
    reader: CogReader


@pytest.fixture
def open_run() -> Iterator[Callable[..., OpenRun]]:
    readers: list[CogReader] = []

    def make(
        *hrefs: str,
        grid: GridOptions | None = None,
        load: LoadOptions | None = None,
        bands: tuple[int, ...] | None = None,
        unseen: bool = False,
    ) -> OpenRun:
        """`unseen`: nothing looks at the pixels before the reader does, so GDAL has none in its cache."""
        load = load or LoadOptions()
        scenes = open_scenes(SourceOptions(hrefs=hrefs, bands=bands))
        plan = plan_tiles(None, scenes, grid or GridOptions(tile_px=64, halo_px=8, block_tiles=2))
        if unseen:
            ((scene,), (offset,), (window,)) = plan.scenes, plan.offsets, plan.scene_windows
            rule = ValidityRule(kind="none")
            sources = (
                SceneSource(scene=scene, offset_rc=offset, window=window, stretch=IDENTITY, validity=rule),
            )
        else:
            sources = prepare_scenes(plan.scenes, load, offsets=plan.offsets, windows=plan.scene_windows)
        readers.append(CogReader(sources, plan.grid, options=load))
        return OpenRun(plan=plan, reader=readers[-1])

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture
def range_server(tmp_path: Path) -> Iterator[FaultServer]:
    with fault_server(tmp_path) as server:
        yield server
