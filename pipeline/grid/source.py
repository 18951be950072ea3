"""Which rasters to look at: each becomes a `Scene` by its header alone.

1. `expand_hrefs` turns files, folders, globs, .txt lists and URLs into one ordered list. Order matters: in a
   mosaic the first scene with a valid pixel wins.
2. `open_scene` reads one header: georeference, RGB bands, identity.
3. `open_scenes` reads all of them and makes their ids unique.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.files.hrefs import encoded_url, public_href, split_access
from pipeline.files.public_text import visible
from pipeline.files.raster_access import href_kind, open_identified, raster_environment
from pipeline.files.text_file import read_text
from pipeline.files.value_tags import tagged_reflectance
from pipeline.grid.band_files import band_hrefs, band_option, band_source, scene_of_bands
from pipeline.grid.bands import BandTable, choose_rgb_bands, separate_bands
from pipeline.grid.catalog.quality_table import LEVELS
from pipeline.grid.extent import require_possible
from pipeline.grid.lattice import crs_from_text, tuple_of
from pipeline.grid.mask_files import with_mask_files
from pipeline.grid.own_bands import with_computed_masks
from pipeline.grid.radiometry import Radiometry, decided
from pipeline.grid.scene_list import SceneList
from pipeline.grid.scene_times import rfc3339, with_times
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import AffineTuple

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_log = logging.getLogger(__name__)

_RASTER_SUFFIXES = (".tif", ".tiff", ".TIF", ".TIFF")
_HEADER_THREADS = 16
"""Remote headers opened at once; each costs a few requests of latency."""


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which rasters, and how to read their headers."""

    hrefs: tuple[str, ...]
    """Files, folders, globs, .txt lists, http(s) and s3 URLs, and `red=...,green=...,blue=...` of one scene;
    in order of priority. `find_scenes` takes catalogues among them, and `open_scenes` does not."""
    bands: tuple[str | int, ...] | None = None
    """Red, green, blue as 1-based numbers or names; None: what the file says."""
    crs: str | None = None
    """CRS of rasters that have none, as EPSG code, WKT or PROJ string. None: they stay in pixel space."""
    datetimes: tuple[str, ...] = ()
    """Rules for the time of scenes whose file says none (`scene_times.time_rule`)."""
    mask_file: str | None = None
    """Name of each scene's mask of clouds (`mask_files`). None: rasters have none."""
    mask: str | None = None
    """What of a mask hides the ground (`quality_table.mask_choice`). None: what is known of it."""
    radiometry: Radiometry = "auto"
    """How stored values become reflectance (`radiometry.parse_radiometry`)."""


def open_scenes(options: SourceOptions) -> tuple[Scene, ...]:
    """Open the header of every source and describe it.

    Raises:
        InputError: a source does not exist, is no GeoTIFF, has no usable georeference or bands, or a rule for
            times does not fit.
        SourceError: a server did not answer (retryable).
    """
    hrefs = expand_hrefs(options.hrefs)
    options = replace(options, hrefs=hrefs)
    if len(hrefs) > 1 and any(
        href_kind(file) != "local" for href in hrefs for file in band_hrefs(href) or (href,)
    ):
        with ThreadPoolExecutor(max_workers=_HEADER_THREADS) as pool:
            scenes = list(pool.map(lambda href: open_scene(href, options), hrefs))
    else:
        scenes = [open_scene(href, options) for href in hrefs]
    bands = separate_bands(hrefs)
    if bands is not None and all(scene.count == 1 for scene in scenes):
        _log.warning(
            "%d sources of one band each look like the bands of one scene. As they are, the first hides the "
            "others where it has pixels; %s shows them in colour",
            len(scenes),
            band_option([public_href(href) for href in bands]),
        )
    named = with_times(tuple(with_unique_ids(scenes)), options.datetimes)
    if options.mask_file is not None:
        return with_mask_files(named, options.mask_file, options.mask)
    word = (options.mask or "").strip().lower()
    return with_computed_masks(named, LEVELS[word]) if word in LEVELS else named


def expand_hrefs(hrefs: Iterable[str]) -> tuple[str, ...]:
    """Turn globs, folders, .txt lists and file:// URIs into paths, in order and without repeats.

    Files of one glob or folder are sorted by name. Raises InputError when nothing is found.
    """
    found: list[str] = []
    for href in hrefs:
        found.extend(_expand_one(href))
    require_sources(found)
    return tuple(dict.fromkeys(found))


def require_sources(found: Sequence[str | Scene]) -> None:
    """Raise InputError when there is nothing to look at."""
    if not found:
        raise InputError(
            "At least one source is needed",
            came="none",
            remedy="give --source with a GeoTIFF, a folder, a glob or a URL",
        )


