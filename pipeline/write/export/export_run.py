"""Export a finished run: rasters as Cloud-Optimized GeoTIFFs, tables as a GeoPackage, and vector tiles.

1. `plan_export` reads run.json, chooses the queries, names every file, and refuses what cannot be done. Of a
   run of several zones, tables are those of all, and every zone has rasters of its own. Such a run has no
   raster of all its objects, so their outlines stay as they are.
2. `export_run` makes one file after the other in a hidden folder, and moves them to their places when all are
   whole. An export that fails leaves nothing behind.

The results themselves are only read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.errors import RasterioError

from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder, work_folder
from pipeline.schema.tiling import RunGrid
from pipeline.write.edit_layer import EDITS
from pipeline.write.export.edited_instances import EditedInstances, find_edited
from pipeline.write.export.feature_rows import Curve, InstanceRules
from pipeline.write.export.geo_package import write_geo_package
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.export.raster_files import LAYERS, LayerName, write_cog
from pipeline.write.export.score_floor import ScoreFloor, score_floor
from pipeline.write.export.vector_tiles import write_vector_tiles, zooms_of
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import chosen_queries, existing_run, finished_run
from pipeline.write.run_json import RunInfo, read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run
from pipeline.write.zoned.zoned_tables import LONLAT_GRID

GEO_PACKAGE = "results.gpkg"
"""Name of the GeoPackage in the folder of exported files."""

VECTOR_TILES = "instances.pmtiles"
"""Name of the vector tiles."""

_MAX_NAME = 40
"""Longest part of a file name that is made of a query's text."""

_WORK = ".export-"
"""Beginning of the names of working folders."""

_FULL_BYTES = 2**20
"""Free bytes below which a disk counts as full."""

ShowProgress = Callable[[str, float], None]
"""Told what is being made, and the share of it that is done, 0..1."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export of which run."""

    run: str
    cog: bool = False
    """Rasters: mask, ids and score of every chosen query."""
    gpkg: bool = False
    """Tables: instances and coverage of the chosen queries, in one file."""
    pmtiles: bool = False
    """Vector tiles of the instances of the chosen queries."""
    queries: tuple[str, ...] = ()
    """Texts of queries, as they were asked. Empty: all of the run."""
    out: str | None = None
    """Folder for the files. None: `export` in the run directory."""
    overwrite: bool = False
    """Whether files of an earlier export are replaced."""
    min_score: float = 0.0
    """Objects with a lower score are left out of rasters and tables."""
    cleaned: bool = False
    """Whether the outlines in tables are made anew: `Cleaning`."""
    oriented: bool = False
    """Whether rectangles around the objects are measured."""
    edits: bool = False
    """Whether the run's edits are applied to its objects, in tables."""


class Cleaning(Protocol):
    """How the outlines of the GeoPackage are made anew. The run stage knows how."""

    @property
    def text(self) -> str:
        """What is done, for the layer's description."""
        ...

    def make(
        self, path: Path, plan: ExportPlan, floor: ScoreFloor, progress: Callable[[float], None]
    ) -> OutlineStore:
        """Make the outlines of all objects that `floor` keeps, in a new file at `path`."""
        ...


@dataclass(frozen=True, kw_only=True)
class RasterToExport:
    """One layer of one query of the rasters of a run, or of one zone of it."""

    run_dir: RunDir
    info: RunInfo
    """Of the run whose rasters they are."""
    query_index: int
    layer: LayerName
    name: str
    """File name."""


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """A request that can be carried out."""

    run_dir: RunDir
    info: RunInfo | ZonedInfo
    query_indexes: tuple[int, ...]
    out: Path
    rasters: tuple[RasterToExport, ...]
    gpkg: bool
    zooms: tuple[int, int] | None
    """First and deepest level of vector tiles; None: none are made."""
    min_score: float
    oriented: bool
    edited: EditedInstances | None
    """Edits to apply; None: none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all files, in the order in which they are made."""
        tables = [GEO_PACKAGE] * self.gpkg + [VECTOR_TILES] * (self.zooms is not None)
        return (*(raster.name for raster in self.rasters), *tables)

    @property
    def table_grid(self) -> RunGrid:
        """The grid in whose CRS the tables are."""
        return table_grid_of(self.info)


def table_grid_of(info: RunInfo | ZonedInfo) -> RunGrid:
    """The grid in whose CRS a run's tables are."""
    return LONLAT_GRID if isinstance(info, ZonedInfo) else info.lattice.grid


