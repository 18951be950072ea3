"""Export a finished run: rasters as Cloud-Optimized GeoTIFFs, tables as a GeoPackage.

1. `plan_export` reads run.json, chooses the queries, names every file, and refuses what cannot be done.
2. `export_run` makes one file after the other in a hidden folder, and moves them to their places when all are
   whole. An export that fails leaves nothing behind.

The results themselves are only read.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.errors import RasterioError

from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.write.export.geo_package import write_geo_package
from pipeline.write.export.raster_files import LAYERS, LayerName, write_cog
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, read_run_json

GEO_PACKAGE = "results.gpkg"
"""Name of the GeoPackage in the folder of exported files."""

_MAX_NAME = 40
"""Longest part of a file name that is made of a query's text."""

_WORK = ".export-"
"""Beginning of the names of working folders."""

_LEFT_S = 86_400.0
"""Age in seconds at which a working folder belongs to no export that is still at work."""

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
    queries: tuple[str, ...] = ()
    """Texts of queries, as they were asked. Empty: all of the run."""
    out: str | None = None
    """Folder for the files. None: `export` in the run directory."""
    overwrite: bool = False
    """Whether files of an earlier export are replaced."""


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """A request that can be carried out."""

    run_dir: RunDir
    info: RunInfo
    query_indexes: tuple[int, ...]
    out: Path
    rasters: tuple[tuple[int, LayerName, str], ...]
    """(query_index, layer, file name) of every raster."""
    gpkg: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all files, in the order in which they are made."""
        return (*(name for _, _, name in self.rasters), *((GEO_PACKAGE,) if self.gpkg else ()))


def plan_export(request: ExportRequest) -> ExportPlan:
    """Check that a run can be exported as asked; writes nothing.

    Raises InputError for what is no run, a run that has not ended, a query that was not asked, and files that
    are there already.
    """
    if not (request.cog or request.gpkg):
        raise InputError("an export needs a format", came="none", remedy="add --cog, --gpkg or both")
    run_dir = RunDir(request.run)
    if not run_dir.run_json.is_file():
        raise InputError(
            "an export needs the directory of a run",
            came=f"{run_dir.path} without a run.json",
            remedy="give the --out directory of a run of segment_region.py",
        )
    info = read_run_json(run_dir.run_json)
    _require_ended(run_dir, info, request)
    indexes = _chosen(info.queries, request.queries)
    rasters = [
        (index, layer, f"{_stem(index, info.queries[index])}-{layer}.tif")
        for index in (indexes if request.cog else ())
        for layer in LAYERS
    ]
    plan = ExportPlan(
        run_dir=run_dir,
        info=info,
        query_indexes=indexes,
        out=run_dir.path / "export" if request.out is None else Path(request.out),
        rasters=tuple(rasters),
        gpkg=request.gpkg,
    )
    _require_room(plan, overwrite=request.overwrite)
    return plan


def export_run(plan: ExportPlan, *, progress: ShowProgress) -> list[Path]:
    """Make the files; returns their paths.

    Memory does not grow with the run. While a raster is made, the folder holds it twice. Raises InputError
    when a result cannot be read or the folder not be written, and OSError (ENOSPC) when the disk is full.
    """
    work = _working_folder(plan.out)
    try:
        for index, layer, name in plan.rasters:
            write_cog(
                plan.run_dir.masks,
                work / name,
                layer=layer,
                query_index=index,
                grid=plan.info.lattice.grid,
                tags={"QUERY": plan.info.queries[index], "RUN_ID": plan.info.run_id},
                progress=partial(progress, name),
            )
        if plan.gpkg:
            write_geo_package(
                work / GEO_PACKAGE,
                plan.run_dir,
                grid=plan.info.lattice.grid,
                query_indexes=plan.query_indexes,
                progress=partial(progress, GEO_PACKAGE),
            )
        return [_in_place(work / name, plan.out / name) for name in plan.names]
    except (RasterioError, DataSourceError, DataLayerError) as error:
        if shutil.disk_usage(work).free < _FULL_BYTES:  # GDAL says only that a write failed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(plan.out)) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _working_folder(out: Path) -> Path:
    """Make a hidden folder in `out`, and remove those of exports that were killed long ago."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{_WORK}*"):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=_WORK, dir=out))


def _in_place(made: Path, target: Path) -> Path:
    for stale in (target, target.with_name(f"{target.name}.aux.xml")):
        stale.unlink(missing_ok=True)  # GIS programs keep statistics of an older file beside it
    return made.replace(target)


def _require_ended(run_dir: RunDir, info: RunInfo, request: ExportRequest) -> None:
    wanted = [run_dir.masks] if request.cog else []
    wanted += [run_dir.instances, run_dir.coverage] if request.gpkg else []
    missing = [path.name for path in wanted if not path.exists()]
    if info.status == "running" or missing:
        lacks = f", without {' and '.join(missing)}" if missing else ""
        raise InputError(
            f"only a run that has ended can be exported: {run_dir.path}",
            came=f"status {info.status}{lacks}",
            remedy="let the run end, or start its own command again: it resumes where it stopped",
        )


def _chosen(asked: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Indexes of the wanted queries, ascending; all when none is named."""
    unknown = [query for query in wanted if query not in asked]
    if unknown:
        raise InputError(
            "--query must be a query of the run, word for word",
            came=repr(unknown[0]),
            remedy=f"choose from {', '.join(map(repr, asked))}",
        )
    return tuple(index for index, query in enumerate(asked) if not wanted or query in wanted)


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