def _expand_one(href: str) -> list[str]:
    if (bands := band_hrefs(href)) is not None:
        return [band_source([_one_file(file) for file in bands])]
    if href.lower().startswith("file://"):
        href = urllib.request.url2pathname(urllib.parse.urlsplit(href).path)
    if href_kind(href) != "local":
        _refuse_stac(href, None)
        if any(char in urllib.parse.urlsplit(href).path for char in "*["):
            raise InputError(
                "A glob must be local",
                came=public_href(href),
                remedy="list the URLs in a .txt file, one per line",
            )
        return [encoded_url(href)]
    path = Path(href)
    _refuse_stac(href, path)
    if path.is_dir():
        files = sorted(str(item) for item in path.iterdir() if item.suffix in _RASTER_SUFFIXES)
        if not files:
            raise InputError(
                "A source folder must hold *.tif or *.tiff files",
                came=href,
                remedy="give another folder or a glob",
            )
        return files
    if not path.exists() and glob.has_magic(href):
        files = sorted(item for item in glob.glob(href, recursive=True) if Path(item).is_file())
        if not files:
            raise InputError(
                "A source glob must match at least one file",
                came=href,
                remedy="check it with `ls`, and quote it for the shell",
            )
        return files
    if path.suffix.lower() == ".txt" and path.is_file():
        return [item for line in _list_lines(path) for item in _expand_one(line)]
    return [href]


def _one_file(href: str) -> str:
    """Expand the href of a band, which must be one file. Raises InputError."""
    found = _expand_one(href)
    if len(found) != 1:
        raise InputError(
            "A band of a scene must be one file",
            came=f"{len(found)} by {public_href(href)}",
            remedy="name it",
        )
    return found[0]


