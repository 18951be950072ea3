"""How a raster is reached: which hrefs are allowed, the GDAL settings they need, and a guarded open.

1. `href_kind` sorts an href into local, http or s3 and refuses all else. `gdal_path` builds GDAL's path.
2. `gdal_environment` chooses the settings; what the user exported wins. `raster_environment` adds
   credentials.
3. `open_raster` opens GeoTIFFs only, and `check_header` caps what a header may claim.

No host and no private address is refused, because hrefs come from the operator's own command line.
"""

from __future__ import annotations

import functools
import os
import re
import urllib.parse
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.session import AWSSession, DummySession

from pipeline.errors import InputError, SourceError

HrefKind = Literal["local", "http", "s3"]

MAX_SCENE_PX = 100_000_000_000
"""Pixels one raster may claim (316,000 a side): a sparse file of a few MB can declare terabytes."""

MAX_SOURCE_BLOCK_BYTES = 64 * 1024 * 1024
"""Decoded bytes of one internal tile or strip: GDAL must hold all of it to return a single pixel."""

MAX_BANDS = 1024
"""Bands one raster may claim; hyperspectral cubes have some hundreds."""

PROCESS_CACHE_MB = 128
"""Megabytes of GDAL's decoded-block cache per process. GDAL's default is 5 % of the machine's memory in EVERY
worker."""

SMALL_CACHE_MB = 32
"""Megabytes of that cache where imagery is not read block by block: the driver's pictures, and tiles of
oracle models."""

_REMOTE_SETTINGS: dict[str, str] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}
"""Directory listing is off for remote files only: it finds `.tfw`, `.msk` and `.ovr` beside local ones."""

_COMMON_SETTINGS: dict[str, str] = {
    "GDAL_MAX_RAW_BLOCK_CACHE_SIZE": "200000000",
}
"""Room for the compressed bytes of a whole block of tiles."""

_LOCKED_SETTINGS: dict[str, str] = {
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
}

_TRANSIENT = re.compile(
    r"response code(?: on \S+)?: (?:429|5\d\d)|\btimed out\b|\btimeout\b|connection (?:re|time|closed)"
    r"|couldn't connect|failed to connect|could not (?:connect|resolve)|couldn't resolve|curl error",
    re.IGNORECASE,
)
"""What GDAL and curl say when the network or the server is to blame."""


def set_process_defaults(cache_mb: int = PROCESS_CACHE_MB) -> None:
    """Put process-wide GDAL settings into the environment; call before the first raster is opened.

    GDAL reads them once. `cache_mb`: size of the decoded-block cache in megabytes. It goes through the
    environment because `rasterio.Env` takes the same number as bytes. Settings that the user exported stay.
    Those that this function made in the parent process are replaced.
    """
    if os.environ.get("GDAL_CACHEMAX") in (None, str(PROCESS_CACHE_MB), str(SMALL_CACHE_MB)):
        os.environ["GDAL_CACHEMAX"] = str(cache_mb)


def href_kind(href: str) -> HrefKind:
    """Tell a local path, http(s) URL and s3 URL apart. Raises InputError for any other scheme, GDAL's own
    path syntax, user names in URLs and control characters."""
    shown = href if len(href) <= 120 else href[:117] + "..."
    if not href.strip() or any(ord(char) < 32 for char in href):
        raise InputError(
            "A source must be a path or URL of a GeoTIFF",
            came=repr(shown),
            remedy="give a file, a folder, a glob or a URL",
        )
    if href.lstrip().startswith("<") or href.lower().startswith("/vsi"):
        raise InputError(
            "A source must be a plain path or URL, not GDAL path syntax or VRT text",
            came=repr(shown),
            remedy="give the GeoTIFF itself, as a local path, https://... or s3://bucket/key",
        )
    scheme = urllib.parse.urlsplit(href).scheme.lower() if "://" in href else ""
    if scheme in ("http", "https"):
        if "@" in urllib.parse.urlsplit(href).netloc:
            raise InputError(
                "A source URL must not hold a user name or password",
                came=repr(shown),
                remedy="use a signed URL or s3://",
            )
        return "http"
    if scheme == "s3":
        return "s3"
    if scheme:
        raise InputError(
            "A source URL must be http, https or s3",
            came=repr(shown),
            remedy="copy the file here or give another URL of it",
        )
    return "local"


def gdal_path(href: str) -> str:
    """Build the path handed to GDAL: absolute local path, `/vsicurl/https://...` or `/vsis3/bucket/key`."""
    kind = href_kind(href)
    if kind == "http":
        return f"/vsicurl/{href}"
    if kind == "s3":
        return f"/vsis3/{href[len('s3://') :]}"
    return str(Path(href).absolute())


