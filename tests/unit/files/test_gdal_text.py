"""What GDAL says of failed reads, in its words and in plain ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError

from pipeline.files.gdal_text import gdal_message, plain_message


def test_a_damaged_block_is_told_in_plain_words(tmp_path: Path) -> None:
    """The last of four tiles of 64 x 64 px is cut off."""
    path = tmp_path / "cut.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (1, 128, 128), dtype="uint8")
    shape = {"width": 128, "height": 128, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=64, blockysize=64, **shape) as sink:
        sink.write(pixels)
    path.write_bytes(path.read_bytes()[:-1000])
    with (
        rasterio.open(path) as dataset,
        pytest.raises(RasterioIOError) as error,
    ):
        dataset.read()
    assert "TIFFReadEncodedTile" in gdal_message(error.value)
    said = plain_message(error.value)
    assert said.startswith(
        "a block of its pixels is damaged or incomplete (band 1, block row 1, block column 1)"
    )
    assert "TIFF" not in said
    assert "IReadBlock" not in said


@pytest.mark.parametrize(
    ("first", "cause", "plain"),
    [
        ("no such file", None, "no such file"),
        ("Read failed. See previous exception for details.", "disk gone", "disk gone"),
        (
            "Read failed",
            "ZIPDecode:Decoding error at scanline 0",
            "a block of its pixels is damaged or incomplete",
        ),
        (
            "x",
            "TIFFFillTile:Read error at row 512; got 38 bytes, expected 47",
            "a block of its pixels is damaged or incomplete: 38 of its 47 bytes are there",
        ),
    ],
)
def test_only_texts_of_the_library_change(first: str, cause: str | None, plain: str) -> None:
    error = RasterioIOError(first)
    error.__cause__ = None if cause is None else RuntimeError(cause)
    assert plain_message(error) == plain