def _list_lines(path: Path) -> list[str]:
    """Read the sources in a .txt list: a path, glob or URL per line, quoted or not; # begins a comment line.

    Raises InputError when a line names another list.
    """
    text = read_text(path, "A .txt list of sources")
    lines = [line.strip().strip('"') for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        if line.lower().endswith(".txt"):
            raise InputError(
                f"A list of sources must name rasters: {path}",
                came=f"{line}, another list",
                remedy="put its lines into this list, or give both with --source",
            )
    return lines


def _refuse_stac(href: str, path: Path | None) -> None:
    """Name a STAC document for what it is, instead of a raster that does not open. Raises InputError.

    A local JSON file is looked into; a URL tells by its ending or by a STAC API's path.
    """
    kind = _stac_type(path) if path is not None else _stac_url(href)
    if kind:
        raise InputError(
            "--source must name rasters",
            came=f"{public_href(href)}, a {kind}",
            remedy="give a catalogue or its items as a --source of their own, an API with its collection: "
            + (_stac_form(href) if path is None else "stac:https://host/path#collection"),
        )


def _stac_type(path: Path) -> str | None:
    if path.suffix.lower() not in (".json", ".geojson") or not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return "JSON document"
    if isinstance(document, dict) and ("stac_version" in document or "assets" in document):
        kind = "Item" if document.get("type") == "Feature" else document.get("type", "document")
        return f"STAC {kind}"
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document.get("features") or [{}]
        return "STAC ItemCollection" if "assets" in features[0] else "GeoJSON file (is it meant as --aoi?)"
    return "JSON document"


def _stac_url(href: str) -> str | None:
    path = urllib.parse.urlsplit(href).path.rstrip("/")
    api = re.search(r"/collections/[^/]+(/items(/[^/]+)?)?$|/search$", path)
    return "STAC document" if api or path.lower().endswith((".json", ".geojson")) else None


def _may_be_api(href: str) -> bool:
    """Whether a URL that is no raster does not look like one either."""
    path = urllib.parse.urlsplit(href).path.lower()
    return href_kind(href) == "http" and not path.endswith((".tif", ".tiff"))


def _stac_form(href: str) -> str:
    """Write the URL of an API, its search or a collection as a source that names a catalogue."""
    place, _, rest = public_href(href).partition("/collections/")
    return f"stac:{place.rstrip('/').removesuffix('/search')}#{rest.partition('/')[0] or 'collection'}"


def open_scene(href: str, options: SourceOptions) -> Scene:
    """Describe one scene by its header. Its id is the file's stem; `open_scenes` makes ids unique.

    A source of three band files is one scene.
    """
    if (bands := band_hrefs(href)) is not None:
        if options.bands is not None:
            raise InputError(
                "--bands chooses bands of one file, and band files are chosen by their names in --source",
                came=f"--bands {','.join(map(str, options.bands))}",
                remedy="leave out --bands",
            )
        return scene_of_bands([open_scene(file, replace(options, bands=(1, 1, 1))) for file in bands])
    try:
        with raster_environment(href):
            dataset, identity = open_identified(href)
            with dataset:
                scene = _described(dataset, href, options, identity)
    except InputError as error:
        if not _may_be_api(href):
            raise
        remedy = f"if this is a STAC API or catalogue, write --source {_stac_form(href)}"
        raise InputError(error.what, came=error.came, remedy=f"{remedy}; else {error.remedy}") from None
    if href_kind(href) != "local" and not {"etag", "last_modified"} & identity.keys():
        _log.warning("%s has no ETag or Last-Modified: only its size tells when it changes", scene.href)
    return scene


def _described(
    dataset: DatasetReader, href: str, options: SourceOptions, identity: Mapping[str, str]
) -> Scene:
    shown, access = split_access(href)
    table = band_table(dataset, shown)
    chosen = choose_rgb_bands(table, options.bands, files=tuple(public_href(item) for item in options.hrefs))
    crs_wkt, transform = georeference(dataset, shown, options.crs)
    return Scene(
        scene_id=_stem(shown),
        href=shown if href_kind(href) != "local" else str(Path(href).absolute()),
        access=access,
        crs_wkt=crs_wkt,
        transform=transform,
        width=int(dataset.width),
        height=int(dataset.height),
        count=int(dataset.count),
        dtype=str(dataset.dtypes[chosen.indexes[0] - 1]),
        rgb_bands=chosen.indexes,
        bands=str(chosen),
        nodata=None if dataset.nodata is None else float(dataset.nodata),
        identity=identity,
        datetime=taken_at(dataset),
        reflectance=decided(options.radiometry, tagged_reflectance(dataset, chosen.indexes)),
    )


def band_table(dataset: DatasetReader, href: str) -> BandTable:
    """Read what a header says about its bands. `href` names the file in messages."""
    return BandTable(
        href=href,
        interpretations=tuple(item.name.lower() for item in dataset.colorinterp),
        descriptions=tuple(dataset.descriptions),
        dtypes=tuple(dataset.dtypes),
    )


def taken_at(dataset: DatasetReader) -> str | None:
    """Read when a file says that it was taken, RFC 3339. None: it does not."""
    imagery_tags = dataset.tags(ns="IMAGERY")
    return rfc3339(imagery_tags.get("ACQUISITIONDATETIME") or dataset.tags().get("ACQUISITIONDATETIME"))


def georeference(
    dataset: DatasetReader, href: str, assumed_crs: str | None
) -> tuple[str | None, AffineTuple]:
    """Read CRS (WKT2; None: it has none) and affine.

    North-up, south-up and rotated rasters keep their lattice. A raster placed only by ground control points
    or RPCs has none, and the user must decide which warp is right. Raises InputError for it, with a command
    that makes one, and for a singular affine.
    """
    crs = dataset.crs
    if not crs and (dataset.gcps[0] or dataset.rpcs is not None):
        flag, kind = ("", "ground control points") if dataset.gcps[0] else ("-rpc ", "RPC coefficients")
        target = dataset.gcps[1].to_string() if dataset.gcps[0] and dataset.gcps[1] else "EPSG:..."
        shown = target if len(target) < 20 else "EPSG:..."
        raise InputError(
            f"A source must be placed by an affine transform: {href}",
            came=f"only {kind}",
            remedy=f"warp it first: `gdalwarp {flag}-t_srs {shown} -of COG in.tif out.tif`",
        )
    crs_wkt = str(crs.to_wkt(version="WKT2_2019")) if crs else None
    if crs_wkt is None and assumed_crs is not None:
        crs_wkt = crs_from_text(assumed_crs)
    affine = dataset.transform
    if affine.determinant == 0:
        raise InputError(
            f"The affine transform of {href} must be invertible",
            came=str(tuple(affine)[:6]),
            remedy="write it again with a georeference",
        )
    if crs_wkt is not None:
        require_possible(href, crs_wkt, affine, dataset.width, dataset.height)
    return crs_wkt, tuple_of(affine)


def _stem(href: str) -> str:
    stem = PurePosixPath(href.replace("\\", "/")).stem or "scene"
    shown = visible(urllib.parse.unquote(stem) if href_kind(href) == "http" else stem)
    return " ".join(shown.splitlines()) or "scene"


def with_unique_ids(scenes: Sequence[Scene], taken: Set[str] = frozenset()) -> SceneList:
    """Append a short hash of the place to ids that occur more than once, or are in `taken`; the others keep
    their stem.

    Ids enter a run's fingerprint, tokens do not: a URL signed again is the same scene. Scenes that only their
    query strings tell apart are numbered in order of priority.
    """
    listed = SceneList.of(scenes)
    ids = listed.ids
    repeated = Counter(ids)
    numbers = [number for number, name in enumerate(ids) if repeated[name] > 1 or name in taken]
    seen: Counter[str] = Counter()
    names = {}
    for number, scene in zip(numbers, listed.take(numbers), strict=True):
        scene_id = f"{scene.scene_id}-{hashlib.sha256(scene.href.encode()).hexdigest()[:8]}"
        seen[scene_id] += 1 + (not seen[scene_id] and scene_id in taken)
        again = f"-{seen[scene_id]}" if seen[scene_id] > 1 else ""
        names[number] = scene_id + again
    return listed.renamed(names)
