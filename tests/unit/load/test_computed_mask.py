"""Masks that are computed: the cut does not matter, and the network is fed as it was trained.

Oracle: a network that is replaced by a threshold, and the published masks of real chips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import Affine

from pipeline.errors import SourceError
from pipeline.files.raster_access import raster_environment
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load import computed_mask as module
from pipeline.load.computed_mask import CORE_PX, ComputedMask, load_network
from pipeline.load.quality import open_marks, quality_source
from pipeline.schema.imagery import QualityMask, Reflectance, Scene, SceneFile
from pipeline.schema.tiling import RunGrid, Window

MakeTif = Callable[..., str]
FINE = Affine(10, 0, 450000, 0, -10, 5540000)
COARSE = Affine(20, 0, 450000, 0, -20, 5540000)


class Threshold:
    """Stands for the network: cloud where blue is above 0.5, shadow where near infrared is below 0.1."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def classes(self, reflectance: np.ndarray) -> np.ndarray:
        assert reflectance.shape == (6, 256, 256)
        assert reflectance.dtype == np.float32
        self.seen.append(reflectance)
        found = (reflectance[0] > 0.5).astype(np.uint8)
        found[(reflectance[3] < 0.1) & (found == 0)] = 2
        return found


def scene_of(make_tif: MakeTif, bands: np.ndarray, transforms: list[Affine], **profile: object) -> Scene:
    """Six files of one band; `bands`: six arrays, each on its lattice."""
    paths = [
        make_tif(f"b{number}.tif", band[None], transform=transform, **profile)
        for number, (band, transform) in enumerate(zip(bands, transforms, strict=True))
    ]
    (scene,) = open_scenes(SourceOptions(hrefs=(f"red={paths[2]},green={paths[1]},blue={paths[0]}",)))
    files = tuple(SceneFile(href=str(Path(path).absolute())) for path in paths)
    quality = QualityMask(
        file=files[0],
        rule="values:1,2",
        source="a test",
        model="csmask-l2a",
        bands=files,
        reflectance=Reflectance(scale=0.0001, offset=-0.1, source="a test"),
    )
    return replace(scene, quality=quality)


def grid_of(scene: Scene) -> RunGrid:
    return RunGrid(crs_wkt=scene.crs_wkt, transform=scene.transform, width=scene.width, height=scene.height)


def hidden_of(scene: Scene, grid: RunGrid, *windows: Window, network: Any = None) -> list[np.ndarray]:
    with raster_environment(quality_source(scene)):
        mask = ComputedMask(scene, grid, network or Threshold())
        found = [mask.marks(window) for window in windows or (grid.window,)]
        mask.close()
    assert not any(marks.lacking.any() for marks in found)
    return [marks.hidden for marks in found]


@pytest.fixture
def two_gsd(make_tif: MakeTif) -> tuple[Scene, np.ndarray]:
    """A scene of 10 m whose short-wave infrared has 20 m, and what hides it on the lattice of 20 m."""
    rng = np.random.default_rng(2)
    coarse = rng.integers(1, 10000, (6, 230, 210)).astype("uint16")
    fine = [band.repeat(2, 0).repeat(2, 1) for band in coarse[:4]]
    bands = [*fine, coarse[4], coarse[5]]
    scene = scene_of(make_tif, bands, [FINE] * 4 + [COARSE] * 2)  # type: ignore[arg-type]
    reflectance = coarse.astype(np.float32) * np.float32(0.0001) - np.float32(0.1)
    return scene, (reflectance[0] > 0.5) | (reflectance[3] < 0.1)


def test_the_mask_has_the_coarsest_pixels_and_every_pixel_finds_its_own(
    two_gsd: tuple[Scene, np.ndarray],
) -> None:
    scene, want = two_gsd
    (hidden,) = hidden_of(scene, grid_of(scene))
    assert (hidden == want.repeat(2, 0).repeat(2, 1)).all()


def test_no_pixel_depends_on_the_cut(two_gsd: tuple[Scene, np.ndarray]) -> None:
    """The stand-in sums over its whole picture, so that any other picture would give other classes."""

    class Moody(Threshold):
        def classes(self, reflectance: np.ndarray) -> np.ndarray:
            return ((reflectance[0] > 0.2) ^ (reflectance.sum() * 1000 % 1 > 0.5)).astype(np.uint8)

    scene, _ = two_gsd
    grid = grid_of(scene)
    parts = [
        Window(row0=0, col0=0, row1=40, col1=420),
        Window(row0=383, col0=380, row1=386, col1=390),
        Window(row0=100, col0=0, row1=460, col1=3),
    ]
    whole, *cut = hidden_of(scene, grid, grid.window, *parts, network=Moody())
    for part, found in zip(parts, cut, strict=True):
        assert (found == whole[part.slices_in(grid.window)]).all()
    (again,) = hidden_of(scene, grid, parts[1], network=Moody())
    assert (again == cut[1]).all()


