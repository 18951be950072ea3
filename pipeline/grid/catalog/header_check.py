"""Open the headers of an item's files, and compare them with what the item says.

An item was written by somebody else, at another time. Its file may have been replaced, shifted, or written
again in another CRS since. So nothing is read by what an item says: `open_header` takes geometry, bands, data
type and identity from the header, and says what differs. A scene that differs, or cannot be opened, keeps its
place in the plan with `Scene.failure`, so that no other scene fills its ground in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyproj import CRS

from pipeline.errors import InputError, SourceError
from pipeline.files.hrefs import join_access
from pipeline.files.raster_access import open_identified, open_stacked, raster_environment, terms_of
from pipeline.files.value_tags import tagged_reflectance
from pipeline.grid.band_names import band_colours
from pipeline.grid.bands import (
    RGB_NAMES,
    BandTable,
    ChosenBands,
    choose_rgb_bands,
    require_one_type,
)
from pipeline.grid.lattice import affine_of, crs_name, same_crs
from pipeline.grid.mask_files import pinned_mask
from pipeline.grid.source import band_table, georeference, taken_at
from pipeline.schema.imagery import Reflectance, Scene
from pipeline.schema.tiling import AffineTuple

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

SHIFT_PX = 0.1
"""Pixels by which the corners of a file may lie beside those that its item names: items round."""

HEADER_THREADS = 16
"""Headers opened at once; each costs a few requests of latency."""

_SHA256 = re.compile(r"1220([0-9a-f]{64})")
"""`file:checksum` of the STAC file extension: a multihash, here SHA-256 of 32 bytes."""

Opened = Callable[[int, int], None]
"""Is told how many of how many headers are open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What an item says of its files. None: it does not say."""

    crs_wkt: str | None = None
    transform: AffineTuple | None = None
    shape: tuple[int, int] | None = None
    """(rows, cols)."""
    dtype: str | None = None
    """Numpy name of the data type of all bands."""
    n_bands: int | None = None
    """Bands of the one file, without alpha."""
    sizes: tuple[int | None, ...] = (None,)
    """Bytes of each file."""
    checksums: tuple[str | None, ...] = (None,)
    """Multihash of each file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemScene:
    """A scene as its item describes it."""

    scene: Scene
    claims: Claims
    placed: bool
    """Whether `scene` has a place to plan with. Otherwise its geometry is its footprint, and the header must
    be opened before the plan."""
    indexes: tuple[int, int, int] | None = None
    """1-based bands of red, green and blue in the one file, by the item. None: the header has to say."""
    bands: tuple[str | int, ...] | None = None
    """What --bands says; it counts before the item."""
    assumed_crs: str | None = None
    """CRS of a file that has none."""
    tags_count: bool = True
    """Whether tags of the file say how values become reflectance, where the item does not."""


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What the file of a scene says, or its three files as one dataset."""

    crs_wkt: str | None
    transform: AffineTuple
    width: int
    height: int
    table: BandTable
    nodata: float | None
    identities: tuple[Mapping[str, str], ...]
    """What pins the content of each file."""
    datetime: str | None
    chosen: ChosenBands | None
    """Red, green and blue in the one file. None: three files."""
    tagged: Reflectance | None
    """How values become reflectance, by the tags of these bands."""


def open_headers(
    scenes: Sequence[ItemScene], *, on_opened: Opened = lambda _done, _of: None
) -> tuple[Scene, ...]:
    """Open the headers of many scenes at once, in order; see `open_header`."""
    found: list[Scene] = []
    with ThreadPoolExecutor(max_workers=HEADER_THREADS) as pool:
        for scene in pool.map(open_header, scenes):
            found.append(scene)
            on_opened(len(found), len(scenes))
    return tuple(found)


def open_header(item_scene: ItemScene) -> Scene:
    """Describe a scene by the headers of its files.

    A file that differs from its item, or is unreadable, gives a scene with `failure`. Raises SourceError
    (retryable) when a server does not answer.
    """
    scene = item_scene.scene
    try:
        header = _read(item_scene)
        found = _described(item_scene, header)
        found = pinned_mask(found)
    except InputError as error:
        return replace(scene, failure=str(error))
    except SourceError as error:
        if error.retryable:
            raise
        return replace(scene, failure=str(error))
    differences = _differences(item_scene.claims, header)
    if not differences:
        return found
    failure = f"{scene.href} is not the file that its item describes: {'; '.join(differences)}"
    kept = scene if item_scene.placed else found
    return replace(kept, failure=failure)


def _read(item_scene: ItemScene) -> _Header:
    scene = item_scene.scene
    with raster_environment(scene):
        if scene.band_files:
            dataset, identities = open_stacked(scene.band_files, terms_of(scene))
        else:
            dataset, identity = open_identified(join_access(scene.href, scene.access), terms_of(scene))
            identities = (identity,)
        with dataset:
            return _header(dataset, item_scene, identities)


def _header(
    dataset: DatasetReader, item_scene: ItemScene, identities: tuple[Mapping[str, str], ...]
) -> _Header:
    """Read what an open dataset says. Raises InputError."""
    href = item_scene.scene.href
    table = band_table(dataset, href)
    chosen = None if item_scene.scene.band_files else _chosen(item_scene, table)
    indexes = item_scene.scene.rgb_bands if chosen is None else chosen.indexes
    require_one_type(table, indexes)
    crs_wkt, transform = georeference(dataset, href, item_scene.assumed_crs)
    return _Header(
        crs_wkt=crs_wkt,
        transform=transform,
        width=int(dataset.width),
        height=int(dataset.height),
        table=table,
        nodata=None if dataset.nodata is None else float(dataset.nodata),
        identities=identities,
        datetime=taken_at(dataset),
        chosen=chosen,
        tagged=tagged_reflectance(dataset, indexes),
    )


def _described(item_scene: ItemScene, header: _Header) -> Scene:
    """The scene with all that its header says."""
    scene = item_scene.scene
    if header.chosen is None:
        files = zip(scene.band_files, header.identities, strict=True)
        scene = replace(scene, band_files=tuple(replace(file, identity=pin) for file, pin in files))
    else:
        scene = replace(scene, rgb_bands=header.chosen.indexes, bands=str(header.chosen))
    if scene.reflectance is None and item_scene.tags_count:
        scene = replace(scene, reflectance=header.tagged)
    return replace(
        scene,
        crs_wkt=header.crs_wkt,
        transform=header.transform,
        width=header.width,
        height=header.height,
        count=header.table.count,
        dtype=header.table.dtypes[scene.rgb_bands[0] - 1],
        nodata=header.nodata,
        identity=header.identities[0],
        datetime=scene.datetime or header.datetime,
    )


def _chosen(item_scene: ItemScene, table: BandTable) -> ChosenBands:
    """Red, green and blue of the one file: what --bands says, else the item, else the header.

    Band descriptions in the header are names like the item's; the two must agree. A colour interpretation is
    what programs write unasked, and does not count against the item.
    """
    if item_scene.bands is not None or item_scene.indexes is None:
        return choose_rgb_bands(table, item_scene.bands)
    indexes = item_scene.indexes
    if max(indexes) > table.count:
        raise InputError(
            f"{table.href} must have the bands that its item names",
            came=f"red, green, blue = {indexes}, and {table.count} bands",
            remedy="name others with --assets or --bands",
        )
    own = band_colours(table.names)
    if all(own.count(colour) == 1 for colour in RGB_NAMES):
        described = tuple(own.index(colour) + 1 for colour in RGB_NAMES)
        if described != indexes:
            raise InputError(
                f"{table.href} must have its bands in the order of its item",
                came=f"red, green, blue = {indexes} in the item, {described} in the header",
                remedy="say which counts with --bands",
            )
    red, green, blue = (table.label(index) for index in indexes)
    return ChosenBands(indexes=indexes, names=(red, green, blue), chosen_by="the item")


def _differences(claims: Claims, header: _Header) -> list[str]:
    """Say in words where the header contradicts the item, and where the content of a file does."""
    found = []
    if claims.shape is not None and claims.shape != (header.height, header.width):
        rows, cols = claims.shape
        found.append(_said("shape", f"{rows} x {cols}", f"{header.height} x {header.width}"))
    if claims.crs_wkt is not None and not _is_crs(header.crs_wkt, claims.crs_wkt):
        found.append(_said("CRS", crs_name(claims.crs_wkt), crs_name(header.crs_wkt)))
    if claims.transform is not None and not _shift_px(claims.transform, header) <= SHIFT_PX:
        order = " (the numbers are in GDAL's order)" if _is_gdal(claims, header) else ""
        claimed = _transform_text(claims.transform)
        found.append(_said("transform", claimed + order, _transform_text(header.transform)))
    if claims.dtype is not None and set(header.table.dtypes) != {claims.dtype}:
        found.append(_said("data type", claims.dtype, ", ".join(sorted(set(header.table.dtypes)))))
    n_bands = sum(kind != "alpha" for kind in header.table.interpretations)
    if claims.n_bands is not None and claims.n_bands not in (n_bands, header.table.count):
        found.append(_said("number of bands", str(claims.n_bands), str(header.table.count)))
    for size, checksum, identity in zip(claims.sizes, claims.checksums, header.identities, strict=True):
        found += _content_differences(size, checksum, identity)
    return found


def _content_differences(size: int | None, checksum: str | None, identity: Mapping[str, str]) -> list[str]:
    own_size = identity.get("size_bytes")
    if size is not None and own_size is not None and str(size) != own_size:
        return [_said("file:size", f"{size:,} bytes", f"{int(own_size):,} bytes")]
    claimed = _SHA256.fullmatch((checksum or "").lower())
    own_hash = identity.get("sha256")
    if claimed and own_hash is not None and claimed[1] != own_hash:
        return [_said("file:checksum", f"SHA-256 {claimed[1][:12]}...", f"{own_hash[:12]}...")]
    return []


def _said(what: str, claimed: str, own: str) -> str:
    return f"{what} is {claimed} in the item, {own} in the file"


def _transform_text(transform: AffineTuple) -> str:
    return f"[{', '.join(f'{value:.10g}' for value in transform)}]"


def _is_crs(own: str | None, claimed: str) -> bool:
    """Whether a header has the CRS of its item. Codes decide where both have one, because they say more than
    the parameters that a GeoTIFF stores."""
    if own is None:
        return False
    codes = [CRS.from_wkt(wkt).to_authority() for wkt in (own, claimed)]
    if None not in codes and codes[0] == codes[1]:
        return True
    return same_crs(own, claimed)


def _shift_px(claimed: AffineTuple, header: _Header) -> float:
    """Largest distance of a corner from where the header has it, in pixels of the file."""
    to_own = ~affine_of(header.transform) @ affine_of(claimed)
    corners = [(col, row) for col in (0, header.width) for row in (0, header.height)]
    return max(math.dist(to_own @ corner, corner) for corner in corners)


def _is_gdal(claims: Claims, header: _Header) -> bool:
    """Whether a transform is right once its numbers are read in GDAL's order: c, a, b, f, d, e."""
    assert claims.transform is not None
    c, a, b, f, d, e = claims.transform
    return bool(a * e - b * d) and _shift_px((a, b, c, d, e, f), header) <= SHIFT_PX
