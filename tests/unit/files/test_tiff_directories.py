from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from tiff_bytes import ASCII, LONG8, SHORT, RawDirectory, RawTag, image_tags, tag, tiff_bytes

from pipeline.errors import InputError
from pipeline.files.tiff_directories import MAX_DIRECTORIES, DirectoryCaps, check_directories

CAPS = DirectoryCaps(pixels=10**11, block_bytes=64 * 1024 * 1024)
BASE = RawDirectory(tags=image_tags())


def check(content: bytes) -> None:
    check_directories(io.BytesIO(content), "http://h/a.tif", CAPS)


def overview(**more: RawTag) -> RawDirectory:
    return RawDirectory(tags=image_tags(side=32, t254=tag(1), **more))


@pytest.mark.parametrize("big", [False, True])
def test_an_honest_file_passes_and_gdal_reads_it(tmp_path: Path, big: bool) -> None:
    """The writer of these tests makes files that GDAL takes, so its refusals are about what they claim."""
    content = tiff_bytes(BASE, overview(), big=big)
    check(content)
    (tmp_path / "a.tif").write_bytes(content)
    with rasterio.open(tmp_path / "a.tif", driver="GTiff") as dataset:
        assert (dataset.width, dataset.count, dataset.overviews(1)) == (64, 3, [2])


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_files_that_gdal_writes_pass(tmp_path: Path, bigtiff: str, byteorder: str) -> None:
    path = tmp_path / "a.tif"
    profile = {"width": 512, "height": 512, "count": 3, "dtype": "uint16", "compress": "DEFLATE"}
    with rasterio.open(
        path, "w", driver="GTiff", tiled=True, BIGTIFF=bigtiff, ENDIANNESS=byteorder.upper(), **profile
    ) as dataset:
        dataset.write(np.ones((3, 512, 512), dtype="uint16"))
        dataset.write_mask(np.ones((512, 512), dtype=bool))
        dataset.build_overviews([2, 4])
    with path.open("rb") as file:
        check_directories(file, "a.tif", CAPS)


HUGE = 29_952
REFUSED: dict[str, tuple[bytes, str]] = {
    "an overview of one huge tile": (
        tiff_bytes(BASE, overview(t322=tag(HUGE), t323=tag(HUGE), t259=tag(8, kind=SHORT))),
        "internal block",
    ),
    "a mask of one huge tile": (
        tiff_bytes(BASE, RawDirectory(tags=image_tags(t254=tag(4), t322=tag(HUGE), t323=tag(HUGE)))),
        "internal block",
    ),
    "an overview of one huge packed strip": (
        tiff_bytes(
            BASE,
            RawDirectory(
                tags={
                    number: value
                    for number, value in image_tags(
                        t254=tag(1), t256=tag(HUGE), t257=tag(HUGE), t259=tag(8, kind=SHORT)
                    ).items()
                    if number not in (322, 323, 324, 325)
                }
            ),
        ),
        "internal block",
    ),
    "an overview of 64 bits and 64 bands": (
        tiff_bytes(
            BASE,
            overview(
                t258=tag(*[64] * 64, kind=SHORT), t277=tag(64, kind=SHORT), t322=tag(1024), t323=tag(1024)
            ),
        ),
        "internal block",
    ),
    "a huge overview in a subdirectory": (
        tiff_bytes(
            RawDirectory(tags=image_tags(t330=tag(8 + 2 + 12 * 12 + 4 + 6)), following=0),
            overview(t322=tag(HUGE), t323=tag(HUGE)),
        ),
        "internal block",
    ),
    "an overview of a trillion pixels": (
        tiff_bytes(BASE, overview(t256=tag(1_000_000), t257=tag(1_000_000))),
        "at most 100,000,000,000 pixels",
    ),
    "a description of 2 GB": (
        tiff_bytes(RawDirectory(tags=image_tags(t270=RawTag(kind=ASCII, count=2**31, offset=8)))),
        "tag 270",
    ),
    "metadata of 2**60 bytes": (
        tiff_bytes(
            RawDirectory(tags=image_tags(t42112=RawTag(kind=ASCII, count=2**60, offset=16))), big=True
        ),
        "tag 42112",
    ),
    "4 billion tile offsets": (
        tiff_bytes(RawDirectory(tags=image_tags(t324=tag(8, count=2**32 - 1, offset=8)))),
        "tag 324",
    ),
    "2**61 tile sizes": (
        tiff_bytes(RawDirectory(tags=image_tags(t325=tag(8, kind=LONG8, count=2**61, offset=16))), big=True),
        "tag 325",
    ),
    "a directory of 2**63 tags": (
        tiff_bytes(RawDirectory(tags=image_tags(), n_tags=2**63), big=True),
        "4,096 tags",
    ),
    "a directory of 65,535 tags": (tiff_bytes(RawDirectory(n_tags=65_535)), "4,096 tags"),
    "thousands of directories": (tiff_bytes(*[overview()] * (MAX_DIRECTORIES + 1)), "directories"),
    "subdirectories without end": (
        tiff_bytes(RawDirectory(tags=image_tags(t330=tag(*range(7_000, 17_000, 8))))),
        "directories",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_claims_too_much_is_refused(case: str) -> None:
    content, said = REFUSED[case]
    with pytest.raises(InputError, match=said) as caught:
        check(content)
    assert "gdal_translate" in str(caught.value)
    assert "http://h/a.tif" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"II*\0",
        b"<VRTDataset/>" * 9,
        b"II\x2a\0" + bytes(12),
        tiff_bytes(BASE, first=2**31),
        tiff_bytes(BASE, big=True, first=2**64 - 1),
        tiff_bytes(RawDirectory(tags=image_tags(), following=8)),  # a circle of one
        tiff_bytes(BASE, RawDirectory(tags=image_tags(), following=8)),  # of two
        tiff_bytes(RawDirectory(tags=image_tags(t330=tag(8)))),  # its own subdirectory
        tiff_bytes(RawDirectory(tags=image_tags(t330=tag(0, count=9, offset=2**31)))),
        tiff_bytes(RawDirectory(tags=image_tags(t258=tag(8, 8, 8, kind=SHORT, offset=2**32 - 1)))),
        tiff_bytes(BASE)[:40],
    ],
)
def test_what_is_malformed_ends_the_walk(content: bytes) -> None:
    check(content)


def test_other_pages_may_be_as_they_are() -> None:
    """Nobody reads them."""
    check(tiff_bytes(BASE, RawDirectory(tags=image_tags(t322=tag(HUGE), t323=tag(HUGE)))))


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_break_the_walk(noise: bytes, big: bool) -> None:
    head = b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0" if big else b"II\x2a\0\x08\0\0\0"
    with suppress(InputError):
        check(head + noise)