def test_a_run_grid_of_another_zone_finds_the_same_pixels(two_gsd: tuple[Scene, np.ndarray]) -> None:
    from pyproj import CRS, Transformer

    scene, want = two_gsd
    crs = CRS.from_epsg(32635)
    back = Transformer.from_crs(crs, CRS.from_epsg(32636), always_xy=True)
    west, north = Transformer.from_crs(CRS.from_epsg(32636), crs, always_xy=True).transform(450000, 5540000)
    grid = RunGrid(
        crs_wkt=crs.to_wkt(),
        transform=(10.0, 0.0, west - 500, 0.0, -10.0, north + 500),
        width=300,
        height=200,
    )
    rows, cols = np.mgrid[0:200, 0:300]
    x, y = back.transform(west - 500 + 10 * (cols + 0.5), north + 500 - 10 * (rows + 0.5))
    row, col = (5540000 - y) / 20, (x - 450000) / 20
    inside = (row >= 0) & (col >= 0) & (row < 230) & (col < 210)
    expected = np.ones(rows.shape, bool)
    expected[inside] = want[row[inside].astype(int), col[inside].astype(int)]
    assert 0.3 < inside.mean() < 1
    part = Window(row0=37, col0=50, row1=140, col1=299)
    hidden, cut = hidden_of(scene, grid, grid.window, part)
    assert (hidden != expected).mean() < 0.001, "middles within 1 / 8192 of a pixel's edge may go either way"
    assert (cut == hidden[part.slices_in(grid.window)]).all()


def test_the_network_sees_reflectance_with_a_mirrored_border(two_gsd: tuple[Scene, np.ndarray]) -> None:
    scene, _ = two_gsd
    network = Threshold()
    hidden_of(scene, grid_of(scene), Window(row0=0, col0=0, row1=10, col1=10), network=network)
    (picture,) = network.seen
    assert picture.min() >= np.float32(-0.1)
    assert picture.max() <= 0.9
    margin = module.MARGIN_PX
    assert (picture[:, margin - 1] == picture[:, margin]).all()
    assert (picture[:, :, margin - 5] == picture[:, :, margin + 4]).all()


def test_blocks_are_computed_once_and_those_without_a_value_never(make_tif: MakeTif) -> None:
    bands = np.zeros((6, 3 * CORE_PX, 60), "uint16")
    bands[:, : CORE_PX // 2] = 3000
    scene = scene_of(make_tif, bands, [COARSE] * 6, nodata=0)
    grid = grid_of(scene)
    network = Threshold()
    windows = [Window(row0=row, col0=0, row1=row + 90, col1=60) for row in range(0, 3 * CORE_PX - 90, 30)]
    found = hidden_of(scene, grid, *windows, network=network)
    assert len(network.seen) == 1
    assert not found[-1].any()


def test_a_network_is_not_asked_about_files_that_do_not_fit(make_tif: MakeTif) -> None:
    bands = np.full((6, 40, 50), 3000, "uint16")
    scene = scene_of(make_tif, bands, [FINE] * 5 + [COARSE])
    assert not hidden_of(scene, grid_of(scene))[0].any()
    shifted = scene_of(make_tif, bands, [FINE] * 5 + [Affine(10, 0, 451000, 0, -10, 5540000)])
    with pytest.raises(SourceError, match=r"b5\.tif must cover its scene"):
        hidden_of(shifted, grid_of(shifted))
    assert scene.quality is not None
    missing = SceneFile(href="/nowhere/b5.tif")
    gone = replace(scene, quality=replace(scene.quality, bands=(*scene.quality.bands[:5], missing)))
    with pytest.raises(SourceError, match="nowhere"):
        hidden_of(gone, grid_of(gone))


@pytest.mark.parametrize("name", ["sentinel2", "landsat5", "landsat7"])
def test_real_chips_are_masked_as_published(make_tif: MakeTif, data_dir: Path, name: str) -> None:
    """Published masks: 0 cloud shadow, 4 cloud, 1 to 3 clear. The limits lie below what was measured
    (tests/benchmarks/README.md)."""
    pytest.importorskip("ukis_csmask", reason="needs the extra `clouds`")
    pytest.importorskip("onnxruntime", reason="needs the extra `clouds`")
    chip = np.load(data_dir / "clouds" / f"{name}.npz")
    truth = np.isin(chip["msk"][..., 0], (0, 4))
    stored = np.rint(np.moveaxis(chip["img"], -1, 0) * 10000 + 1000).clip(1).astype("uint16")
    scene = scene_of(make_tif, stored, [COARSE] * 6)
    assert scene.quality is not None
    scene = replace(scene, quality=replace(scene.quality, model="csmask-l1c"))
    with raster_environment(quality_source(scene)):
        mask = open_marks(scene, grid_of(scene))
        hidden = mask.marks(grid_of(scene).window).hidden
        mask.close()
    assert (hidden & truth).sum() / truth.sum() > 0.94
    assert (hidden & truth).sum() / hidden.sum() > 0.75
    assert (hidden == truth).mean() > 0.83
    assert load_network("csmask-l1c") is load_network("csmask-l1c")


def test_six_bands_of_one_file_are_one_dataset(make_tif: MakeTif) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(1, 10000, (6, 50, 60)).astype("uint16")
    scene = scene_of(make_tif, pixels, [COARSE] * 6)
    (apart,) = hidden_of(scene, grid_of(scene))
    path = make_tif("all.tif", pixels, transform=COARSE)
    assert scene.quality is not None
    files = tuple(SceneFile(href=path, band=number) for number in range(1, 7))
    one = replace(scene, quality=replace(scene.quality, file=files[0], bands=files))
    with raster_environment(quality_source(one)):
        mask = ComputedMask(one, grid_of(one), Threshold())  # type: ignore[arg-type]
        assert len({id(dataset) for dataset in mask._datasets}) == 1
        assert (mask.marks(grid_of(one).window).hidden == apart).all()
        mask.close()
