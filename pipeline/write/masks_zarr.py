"""masks.zarr: one Zarr v3 group with `mask`, `instance_id` and `score`, dims (query, y, x).

    mask         uint8    1 = object, 0 = looked-at background, 255 = never judged, or beside the AOI
    instance_id  uint64   0 = no object; else the id of the row in instances/
    score        uint8    round(score * 254) of the object, 255 = no object

1. `create_masks` lays the store out: chunk = core, shard = block. `query` is a coordinate that holds the text
   of each query, so that `masks.sel(query="storage tanks")` works in xarray.
2. `write_shard` writes one shard of each array, whole. Any other window raises, because misaligned parallel
   writes lose pixels silently.

Attributes follow CF 1.10. `mask` and `score` have a `_FillValue`: what was not judged opens as NaN, so a mean
counts only what was. `instance_id` has none, because masked ids would become floats; its attribute `nodata`
tells exports that 0 is no object.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from pipeline.files.store.store_path import Place, StorePath, store_path
from pipeline.files.store.zarr_adapter import Written, ZarrFolder
from pipeline.schema.tile_answers import SCORE_SCALE
from pipeline.schema.tiling import RunGrid, TileLattice, Window
from pipeline.write.georeference import affine_or_identity, authority_code_of, crs_of, is_rotated

MASK_FILL = 255
"""uint8 fill of `mask` and `score`: never processed, failed or nodata."""

ARRAYS: Mapping[str, tuple[str, int]] = {
    "mask": ("uint8", MASK_FILL),
    "instance_id": ("uint64", 0),
    "score": ("uint8", MASK_FILL),
}
"""name -> (dtype, fill value)."""

_CONVENTIONS = [
    {
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "description": "Coordinate reference system information for geospatial data",
        "schema_url": "https://raw.githubusercontent.com/zarr-experimental/geo-proj/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-experimental/geo-proj/blob/v1/README.md",
    },
    {
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial:",
        "description": "Spatial coordinate information",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    },
]

_LONG_NAMES = {
    "mask": "1 = object, 0 = looked at and nothing there, "
    "255 = not judged (outside the plan, failed, nodata or under clouds)",
    "instance_id": "id of the object in the instances table, 0 = no object",
    "score": "round(254 * score) of the object, 255 = no object",
}

_NO_DATA: Mapping[str, Mapping[str, int]] = {
    "mask": {"_FillValue": MASK_FILL},
    "instance_id": {"nodata": 0},
    "score": {"_FillValue": MASK_FILL},
}


@dataclass(frozen=True)
class MaskStore:
    """An open, writable masks.zarr and the lattice it is cut by."""

    path: StorePath
    lattice: TileLattice
    n_queries: int
    group: zarr.Group
    folder: ZarrFolder

    def written(self) -> tuple[Written, ...]:
        """List what was written through this object, by key."""
        return tuple(self.folder.written[key] for key in sorted(self.folder.written))


@dataclass(frozen=True, kw_only=True)
class ShardPixels:
    """All pixels of one block: (Q, h, w) over `lattice.block_core(block_row, block_col)`."""

    ids: NDArray[np.uint64]
    """Id of the object at each pixel; 0 = no object."""
    scores: NDArray[np.uint8]
    """round(score * SCORE_SCALE) of the object at each pixel; ignored where ids is 0."""
    looked_at: NDArray[np.bool_]
    """True where valid imagery was judged; elsewhere `mask` keeps its fill value unless an object covers the
    pixel.
    """


def create_masks(place: Place, lattice: TileLattice, queries: Sequence[str]) -> MaskStore:
    """Lay out a store: metadata and coordinates, no shards.

    Shards that are there already stay: a publication that was killed left them, and paints them again with
    the same bytes. Byte shuffling would make anchor ids four times larger, so zstd works alone. A shard of
    fill values writes no file, so a sparse mosaic costs nothing. Metadata is consolidated at once; nothing
    depends on that.
    """
    store = open_masks(place, lattice, queries)
    for key, data in _layout(lattice, tuple(queries)).items():
        store.folder.write(key, data)
    return store


def open_masks(place: Place, lattice: TileLattice, queries: Sequence[str]) -> MaskStore:
    """Open a store for writing that `create_masks` laid out. Its metadata follows from the lattice and the
    queries, so nothing is read.
    """
    path = store_path(place)
    folder = ZarrFolder(path, known=_layout(lattice, tuple(queries)))
    group = zarr.open_group(store=folder, mode="r+", zarr_format=3, use_consolidated=False)
    return MaskStore(path=path, lattice=lattice, n_queries=len(queries), group=group, folder=folder)


@lru_cache(maxsize=8)
def _layout(lattice: TileLattice, queries: tuple[str, ...]) -> dict[str, bytes]:
    """Key -> bytes of a store without shards."""
    layout: dict[str, Buffer] = {}
    memory = MemoryStore(layout)
    grid = lattice.grid
    group = zarr.create_group(
        store=memory, zarr_format=3, attributes={**_spatial_attributes(grid), "Conventions": "CF-1.10"}
    )
    for name, (dtype, fill) in ARRAYS.items():
        group.create_array(
            name,
            shape=(len(queries), grid.height, grid.width),
            dtype=dtype,
            chunks=(1, lattice.core_px, lattice.core_px),
            shards=(1, lattice.shard_px, lattice.shard_px),
            compressors=ZstdCodec(level=3),
            filters=None,
            fill_value=fill,
            dimension_names=("query", "y", "x"),
            attributes={**_spatial_attributes(grid), **_array_attributes(name, grid)},
        )
    _write_coordinates(group, grid, queries)
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not in the core v3 specification; nothing here needs it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(memory, zarr_format=3)
    return {key: buffer.to_bytes() for key, buffer in layout.items()}


def write_shard(store: MaskStore, block_row: int, block_col: int, pixels: ShardPixels) -> None:
    """Write one block, whole: all three arrays, all queries. `store.written()` tells the hashes.

    Different blocks may be written in parallel; writing a block again changes nothing.
    """
    window = store.lattice.block_core(block_row, block_col)
    for name, array in (("ids", pixels.ids), ("scores", pixels.scores), ("looked_at", pixels.looked_at)):
        want = (store.n_queries, *window.shape)
        if array.shape != want:
            raise ValueError(
                f"{name} of block ({block_row}, {block_col}) must have shape {want}, got {array.shape}"
            )
    has_object = pixels.ids != 0
    write_window(
        store,
        "mask",
        window,
        np.where(has_object, 1, np.where(pixels.looked_at, 0, MASK_FILL)).astype(np.uint8),
    )
    write_window(store, "instance_id", window, pixels.ids.astype(np.uint64, copy=False))
    write_window(store, "score", window, np.where(has_object, pixels.scores, MASK_FILL).astype(np.uint8))


def write_window(store: MaskStore, name: str, window: Window, values: NDArray[Any]) -> None:
    """Write (Q, h, w) values over exactly one shard; raises ValueError for a window that is not one."""
    side = store.lattice.shard_px
    block = store.lattice.block_core(window.row0 // side, window.col0 // side)
    if window != block or values.shape[1:] != window.shape:
        raise ValueError(
            f"a write must cover one whole shard, {block}, got {window} with values of shape {values.shape}"
        )
    array = store.group[name]
    assert isinstance(array, zarr.Array)
    array[:, window.row0 : window.row1, window.col0 : window.col1] = values


def _array_attributes(name: str, grid: RunGrid) -> dict[str, object]:
    attributes: dict[str, object] = {
        "long_name": _LONG_NAMES[name],
        "coordinates": "spatial_ref",
        "grid_mapping": "spatial_ref",
    }
    if grid.crs_wkt is None:
        attributes = {"long_name": _LONG_NAMES[name]}
    attributes |= _NO_DATA[name]
    if name == "mask":
        attributes |= {"flag_values": [0, 1], "flag_meanings": "background object"}
    if name == "score":
        attributes |= {"score_scale": SCORE_SCALE}
    return attributes


def _spatial_attributes(grid: RunGrid) -> dict[str, object]:
    """Make the proj: and spatial: attributes; transform in Affine order, bbox as (xmin, ymin, xmax, ymax).

    Readers of the zarr conventions find the georeference here, on the group and every array.
    """
    a, b, c, d, e, f = affine_or_identity(grid)
    corners = np.array(
        [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)], dtype=np.float64
    )
    x = corners @ np.array([a, b]) + c
    y = corners @ np.array([d, e]) + f
    attributes: dict[str, object] = {
        "zarr_conventions": _CONVENTIONS if grid.crs_wkt is not None else _CONVENTIONS[1:],
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": [a, b, c, d, e, f],
        "spatial:transform_type": "affine",
        "spatial:shape": [grid.height, grid.width],
        "spatial:bbox": [float(x.min()), float(y.min()), float(x.max()), float(y.max())],
        "spatial:registration": "pixel",
    }
    code = authority_code_of(grid)
    if code is not None:
        attributes["proj:code"] = code
    if grid.crs_wkt is not None:
        attributes["proj:wkt2"] = grid.crs_wkt
    return attributes


def _write_coordinates(group: zarr.Group, grid: RunGrid, queries: Sequence[str]) -> None:
    """Write the coordinates of CF: the queries' texts, x/y pixel centres and the scalar `spatial_ref`.

    A rotated grid has no x/y coordinates. A grid without CRS has pixel coordinates and no projection.
    """
    crs = crs_of(grid)
    _coordinate(group, "query", np.array(queries, dtype=object), {"long_name": "what was asked"})
    a, b, c, d, e, f = affine_or_identity(grid)
    if not is_rotated(grid):
        axes: Mapping[str, Mapping[str, object]] = {"x": {"axis": "X"}, "y": {"axis": "Y"}}
        if crs is not None:
            axes = {
                attributes["axis"].lower(): attributes
                for attributes in crs.cs_to_cf()
                if attributes.get("axis") in {"X", "Y"}
            }
        _coordinate(group, "x", a * (np.arange(grid.width) + 0.5) + c, axes.get("x", {"axis": "X"}))
        _coordinate(group, "y", e * (np.arange(grid.height) + 0.5) + f, axes.get("y", {"axis": "Y"}))
    if crs is not None:
        cf = {key: value for key, value in crs.to_cf().items() if value is not None}
        wkt = {
            "crs_wkt": grid.crs_wkt,
            "spatial_ref": grid.crs_wkt,
            "GeoTransform": f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}",
        }
        spatial_ref = group.create_array(
            "spatial_ref", shape=(), dtype="int64", dimension_names=(), attributes={**cf, **wkt}
        )
        spatial_ref[...] = 0


def _coordinate(group: zarr.Group, name: str, values: NDArray[Any], attributes: Mapping[str, object]) -> None:
    """Write a 1-D coordinate. Values are numbers or texts (dtype object), which Zarr stores as UTF-8."""
    text = values.dtype == np.object_
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=str if text else values.dtype,
        chunks=values.shape,
        compressors=ZstdCodec(level=3),
        fill_value="" if text else 0,
        dimension_names=(name,),
        attributes=dict(attributes),
    )
    array[:] = values