def plan_export(request: ExportRequest) -> ExportPlan:
    """Check that a run can be exported as asked; writes nothing.

    Raises InputError for what is no run, a run that has not ended, a query that was not asked, and files that
    are there already.
    """
    if not (request.cog or request.gpkg or request.pmtiles):
        raise InputError(
            "an export needs a format", came="none", remedy="add --cog, --gpkg, --pmtiles or several"
        )
    run_dir = existing_run(request.run, what="an export")
    info = read_any_run(run_dir.run_json)
    _require_rules(request, info)
    parts = _parts(run_dir, info)
    _require_ended(run_dir, info, request, [part for _, part, _ in parts])
    indexes = chosen_queries(info.queries, request.queries)
    rasters = [
        RasterToExport(
            run_dir=part,
            info=own,
            query_index=index,
            layer=layer,
            name=f"{before}{_stem(index, info.queries[index])}-{layer}.tif",
        )
        for before, part, own in (parts if request.cog else ())
        for index in indexes
        for layer in LAYERS
    ]
    plan = ExportPlan(
        run_dir=run_dir,
        info=info,
        query_indexes=indexes,
        out=_export_folder(run_dir, request.out),
        rasters=tuple(rasters),
        gpkg=request.gpkg,
        zooms=_zooms([own.lattice.grid for _, _, own in parts]) if request.pmtiles else None,
        min_score=request.min_score,
        oriented=request.oriented,
        edited=_edited(run_dir, info, indexes) if request.edits else None,
    )
    _require_room(plan, overwrite=request.overwrite)
    return plan


def export_run(
    plan: ExportPlan,
    *,
    progress: ShowProgress,
    cleaning: Cleaning | None = None,
    confidence: Mapping[int, Curve] | None = None,
) -> list[Path]:
    """Make the files; returns their paths. Vector tiles are not made where no object is left.

    confidence: see `InstanceRules`.

    Memory does not grow with the run. The folder holds a raster twice while it is made, and outlines that are
    made anew. Raises InputError when a result cannot be read or the folder not be written, and OSError
    (ENOSPC) when the disk is full.
    """
    with work_folder(plan.out, _WORK) as work:
        try:
            _make(plan, work, progress, cleaning, confidence or {})
        except (RasterioError, DataSourceError, DataLayerError) as error:
            if shutil.disk_usage(work).free < _FULL_BYTES:  # GDAL says only that a write failed
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(plan.out)) from error
            raise
        made = [name for name in plan.names if (work / name).exists()]
        return [_in_place(work / name, plan.out / name) for name in made]


def _make(
    plan: ExportPlan,
    work: Path,
    progress: ShowProgress,
    cleaning: Cleaning | None,
    confidence: Mapping[int, Curve],
) -> None:
    floor = score_floor(plan.run_dir, plan.query_indexes, plan.min_score)
    for raster in plan.rasters:
        write_cog(
            raster.run_dir.masks,
            work / raster.name,
            layer=raster.layer,
            query_index=raster.query_index,
            grid=raster.info.lattice.grid,
            tags={
                "QUERY": raster.info.queries[raster.query_index],
                "RUN_ID": raster.info.run_id,
                "MIN_SCORE": f"{plan.min_score:g}",
            },
            floor=floor,
            progress=partial(progress, raster.name),
        )
    if plan.gpkg or plan.zooms is not None:
        _write_tables(plan, work, floor, progress, cleaning, confidence)


def _write_tables(
    plan: ExportPlan,
    work: Path,
    floor: ScoreFloor,
    progress: ShowProgress,
    cleaning: Cleaning | None,
    confidence: Mapping[int, Curve],
) -> None:
    with contextlib.ExitStack() as held:
        outlines = None
        if cleaning is not None:
            told = partial(progress, "outlines")
            outlines = held.enter_context(cleaning.make(work / "outlines.sqlite", plan, floor, told))
        rules = InstanceRules(
            floor=floor,
            outlines=outlines,
            oriented=plan.oriented,
            edited=plan.edited,
            confidence=confidence,
            text="" if cleaning is None or outlines is None else cleaning.text + outlines.note,
        )
        if plan.gpkg:
            write_geo_package(
                work / GEO_PACKAGE,
                plan.run_dir,
                grid=plan.table_grid,
                query_indexes=plan.query_indexes,
                rules=rules,
                progress=partial(progress, GEO_PACKAGE),
            )
        if plan.zooms is not None:
            write_vector_tiles(
                work / VECTOR_TILES,
                plan.run_dir,
                grid=plan.table_grid,
                zooms=plan.zooms,
                query_indexes=plan.query_indexes,
                rules=rules,
                progress=partial(progress, VECTOR_TILES),
            )