def gdal_environment(href: str) -> dict[str, str]:
    """Choose GDAL settings for reading `href`, without credentials. Variables that the user exported are left
    out."""
    settings = dict(_COMMON_SETTINGS)
    if href_kind(href) != "local":
        settings |= _REMOTE_SETTINGS
    if href_kind(href) == "s3":
        settings |= _s3_endpoint_settings()
    return {key: value for key, value in settings.items() if key not in os.environ} | _LOCKED_SETTINGS


def _s3_endpoint_settings() -> dict[str, str]:
    """Say boto3's AWS_ENDPOINT_URL(_S3) in GDAL's words, so that one variable serves both."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    parts = urllib.parse.urlsplit(url)
    return {
        "AWS_S3_ENDPOINT": parts.netloc,
        "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


@functools.lru_cache(maxsize=1)
def _aws_session() -> Any:
    """Make one boto3 session per process: it refreshes its own credentials, and making one may ask a metadata
    server."""
    return AWSSession()


def raster_environment(href: str, *, patient: bool = True) -> Any:
    """Make a `rasterio.Env` with the settings and credentials for `href`; enter it around every open and
    read.

    `patient`: GDAL repeats failed requests with growing pauses. Files opened inside keep this for their
    lifetime.
    """
    session = _aws_session() if href_kind(href) == "s3" else DummySession()
    settings = gdal_environment(href)
    if not patient:
        settings["GDAL_HTTP_MAX_RETRY"] = "0"
    return rasterio.Env(session=session, **settings)


def is_transient(error: BaseException) -> bool:
    """Whether GDAL's words point at the network rather than at the file."""
    return any(_TRANSIENT.search(text) for text in (str(error), str(error.__cause__ or "")))


def gdal_message(error: BaseException) -> str:
    """Read what GDAL said: the first and the innermost text of the chain, without rasterio's "see previous
    exception"."""
    texts = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        texts.append(str(error))
    said = [text for text in texts if not text.startswith("Read failed. See previous exception")] or texts
    return said[0] if said[-1] in said[0] else f"{said[0]} ({said[-1]})"


def open_raster(href: str) -> Any:
    """Open `href` as GeoTIFF and check its header; the caller closes the returned `rasterio.DatasetReader`.

    Call inside `raster_environment(href)`. Raises InputError when the file does not exist, is not a (Geo)TIFF
    or claims impossible sizes; SourceError (retryable) when a remote server did not answer.
    """
    kind = href_kind(href)
    if kind == "local" and not Path(href).is_file():
        raise InputError(
            "A source file must exist",
            came=href,
            remedy="check the path; globs and folders expand to *.tif and *.tiff",
        )
    try:
        dataset = rasterio.open(gdal_path(href), driver="GTiff", sharing=False)
    except RasterioIOError as error:
        text = gdal_message(error)
        if kind != "local" and is_transient(error):
            raise SourceError(f"{href} could not be opened: {text}", retryable=True) from error
        remedy = "give a GeoTIFF or COG; other formats convert with `gdal_translate -of COG in out.tif`"
        if kind == "s3":
            remedy += "; for a public bucket set AWS_NO_SIGN_REQUEST=YES"
        raise InputError(f"A source must be a readable GeoTIFF: {href}", came=text, remedy=remedy) from error
    try:
        check_header(dataset, href)
    except InputError:
        dataset.close()
        raise
    return dataset


def check_header(dataset: Any, href: str) -> None:
    """Refuse headers that would cost more than imagery can: size, bands, internal block, foreign overviews
    (InputError).
    """
    remedy = "rewrite it with `gdal_translate -of COG -co BLOCKSIZE=512 in.tif out.tif`"
    if dataset.width * dataset.height > MAX_SCENE_PX:
        raise InputError(
            f"A source may have at most {MAX_SCENE_PX:,} pixels: {href}",
            came=f"{dataset.width} x {dataset.height}",
            remedy=remedy,
        )
    if dataset.count > MAX_BANDS:
        raise InputError(
            f"A source may have at most {MAX_BANDS} bands: {href}",
            came=str(dataset.count),
            remedy="extract the bands you need",
        )
    pixel_interleaved = str(getattr(dataset.interleaving, "value", "")).lower() == "pixel"
    itemsize = max(np.dtype(name).itemsize for name in dataset.dtypes)
    for rows, cols in dataset.block_shapes:
        block_bytes = rows * cols * itemsize * (dataset.count if pixel_interleaved else 1)
        if block_bytes > MAX_SOURCE_BLOCK_BYTES:
            raise InputError(
                f"An internal block of a source may hold at most {MAX_SOURCE_BLOCK_BYTES:,} bytes: {href}",
                came=f"blocks of {cols} x {rows} px, {block_bytes:,} bytes",
                remedy=remedy,
            )
    if "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS"):
        raise InputError(
            f"A source must not point at overviews in another file: {href}",
            came="OVERVIEW_FILE in its metadata",
            remedy=remedy,
        )
