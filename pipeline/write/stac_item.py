"""item.json: the run as a STAC 1.1 Item, so that results can be found beside the scenes they came from.

The geometry outlines the tiles that were looked at, in longitude and latitude, cut at the antimeridian; a run
without CRS has none. The time is the scenes' acquisition time or range. Where no scene says, `datetime` is
null and the range as wide as it can be (`terraquery:datetime_source` is then "unknown"). Provenance (lineage,
software versions, parameters) follows the processing extension. Single-file assets have size and sha256
(multihash); the Zarr folder has neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray

from pipeline.files.fail_point import reach
from pipeline.files.fingerprint import canonical
from pipeline.files.hrefs import link_href
from pipeline.files.public_text import public_json
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import measured, open_parquet
from pipeline.geo.globe import narrowest_bbox, to_lonlat
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import TileLattice
from pipeline.write.georeference import affine_or_identity, authority_code_of, is_on_earth, to_crs_coordinates
from pipeline.write.instances import part_files, timestamp_of
from pipeline.write.on_body import cells_on_ground, ground_of
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import write_unless_newer
from pipeline.write.run_json import RunInfo, finite

EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("processing/v1.2.0", "projection/v2.0.0", "file/v2.1.0", "table/v1.2.0")
)

_MAX_FOOTPRINT_VERTICES = 2000
"""A finer outline is drawn with coarser tiles until it fits. It may then cover a little more, never less."""

FIRST_AERIAL_IMAGE = datetime(1858, 1, 1, tzinfo=UTC)
"""Imagery of unknown date is younger than the first photograph from the air (Nadar, 1858), and older than the
run that read it. STAC wants a range where `datetime` is null."""

_ZARR = "application/vnd.zarr; version=3"
_PARQUET = "application/vnd.apache.parquet"
_MULTIHASH_SHA256 = "1220"


@dataclass(frozen=True, kw_only=True)
class ItemInputs:
    """What an Item says that is not in the files."""

    info: RunInfo
    geometry: Mapping[str, object] | None
    """What was looked at, in longitude and latitude (`footprint_lonlat`). None: it has no such place."""


def write_item(run_dir: RunDir, inputs: ItemInputs, seen: str) -> StorePath:
    """Write item.json; call it when the other files are there, because it holds their places and checksums.

    `seen`: its version before run.json was written (`run_document.seen_version`). Like run.json it holds null
    where a figure is NaN or infinite.
    """
    item = finite(build_item(run_dir, inputs))
    text = public_json(item)
    reach("before_item")
    path = write_unless_newer(run_dir.item, (text + "\n").encode(), seen)
    reach("after_item")
    return path


def build_item(run_dir: RunDir, inputs: ItemInputs) -> dict[str, object]:
    """Make the Item as a dict, with assets for those files of the run that exist."""
    info = inputs.info
    geometry = inputs.geometry
    item = pystac.Item(
        id=info.run_id,
        geometry=None if geometry is None else dict(geometry),
        bbox=None if geometry is None else list(narrowest_bbox(shapely.geometry.shape(geometry))),
        **item_times(info.scenes, info.started),
        properties=_properties(info),
        stac_extensions=list(EXTENSIONS),
    )
    for key, asset in item_assets(run_dir).items():
        item.add_asset(key, asset)
    for scene in info.scenes:
        if scene.item_href:
            own = link_href(scene.item_href)
            item.add_link(pystac.Link(rel="derived_from", target=own, title=scene.scene_id))
            continue
        for file in scene.files:
            item.add_link(pystac.Link(rel="derived_from", target=link_href(file.href), title=scene.scene_id))
    item.add_link(
        pystac.Link(rel="processing-expression", target="./run.json", media_type="application/json")
    )
    return dict(item.to_dict(include_self_link=False, transform_hrefs=False))


def footprint_lonlat(lattice: TileLattice, inside: NDArray[np.bool_]) -> dict[str, object] | None:
    """Unite the planned cores as GeoJSON (WGS 84). None: no planned tile has a place on the Earth.

    Of a grid that reaches off the Earth, what lies on it is covered by cells (`cells_on_ground`).
    """
    ground = ground_of(lattice.grid)
    if ground is None or not is_on_earth(lattice.grid) or not inside.any():
        return None
    outline = _outline(inside, lattice)
    for factor in (2, 4, 8, 16, 32, 64):
        if shapely.get_num_coordinates(outline) <= _MAX_FOOTPRINT_VERTICES:
            break
        outline = _outline(_coarser(inside, factor), lattice, factor=factor)
    if not ground.whole:
        covered = cells_on_ground(outline, ground)
        return None if covered.is_empty else dict(shapely.geometry.mapping(covered))
    west, north, east, south = outline.bounds
    outline = shapely.segmentize(outline, max(east - west, south - north) / 20)
    (world,) = to_crs_coordinates([outline], lattice.grid)
    assert lattice.grid.crs_wkt is not None
    lonlat = to_lonlat(world, lattice.grid.crs_wkt)
    return dict(shapely.geometry.mapping(shapely.transform(lonlat, lambda xy: np.round(xy, 7))))


def _outline(inside: NDArray[np.bool_], lattice: TileLattice, *, factor: int = 1) -> shapely.Geometry:
    """Unite the cells of `inside`, in pixels. Runs along rows are joined first, to keep the union small."""
    padded = np.pad(inside.astype(np.int8), ((0, 0), (1, 1)))
    edges = np.diff(padded, axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    side = lattice.core_px * factor
    grid = lattice.grid
    boxes = shapely.box(
        starts * side,
        rows * side,
        np.minimum(ends * side, grid.width),
        np.minimum((rows + 1) * side, grid.height),
    )
    return shapely.simplify(shapely.union_all(boxes), 0)


def _coarser(inside: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Coarsen a raster: True where any of factor x factor cells is."""
    rows, cols = inside.shape
    padded = np.pad(inside, ((0, -rows % factor), (0, -cols % factor)))
    return np.asarray(
        padded.reshape(padded.shape[0] // factor, factor, -1, factor).any(axis=(1, 3)), dtype=np.bool_
    )


def item_times(scenes: Sequence[Scene], started: str) -> dict[str, datetime | None]:
    """The time or times of an Item, from the scenes' own. `started`: of the run, RFC 3339."""
    moments = sorted({timestamp_of(scene.datetime) for scene in scenes if scene.datetime})
    if not moments:
        begun = timestamp_of(started) if started else datetime.now(UTC)
        return {"datetime": None, "start_datetime": FIRST_AERIAL_IMAGE, "end_datetime": begun}
    if len(moments) == 1:
        return {"datetime": moments[0]}
    return {"datetime": None, "start_datetime": moments[0], "end_datetime": moments[-1]}


def _properties(info: RunInfo) -> dict[str, object]:
    grid = info.lattice.grid
    a, b, c, d, e, f = affine_or_identity(grid)
    properties: dict[str, object] = {
        "title": "; ".join(info.queries),
        "processing:lineage": _lineage(info),
        "processing:software": dict(info.versions),
        "processing:expression": {"format": "terraquery-config", "expression": canonical(info.parameters)},
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [a, b, c, d, e, f],
        "proj:code": authority_code_of(grid),
        "terraquery:queries": list(info.queries),
        "terraquery:models": canonical(info.models),
        "terraquery:counters": dict(info.counters),
        "terraquery:fingerprint": info.fingerprint,
        "terraquery:status": info.status,
        "terraquery:datetime_source": "scenes" if any(scene.datetime for scene in info.scenes) else "unknown",
    }
    if grid.crs_wkt is not None and properties["proj:code"] is None:
        properties["proj:wkt2"] = grid.crs_wkt
    if "terraquery" in info.versions:
        properties["processing:version"] = info.versions["terraquery"]
    if info.ended:
        properties |= {"created": _rfc3339(info.ended), "processing:datetime": _rfc3339(info.ended)}
    return properties


def _lineage(info: RunInfo) -> str:
    """Say in two sentences who named the places and who drew the masks."""
    prompter, segmenter = (_kind(info.models.get(role)) for role in ("prompter", "segmenter"))
    asked = {
        "vector": "Boxes and points came from known locations in a vector file, not from a model",
        "oracle": "Boxes and points came from a label raster (an oracle), not from a model",
        "grid": "A regular grid of points asked for every object, and no query was understood",
    }.get(prompter, "A vision-language prompter answered the queries for each tile with boxes and points")
    drawn = (
        "the masks are the label raster's own"
        if segmenter == "oracle"
        else "a segmenter drew the masks"
        if prompter == "grid"
        else "a segmenter drew a mask for each"
    )
    return f"{asked}; {drawn}. Masks were merged across tile edges into objects."


def _kind(model: object) -> str:
    return str(model.get("kind", "")) if isinstance(model, Mapping) else ""


def _rfc3339(text: str) -> str:
    return timestamp_of(text).isoformat().replace("+00:00", "Z")


def item_assets(run_dir: RunDir) -> dict[str, pystac.Asset]:
    """Make an asset for each file of the run that exists. run.json is rewritten by every start, so it has
    no hash.
    """
    assets: dict[str, pystac.Asset] = {}
    if (run_dir.masks / "zarr.json").is_file():
        assets["masks"] = pystac.Asset(
            href=_href(run_dir, run_dir.masks),
            media_type=_ZARR,
            roles=["data"],
            title="mask, instance_id and score rasters",
            extra_fields={"bands": _bands()},
        )
    parts = part_files(run_dir)
    for number, path in enumerate(parts):
        key = "instances" if number == 0 else f"instances-{number}"
        assets[key] = _table_asset(run_dir, path, title="objects with attributes", roles=["data"])
    for key, path, title in (
        ("coverage", run_dir.coverage, "what became of every tile"),
        ("plan", run_dir.plan, "tiles and blocks"),
    ):
        if path.is_file():
            assets[key] = _table_asset(run_dir, path, title=title, roles=["metadata"])
    if run_dir.report.is_file():
        assets["report"] = pystac.Asset(
            href=_href(run_dir, run_dir.report),
            media_type="text/html",
            roles=["overview"],
            extra_fields=_file_fields(run_dir.report),
        )
    assets["run"] = pystac.Asset(
        href=_href(run_dir, run_dir.run_json), media_type="application/json", roles=["metadata"]
    )
    return assets


def _table_asset(run_dir: RunDir, path: StorePath, *, title: str, roles: Sequence[str]) -> pystac.Asset:
    with open_parquet(path) as file:
        columns = [{"name": field.name, "type": str(field.type)} for field in file.schema_arrow]
        n_rows = file.metadata.num_rows
    fields = {
        "table:columns": columns,
        "table:primary_geometry": "geometry",
        "table:row_count": n_rows,
        **_file_fields(path),
    }
    return pystac.Asset(
        href=_href(run_dir, path), media_type=_PARQUET, roles=list(roles), title=title, extra_fields=fields
    )


def _bands() -> list[dict[str, object]]:
    return [
        {"name": "mask", "data_type": "uint8", "nodata": 255},
        {"name": "instance_id", "data_type": "uint64", "nodata": 0},
        {"name": "score", "data_type": "uint8", "nodata": 255},
    ]


def _file_fields(path: StorePath) -> dict[str, object]:
    size, digest = measured(path)
    return {"file:size": size, "file:checksum": _MULTIHASH_SHA256 + digest}


def _href(run_dir: RunDir, path: StorePath) -> str:
    return f"./{path.below(run_dir.path)}"
