"""run.json of a run of several zones: which they are, where they lie, and what came of all together.

`read_any_run` reads it or that of an ordinary run: both have a fingerprint, parameters, queries and a status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline.errors import InputError
from pipeline.files.fingerprint import canonical
from pipeline.files.public_text import public_json, public_text
from pipeline.files.store.store_path import Place, StorePath, store_path
from pipeline.write.run_json import (
    REMEDY,
    RUN_JSON_VERSION,
    RunInfo,
    RunStatus,
    finite,
    read_run_json,
    run_json_of,
)

MASKS_NOTE = (
    "rasters stay with their zones, in each zone's own pixels: zones/*/masks.zarr. The columns zones and "
    "zone_instance_ids of instances/ name the values there"
)


@dataclass(frozen=True, kw_only=True)
class ZoneEntry:
    """One zone as run.json of the whole has it."""

    name: str
    crs: str
    """Name of its CRS, with the code where it has one."""
    path: str
    """Its run directory, relative to the whole's."""
    fingerprint: str
    id_offset: int
    """What is added to its instance ids: pixels of the run grids of all zones before it."""
    n_scenes: int
    n_tiles: int
    """Tiles that are looked at."""
    owned_wkb: str
    """The ground whose objects and square kilometres count here: hexadecimal WKB in OGC:CRS84."""
    status: str = "running"
    snapshot: str = ""
    """Its snapshot that the result of all zones was made of. Empty: of an earlier version."""


@dataclass(frozen=True, kw_only=True)
class ZonedInfo:
    """The content of run.json of a run of several zones."""

    run_id: str
    fingerprint: str
    status: RunStatus
    parameters: Mapping[str, Any]
    queries: tuple[str, ...]
    crs: str
    """CRS of instances, coverage and plan."""
    zones: tuple[ZoneEntry, ...]
    left_zones: tuple[ZoneEntry, ...] = ()
    """Zones that the run had for another area or other scenes. Their directories and ids stay theirs. Empty:
    none; the key is then left out."""
    searches: tuple[Mapping[str, Any], ...] = ()
    """What was asked of catalogues, for all zones together."""
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    """`status/reason` -> number of tiles; a tile at a seam counts in each zone that looked at it."""
    searched: Mapping[str, Any] = field(default_factory=dict)
    """As in an ordinary run, but every place counts once, for the zone that owns it."""
    qa: Mapping[str, object] = field(default_factory=dict)
    """Query -> what happened at the seams of the zones."""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    outputs: Mapping[str, str | None] = field(default_factory=dict)
    masks: str = MASKS_NOTE
    snapshot: str = ""
    """As in an ordinary run."""
    earlier: tuple[str, ...] = ()
    at_work: str = ""
    update: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    ended: str = ""


def zoned_json_bytes(info: ZonedInfo) -> bytes:
    """Make the text of run.json, as `run_json.run_json_bytes` does."""
    document: dict[str, object] = {item.name: getattr(info, item.name) for item in fields(info)}
    for name in ("left_zones", "update"):
        if not document[name]:
            del document[name]
    for name in ("zones", "left_zones"):
        if name in document:
            document[name] = [asdict(zone) for zone in getattr(info, name)]
    document["parameters"] = canonical(info.parameters)
    document["searches"] = [canonical(search) for search in info.searches]
    document["settings"] = canonical(info.settings)
    document["warnings"] = [public_text(text) for text in info.warnings]
    document["notes"] = [public_text(text) for text in info.notes]
    whole = finite({"run_json_version": RUN_JSON_VERSION, **document})
    return (public_json(whole) + "\n").encode()


def write_zoned_json(path: Place, info: ZonedInfo) -> StorePath:
    """Write `zoned_json_bytes` atomically."""
    return store_path(path).write_bytes(zoned_json_bytes(info))


def read_any_run(path: StorePath) -> RunInfo | ZonedInfo:
    """Read run.json of a run of one grid or of several zones. Raises InputError as `read_run_json` does."""
    try:
        data = path.read_bytes()
    except OSError:
        return read_run_json(path)
    return any_run_of(data, path)


def any_run_of(data: bytes, path: StorePath) -> RunInfo | ZonedInfo:
    """Parse run.json of either kind. `path`: where it was. Raises InputError as `read_run_json` does."""
    try:
        document = json.loads(data)
        zoned = isinstance(document, dict) and isinstance(document.get("zones"), list)
    except ValueError:
        zoned = False
    if not zoned:
        return run_json_of(data, path)
    found = document.pop("run_json_version", None)
    remedy = REMEDY
    if found != RUN_JSON_VERSION:
        raise InputError(
            f"{path} must have run_json_version {RUN_JSON_VERSION}", came=str(found), remedy=remedy
        )
    try:
        for name in ("queries", "searches", "warnings", "notes", "earlier"):
            document[name] = tuple(document.get(name, ()))
        for name in ("zones", "left_zones"):
            document[name] = tuple(ZoneEntry(**entry) for entry in document.get(name, ()))
        return ZonedInfo(**document)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} must be a complete run.json", came=repr(error), remedy=remedy) from error
