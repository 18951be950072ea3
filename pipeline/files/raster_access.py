"""How a raster is reached: which hrefs are allowed, the settings they need, and a guarded open.

1. `href_kind` sorts an href into local, http or s3 and refuses all else.
2. `raster_environment` is entered around every open and read. When it ends, no read may have failed, and a
   scene's local file must still be the planned one. Only then may pixels be trusted.
3. `open_raster` opens GeoTIFFs only. A `Scene` is opened in the version that the run was planned with, as
   one dataset also where its bands have files of their own. `check_header` caps what a header may claim.

An href that the user named may lead anywhere. One of a catalogue may reach what its guard allows, and is
signed when it is opened (`Terms`).
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.session import DummySession

from pipeline.errors import InputError, SourceError
from pipeline.files.file_identity import local_identity, require_same
from pipeline.files.gdal_text import plain_message
from pipeline.files.href_guard import require_allowed
from pipeline.files.hrefs import join_access, public_href
from pipeline.files.remote_error import RemoteError, UnopenedError
from pipeline.files.remote_file import failures, open_remote
from pipeline.files.remote_object import THE_USERS, Terms
from pipeline.files.stacked_bands import OpenBand, stack_bands
from pipeline.files.tiff_directories import DirectoryCaps, SeekableFile, check_directories, sidecars
from pipeline.schema.imagery import Scene, SceneFile

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
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}

_NO_SIDECARS = ("GDAL_DISABLE_READDIR_ON_OPEN", "GDAL_PAM_ENABLED")
"""Settings for remote files only: local ones may have `.tfw`, `.msk`, `.ovr` and `.aux.xml` beside them."""

_COMMON_SETTINGS: dict[str, str] = {
    "GDAL_MAX_RAW_BLOCK_CACHE_SIZE": "200000000",
}
"""Room for the compressed bytes of a whole block of tiles."""

_LOCKED_SETTINGS: dict[str, str] = {
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
}

_URL_LIKE = re.compile(r"(https?|s3):/[^/]", re.IGNORECASE)


def set_process_defaults(cache_mb: int = PROCESS_CACHE_MB) -> None:
    """Put process-wide GDAL settings into the environment; call before the first raster is opened.

    GDAL reads them once. `cache_mb`: size of the decoded-block cache in megabytes. It goes through the
    environment because `rasterio.Env` takes the same number as bytes. Settings that the user exported stay.
    Those that this function made in the parent process are replaced.
    """
    if os.environ.get("GDAL_CACHEMAX") in (None, str(PROCESS_CACHE_MB), str(SMALL_CACHE_MB)):
        os.environ["GDAL_CACHEMAX"] = str(cache_mb)


def href_kind(href: str) -> HrefKind:
    """Tell a local path, http(s) URL and s3 URL apart.

    Raises InputError for any other scheme, malformed URLs, user names in URLs, GDAL's own path syntax and
    control characters. The message shows no query string.
    """
    if _PLAIN_HREF.fullmatch(href):
        return "s3" if href.startswith("s3") else "http"
    public = public_href(href)
    shown = repr(public if len(public) <= 120 else public[:117] + "...")
    if not href.strip() or any(ord(char) < 32 for char in href):
        raise InputError(
            "A source must be a path or URL of a GeoTIFF",
            came=shown,
            remedy="give a file, a folder, a glob or a URL",
        )
    if href.lstrip().startswith("<") or href.lower().startswith("/vsi"):
        raise InputError(
            "A source must be a plain path or URL, not GDAL path syntax or VRT text",
            came=shown,
            remedy="give the GeoTIFF itself, as a local path, https://... or s3://bucket/key",
        )
    if "://" not in href and not _URL_LIKE.match(href):
        return "local"
    kind = _URL_KINDS.get(href.partition("://")[0].lower())
    if kind is None:
        raise InputError(
            "A source URL must begin with http://, https:// or s3://",
            came=shown,
            remedy="correct it, or copy the file here",
        )
    _require_well_formed(href, shown)
    return kind


_PLAIN_HREF = re.compile(r"(?:https?|s3)://[a-z0-9][a-z0-9.-]*/[^\s\\@\x00-\x1f]+")
"""Hrefs with a plain host and a path, in which nothing has to be looked for."""

_URL_KINDS: dict[str, HrefKind] = {"http": "http", "https": "http", "s3": "s3"}


def _require_well_formed(href: str, shown: str) -> None:
    """Refuse a URL without host and path, with a bad port, or with a user name. Raises InputError."""
    host, _, rest = href.partition("://")[2].partition("/")
    try:
        port = urllib.parse.urlsplit(f"//{host}").port
        complete = bool(host) and bool(rest or "?" in host) and port != 0 and not re.search(r"\s", host)
    except ValueError:
        complete = False
    if not complete:
        raise InputError(
            "A source URL must name a host or bucket, and a file there",
            came=shown,
            remedy="write https://host/path/scene.tif or s3://bucket/path/scene.tif",
        )
    if "@" in host.partition("?")[0]:
        raise InputError(
            "A source URL must not hold a user name or password",
            came=shown,
            remedy="use a signed URL or s3://",
        )


def gdal_environment(*hrefs: str) -> dict[str, str]:
    """Choose GDAL settings for reading `hrefs`. Variables that the user exported are left out."""
    kinds = {href_kind(href) for href in hrefs}
    settings = dict(_COMMON_SETTINGS)
    if kinds != {"local"}:
        settings |= _REMOTE_SETTINGS
    if "local" in kinds:
        settings = {key: value for key, value in settings.items() if key not in _NO_SIDECARS}
    return {key: value for key, value in settings.items() if key not in os.environ} | _LOCKED_SETTINGS


@contextmanager
def raster_environment(source: Scene | str, *, patient: bool = True) -> Iterator[None]:
    """Hold the settings for reading a scene or href. Enter it around every open and read, and trust no pixel
    before it ends.

    `patient`: failed requests are repeated with growing pauses. Files opened inside keep this for their
    lifetime. Raises SourceError at the end when a read failed inside, even one that GDAL took for a hole in
    the file, and when a local file of a scene is no longer the planned one. Close the dataset then: GDAL may
    have kept what it misread.
    """
    files = (SceneFile(href=source),) if isinstance(source, str) else source.files
    settings = gdal_environment(*(file.href for file in files))
    if isinstance(source, Scene) and source.guard is not None:
        settings.setdefault("GDAL_DISABLE_READDIR_ON_OPEN", "TRUE")  # only the `sidecars` that are checked
    before = {name: failures.count(name) for name in (public_href(file.href) for file in files)}
    try:
        with rasterio.Env(
            session=DummySession(), **settings | ({} if patient else {"GDAL_HTTP_MAX_RETRY": "0"})
        ):
            yield
    except RasterioError:
        _raise_failure_since(before)  # it says more than GDAL does
        raise
    _raise_failure_since(before)
    for file in files:
        if file.identity and href_kind(file.href) == "local":
            require_same(file.href, file.identity)


def _raise_failure_since(before: Mapping[str, int]) -> None:
    """Raise the last failure of an object that has failed since its failures were counted."""
    for name, count in before.items():
        if failures.count(name) > count:
            raise failures.last(name) from None


def open_raster(source: Scene | str) -> Any:
    """Open a scene or href as GeoTIFF, check its header, and return the `rasterio.DatasetReader`.

    A scene with `band_files` is one dataset of three bands. Call it inside `raster_environment(source)`, and
    close the dataset. Raises SourceError (retryable) when a server does not answer. Whatever else is wrong
    with an href raises InputError: no such file, no access, no GeoTIFF, impossible sizes. With a scene it
    raises SourceError, as does a file that is not the planned one.
    """
    if isinstance(source, str):
        return open_identified(source)[0]
    try:
        if source.band_files:
            dataset, _ = open_stacked(source.band_files, terms_of(source))
        else:
            dataset, _ = _opened(join_access(source.href, source.access), source.identity, terms_of(source))
    except InputError as error:
        raise SourceError(str(error)) from error
    if (dataset.width, dataset.height) != (source.width, source.height):
        came = f"{dataset.width} x {dataset.height}"
        dataset.close()
        planned = f"must have the {source.width} x {source.height} px that the run was planned with"
        raise SourceError(
            f"{source.href} {planned}. Got: {came}. To fix: put the earlier file back, or start a new run"
        )
    return dataset


def open_quality(scene: Scene) -> tuple[Any, ...]:
    """Open the files of a scene's quality mask (`QualityMask.files`), each in its planned version where it
    has one. A file that is listed again is the same dataset. Raises SourceError.
    """
    assert scene.quality is not None
    opened: dict[str, Any] = {}
    with ExitStack() as stack:
        for file in scene.quality.files:
            address = join_access(file.href, file.access)
            if address in opened:
                continue
            try:
                dataset, _ = _opened(address, file.identity or None, terms_of(scene))
            except InputError as error:
                raise SourceError(str(error)) from error
            opened[address] = stack.enter_context(dataset)
        stack.pop_all()
    return tuple(opened[join_access(file.href, file.access)] for file in scene.quality.files)


def open_identified(href: str, terms: Terms = THE_USERS) -> tuple[Any, Mapping[str, str]]:
    """Open an href as `open_raster` does; returns the dataset and what pins its content.

    That is `local_identity` of a file, and `size_bytes`, `etag` and `last_modified` of an object.
    """
    return _opened(href, None, terms)


def open_stacked(
    files: Sequence[SceneFile], terms: Terms = THE_USERS
) -> tuple[Any, tuple[Mapping[str, str], ...]]:
    """Open files of red, green and blue as one dataset of three bands (`stack_bands`), each in its planned
    version where it has one. Returns the dataset and what pins the content of each.

    Raises as `open_identified` does, and InputError for files that are not bands of one picture.
    """
    bands = []
    identities = []
    with ExitStack() as stack:
        for file in files:
            dataset, identity = _opened(join_access(file.href, file.access), file.identity or None, terms)
            bands.append(
                OpenBand(name=public_href(file.href), dataset=stack.enter_context(dataset), band=file.band)
            )
            identities.append(identity)
        return stack_bands(bands), tuple(identities)


def terms_of(scene: Scene) -> Terms:
    """Read on which terms the files of a scene are read."""
    return Terms(guard=scene.guard, signer=scene.signer)


def _opened(href: str, planned: Mapping[str, str] | None, terms: Terms) -> tuple[Any, Mapping[str, str]]:
    """Open and check an href, in the planned version where there is one."""
    name = public_href(href)
    kind = href_kind(href)
    before = failures.count(name)
    try:
        if kind == "local":
            require_allowed(href, terms.guard)
            dataset, identity = _opened_local(href, planned)
        else:
            dataset, identity = open_remote(href, planned, terms, _check_directories)
        if failures.count(name) > before:
            dataset.close()
            raise failures.last(name)
    except RemoteError as error:
        raise _refused(error, name) from None
    except RasterioIOError as error:
        if failures.count(name) > before:
            raise _refused(failures.last(name), name) from None
        remedy = "give a GeoTIFF or COG; other formats convert with `gdal_translate -of COG in.tif out.tif`"
        came = plain_message(error) if kind == "local" else "an object that GDAL cannot read as GeoTIFF"
        raise InputError(f"A source must be a readable GeoTIFF: {name}", came=came, remedy=remedy) from error
    try:
        check_header(dataset, name)
    except InputError:
        dataset.close()
        raise
    return dataset, identity


def _opened_local(path: str, planned: Mapping[str, str] | None) -> tuple[Any, Mapping[str, str]]:
    if not Path(path).is_file():
        raise InputError(
            "A source file must exist",
            came=path,
            remedy="check the path; globs and folders expand to *.tif and *.tiff",
        )
    absolute = str(Path(path).absolute())
    try:
        identity = planned or local_identity(absolute)
    except OSError as error:
        raise InputError(
            f"A source file must be readable: {path}",
            came=str(error.strerror),
            remedy="check its permissions",
        ) from error
    require_same(absolute, identity)
    for name in (absolute, *sidecars(absolute)):
        with Path(name).open("rb") as file:
            _check_directories(file, name)
    return rasterio.open(absolute, driver="GTiff", sharing=False), identity


def _check_directories(file: SeekableFile, name: str) -> None:
    caps = DirectoryCaps(pixels=MAX_SCENE_PX, block_bytes=MAX_SOURCE_BLOCK_BYTES)
    check_directories(file, name, caps)


def _refused(error: RemoteError, name: str) -> SourceError | InputError:
    """What the user is told: to try again where that may help, else how to mend the input."""
    if error.retryable:
        return error
    what = f"A source must be a readable GeoTIFF: {name}"
    refused = UnopenedError(what, came=error.reason, remedy=error.remedy)
    refused.status = error.status
    return refused


def check_header(dataset: Any, href: str) -> None:
    """Refuse a header that claims more pixels, bands or bytes per internal block than imagery has, or that
    points at overviews in another file.

    `href` names the file in messages. Raises InputError.
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
