"""Hrefs, GDAL settings and the guarded open. The hostile files are those of the threat model, made small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.files.raster_access import (
    PROCESS_CACHE_MB,
    SMALL_CACHE_MB,
    gdal_environment,
    href_kind,
    open_raster,
    raster_environment,
    set_process_defaults,
)


def write(path: Path, *, side: int = 64, **profile: object) -> str:
    settings = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8"}
    settings |= {"crs": "EPSG:32636", "transform": Affine(1, 0, 0, 0, -1, 0)} | profile
    with rasterio.open(path, "w", **settings) as dataset:
        if side <= 1024:
            dataset.write(np.full((int(str(settings["count"])), side, side), 7, dtype="uint8"))
    return str(path)


@pytest.mark.parametrize(
    ("href", "kind"),
    [
        ("https://host/a.tif?sig=x", "http"),
        ("HTTPS://host/a.tif", "http"),
        ("http://127.0.0.1:80/ort ü%231.tif", "http"),
        ("http://[::1]:8080/a.tif", "http"),
        ("https://host?layer=a", "http"),
        ("s3://bucket/some/key.tif", "s3"),
        ("s3://bucket/#1?.tif", "s3"),
        ("/data/a.tif", "local"),
        ("a.tif", "local"),
        ("MEM:::DATAPOINTER=1", "local"),
    ],
)
def test_kinds_of_hrefs(href: str, kind: str) -> None:
    assert href_kind(href) == kind


@pytest.mark.parametrize(
    "href",
    ["http://", "https:///a.tif", "https://host", "https://host/", "http:/host/a.tif", "s3://bucket",
     "s3:///a.tif", "s3:/bucket/a.tif", "http://h:99999/a.tif", "http://h:x/a.tif", "http://[::1/a.tif",
     "http://ho st/a.tif"],
)  # fmt: skip
def test_malformed_urls_are_refused_with_the_form_that_is_wanted(href: str) -> None:
    with pytest.raises(InputError, match="https://"):
        href_kind(href)


@pytest.mark.parametrize(
    "href",
    ["ftp://h/a.tif?sig=SECRET", "https://me:SECRET@host/a.tif", "http://h:x/a b.tif?sig=SECRET",
     "http:///a.tif?sig=SECRET", "http://h/a.tif?\nsig=SECRET", "/vsicurl/https://h/a.tif?sig=SECRET"],
)  # fmt: skip
def test_a_refusal_shows_no_token(href: str) -> None:
    with pytest.raises(InputError) as caught:
        href_kind(href)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "href",
    ["", " ", "/vsicurl/https://x/a.tif", "/VSIzip/a.zip", "<VRTDataset/>", " <VRTDataset/>",
     "https://me:secret@host/a.tif", "ftp://h/a.tif", "gs://b/k.tif",
     "file:///etc/passwd", "a\nb.tif", "a\x00.tif"],
)  # fmt: skip
def test_other_hrefs_are_refused(href: str) -> None:
    with pytest.raises(InputError, match="source"):
        href_kind(href)


@pytest.mark.parametrize(
    "href", ["GTI:index.gpkg", "NETCDF:x.nc:v", "MEM:::DATAPOINTER=1", "GTIFF_DIR:1:a.tif", "nothing.tif"]
)
def test_driver_prefixes_are_just_missing_files(href: str) -> None:
    with raster_environment(href), pytest.raises(InputError, match="must exist"):
        open_raster(href)


def test_a_vrt_in_disguise_does_not_leak_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"top secret bytes" * 4)
    evil = tmp_path / "evil.tif"
    evil.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8">'
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="0">{tmp_path / "secret.bin"}</SourceFilename>'
        "</VRTRasterBand></VRTDataset>"
    )
    with raster_environment(str(evil)), pytest.raises(InputError, match=r"readable GeoTIFF.*evil\.tif"):
        open_raster(str(evil))


def test_a_png_is_not_a_geotiff(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "a.png", "w", driver="PNG", width=8, height=8, count=3, dtype="uint8"
    ) as dataset:
        dataset.write(np.ones((3, 8, 8), dtype="uint8"))
    with pytest.raises(InputError, match="gdal_translate"):
        open_raster(str(tmp_path / "a.png"))


def test_overviews_in_another_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/vsicurl/http://127.0.0.1:9/x.tif")
    with raster_environment(path), pytest.raises(InputError, match="overviews in another file"):
        open_raster(path)


def test_headers_that_claim_too_much_are_refused(tmp_path: Path) -> None:
    sparse = write(
        tmp_path / "sparse.tif",
        side=400_000,
        tiled=True,
        blockxsize=4096,
        blockysize=4096,
        SPARSE_OK="TRUE",
        count=1,
        BIGTIFF="YES",
    )
    with raster_environment(sparse), pytest.raises(InputError, match="400000 x 400000"):
        open_raster(sparse)
    block = write(
        tmp_path / "block.tif",
        side=8192,
        tiled=True,
        blockxsize=8192,
        blockysize=8192,
        SPARSE_OK="TRUE",
        interleave="pixel",
    )
    with raster_environment(block), pytest.raises(InputError, match="internal block"):
        open_raster(block)
    bands = write(tmp_path / "bands.tif", side=4, count=1025)
    with raster_environment(bands), pytest.raises(InputError, match="bands"):
        open_raster(bands)


def test_local_files_keep_their_sidecars() -> None:
    assert "GDAL_DISABLE_READDIR_ON_OPEN" not in gdal_environment("/data/a.tif")
    assert gdal_environment("https://h/a.tif")["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert gdal_environment("s3://b/a.tif")["GDAL_HTTP_MAX_RETRY"] == "4"


def test_what_the_user_exported_wins_but_locks_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    settings = gdal_environment("https://h/a.tif")
    assert "GDAL_HTTP_MAX_RETRY" not in settings
    assert settings["GDAL_VRT_ENABLE_PYTHON"] == "NO"


def test_the_cache_is_set_in_megabytes() -> None:
    """In a fresh process, because GDAL reads the limit once."""
    script = (
        "from pipeline.files.raster_access import set_process_defaults; set_process_defaults(77)\n"
        "import rasterio\n"
        "from rasterio.env import get_gdal_config\n"
        "from rasterio.io import MemoryFile\n"
        "with MemoryFile() as f:\n"
        "    with f.open(driver='GTiff', width=1, height=1, count=1, dtype='uint8') as d: pass\n"
        "print(get_gdal_config('GDAL_CACHEMAX'))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "GDAL_CACHEMAX"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) in (77, 77 * 1024 * 1024)


@pytest.mark.parametrize(("before", "after"), [(None, "32"), ("128", "32"), ("500", "500")])
def test_what_the_user_exported_stays_and_what_a_process_inherits_does_not(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setenv("GDAL_CACHEMAX", before or "")
    if before is None:
        monkeypatch.delenv("GDAL_CACHEMAX")
    set_process_defaults(SMALL_CACHE_MB)
    assert os.environ["GDAL_CACHEMAX"] == after
    set_process_defaults()  # a reader that a process with the small cache has started
    assert os.environ["GDAL_CACHEMAX"] == ("500" if before == "500" else str(PROCESS_CACHE_MB))