def _zooms(grids: Sequence[RunGrid]) -> tuple[int, int]:
    """First and deepest level for all zones of a run."""
    each = [zooms_of(grid) for grid in grids]
    return min(first for first, _ in each), max(deepest for _, deepest in each)


def _edited(run_dir: RunDir, info: RunInfo | ZonedInfo, chosen: Sequence[int]) -> EditedInstances:
    edited = find_edited(run_dir, info.queries, chosen)
    if edited is None:
        raise InputError(
            "--edits needs a run with edits",
            came=f"{run_dir.path} without {EDITS}",
            remedy="mark objects and keep the marks with jobs/edit_run.py, or leave --edits out",
        )
    return edited


def _require_rules(request: ExportRequest, info: RunInfo | ZonedInfo) -> None:
    if not 0.0 <= request.min_score <= 1.0:
        raise InputError(
            "--min-score must lie between 0 and 1",
            came=f"{request.min_score:g}",
            remedy="give a score such as 0.5; scores of the run are in its instances table",
        )
    if request.cleaned and not (request.gpkg or request.pmtiles):
        raise InputError(
            "outlines are made anew for the GeoPackage and for vector tiles",
            came="neither --gpkg nor --pmtiles",
            remedy="add one of them; rasters keep the pixels of the run",
        )
    if request.edits and not (request.gpkg or request.pmtiles):
        raise InputError(
            "edits are applied to the GeoPackage and to vector tiles",
            came="neither --gpkg nor --pmtiles",
            remedy="add one of them; rasters keep the pixels of the run",
        )
    if request.oriented and not request.gpkg:
        raise InputError("rectangles are a layer of the GeoPackage", came="no --gpkg", remedy="add --gpkg")
    if isinstance(info, ZonedInfo) and (request.cleaned or (request.min_score > 0.0 and request.cog)):
        raise InputError(
            "outlines are made anew, and objects left out of rasters, in runs of one zone",
            came=f"a run of {len(info.zones)} zones",
            remedy="export its zones one by one: each is a run directory in zones/",
        )


def _export_folder(run_dir: RunDir, given: str | None) -> Path:
    if given is not None:
        return Path(given)
    if not run_dir.path.is_local:
        raise InputError(
            "the files of an export lie on this machine", came="no --out", remedy="add --out FOLDER"
        )
    return run_dir.path.local() / "export"


def _in_place(made: Path, target: Path) -> Path:
    for stale in (target, target.with_name(f"{target.name}.aux.xml")):
        stale.unlink(missing_ok=True)  # GIS programs keep statistics of an older file beside it
    return made.replace(target)


def _parts(run_dir: RunDir, info: RunInfo | ZonedInfo) -> list[tuple[str, RunDir, RunInfo]]:
    """(beginning of file names, directory, run.json) of each run that has rasters: the run itself, or its
    zones. Zones whose run has not begun are left out.
    """
    if isinstance(info, RunInfo):
        return [("", run_dir, info)]
    zones = [(zone.name, finished_run(run_dir.path / zone.path)) for zone in info.zones]
    return [
        (f"{name}-", part, read_run_json(part.run_json)) for name, part in zones if part.run_json.is_file()
    ]


def _require_ended(
    run_dir: RunDir, info: RunInfo | ZonedInfo, request: ExportRequest, parts: Sequence[RunDir]
) -> None:
    wanted = [part.masks for part in parts] if request.cog else []
    wanted += [run_dir.instances] if request.gpkg or request.pmtiles else []
    wanted += [run_dir.coverage] if request.gpkg else []
    missing = [path.name for path in wanted if not path.exists()]
    if info.status == "running" or missing:
        lacks = f", without {' and '.join(missing)}" if missing else ""
        raise InputError(
            f"only a run that has ended can be exported: {run_dir.path}",
            came=f"status {info.status}{lacks}",
            remedy="let the run end, or start its own command again: it resumes where it stopped",
        )


def _stem(index: int, query: str) -> str:
    """The beginning of a query's file names: its number, then its words in plain letters and digits."""
    plain = unicodedata.normalize("NFKD", query).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_NAME].strip("-")
    return f"q{index}-{words}" if words else f"q{index}"


def _require_room(plan: ExportPlan, *, overwrite: bool) -> None:
    require_folder(plan.out)
    there = [name for name in plan.names if (plan.out / name).exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"files of an earlier export are not replaced unasked: {plan.out}",
            came=f"{there[0]}{more}",
            remedy="add --overwrite, or give another --out",
        )
