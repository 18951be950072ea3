"""Three files as one dataset: compared with rasterio reading each file alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.files.stacked_bands import OpenBand, stack_bands

PLACE = Affine(10, 0, 450000, 0, -10, 40000)


def write(path: Path, pixels: NDArray[Any], *, mask: NDArray[np.bool_] | None = None, **profile: Any) -> str:
    """Write (bands, H, W) pixels."""
    count, height, width = pixels.shape
    settings = {"driver": "GTiff", "count": count, "height": height, "width": width, "crs": "EPSG:32636"}
    settings |= {"dtype": pixels.dtype.name, "transform": PLACE, "compress": "DEFLATE"} | profile
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(path, "w", **settings) as dataset,
    ):
        dataset.write(pixels)
        if mask is not None:
            dataset.write_mask(mask)
    return str(path)


def noise(seed: int, *, height: int = 40, width: int = 30, dtype: str = "uint16") -> NDArray[Any]:
    return np.random.default_rng(seed).integers(1, 200, (1, height, width)).astype(dtype)


@contextmanager
def stacked(*paths: str, bands: tuple[int, int, int] = (1, 1, 1)) -> Iterator[Any]:
    with ExitStack() as stack:
        opened = [
            OpenBand(name=Path(path).name, dataset=stack.enter_context(rasterio.open(path)), band=band)
            for path, band in zip(paths, bands, strict=True)
        ]
        dataset = stack_bands(opened)
    with dataset:
        yield dataset


def test_it_has_the_pixels_of_the_three_files_in_order(tmp_path: Path) -> None:
    """Names may hold what XML does not."""
    pixels = [noise(seed) for seed in range(3)]
    paths = [write(tmp_path / f"<{seed}> & ü.tif", item) for seed, item in enumerate(pixels)]
    with stacked(*paths) as dataset:
        assert (dataset.read() == np.concatenate(pixels)).all()
        assert [item.name for item in dataset.colorinterp] == ["red", "green", "blue"]
        with rasterio.open(paths[0]) as red:
            assert (dataset.crs, dataset.transform, dataset.shape) == (red.crs, red.transform, red.shape)
            assert dataset.compression == red.compression
        assert dataset.nodata is None
        assert (dataset.dataset_mask() == 255).all()


def test_any_band_of_a_file_may_be_taken(tmp_path: Path) -> None:
    pixels = np.concatenate([noise(seed) for seed in range(4)])
    path = write(tmp_path / "a.tif", pixels)
    with stacked(path, path, path, bands=(4, 2, 1)) as dataset:
        assert (dataset.read() == pixels[[3, 1, 0]]).all()
    with pytest.raises(InputError, match=r"a\.tif.*band 5 of 4"), stacked(path, path, path, bands=(1, 2, 5)):
        pass


def test_a_pixel_is_nodata_only_where_all_three_are(tmp_path: Path) -> None:
    pixels = [noise(seed) for seed in range(3)]
    for index, item in enumerate(pixels):
        item[0, : 3 + index] = 0
    paths = [write(tmp_path / f"{seed}.tif", item, nodata=0) for seed, item in enumerate(pixels)]
    with stacked(*paths) as dataset:
        assert dataset.nodata == 0
        assert ((dataset.dataset_mask() == 0) == (np.concatenate(pixels) == 0).all(axis=0)).all()
        assert (dataset.dataset_mask()[:3] == 0).all()


def test_masks_of_the_files_are_joined(tmp_path: Path) -> None:
    """A file without a mask has a value everywhere, so then no pixel lacks imagery."""
    rng = np.random.default_rng(5)
    masks = [rng.random((40, 30)) < 0.4 for _ in range(3)]
    paths = [write(tmp_path / f"{index}.tif", noise(index), mask=mask) for index, mask in enumerate(masks)]
    with stacked(*paths) as dataset:
        assert ((dataset.dataset_mask() > 0) == np.logical_or.reduce(masks)).all()
    plain = write(tmp_path / "plain.tif", noise(9))
    with stacked(paths[0], paths[1], plain) as dataset:
        assert (dataset.dataset_mask() > 0).all()


def test_overviews_are_read_where_all_files_have_them(tmp_path: Path) -> None:
    pixels = [noise(seed, height=600, width=600) for seed in range(3)]
    paths = [
        write(tmp_path / f"{seed}.tif", item, driver="COG", blocksize=128, overviews="AUTO")
        for seed, item in enumerate(pixels)
    ]
    with stacked(*paths) as dataset:
        small = dataset.read(out_shape=(3, 150, 150))
        assert dataset.overviews(1)
        for index, path in enumerate(paths):
            with rasterio.open(path) as own:
                assert own.overviews(1) == dataset.overviews(1)
                assert (own.read(1, out_shape=(150, 150)) == small[index]).all()


def test_the_stack_of_a_lossy_file_is_lossy(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{kind}.tif", noise(1, dtype="uint8"), compress=kind)
        for kind in ("DEFLATE", "JPEG", "NONE")
    ]
    with stacked(*paths) as dataset:
        assert dataset.compression.value == "JPEG"
    with stacked(paths[2], paths[0], paths[0]) as dataset:
        assert dataset.compression is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crs": "EPSG:32637"}, r"one CRS.*EPSG:32636 \(red\.tif\); green: EPSG:32637 \(other\.tif\)"),
        ({"crs": None}, r"one CRS.*green: None"),
        ({"transform": PLACE @ Affine.translation(0.5, 0)}, r"one place of their pixels.*450005"),
        ({"transform": PLACE @ Affine.scale(1.001)}, r"one place of their pixels"),
        ({"nodata": 0}, r"one nodata value.*red: None \(red\.tif\); green: 0\.0"),
    ],
)  # fmt: skip
def test_files_of_another_picture_are_refused_with_both_values(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    red = write(tmp_path / "red.tif", noise(0))
    other = write(tmp_path / "other.tif", noise(1), **change)
    with pytest.raises(InputError, match=words), stacked(red, other, red):
        pass


def test_other_sizes_and_types_are_refused_with_both_values(tmp_path: Path) -> None:
    red = write(tmp_path / "red.tif", noise(0))
    small = write(tmp_path / "small.tif", noise(1, height=20))
    byte = write(tmp_path / "byte.tif", noise(1, dtype="uint8"))
    with (
        pytest.raises(InputError, match=r"one size.*30 x 40 px.*blue: 30 x 20 px \(small"),
        stacked(red, red, small),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"one data type.*uint16.*green: uint8 \(byte"),
        stacked(red, byte, red),
    ):
        pass


def test_a_hundredth_of_a_pixel_is_the_same_place(tmp_path: Path) -> None:
    red = write(tmp_path / "red.tif", noise(0))
    near = write(tmp_path / "near.tif", noise(1), transform=PLACE @ Affine.translation(0.005, 0))
    with stacked(red, near, red) as dataset:
        assert dataset.transform == PLACE


def test_not_a_number_may_be_the_nodata_value(tmp_path: Path) -> None:
    pixels = [noise(seed, dtype="float32") for seed in range(3)]
    for item in pixels:
        item[0, :5] = np.nan
    paths = [write(tmp_path / f"{i}.tif", item, nodata=float("nan")) for i, item in enumerate(pixels)]
    with stacked(*paths) as dataset:
        assert np.isnan(dataset.nodata)
        assert ((dataset.dataset_mask() == 0) == np.isnan(pixels[0][0])).all()
