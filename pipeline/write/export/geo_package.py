"""Instances and ledger of a run as layers of one GeoPackage.

`write_geo_package` streams each table through `feature_rows` to GDAL. Rectangles around objects are a layer
of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyogrio

from pipeline.errors import InputError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import row_count
from pipeline.schema.tiling import RunGrid
from pipeline.write.export.feature_rows import (
    FeatureMaker,
    FeatureSource,
    InstanceFeatures,
    InstanceRules,
    as_they_are,
)
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir


def write_geo_package(
    path: Path,
    run_dir: RunDir,
    *,
    grid: RunGrid,
    query_indexes: Sequence[int],
    progress: Callable[[float], None],
    rules: InstanceRules | None = None,
) -> None:
    """Write the layers `instances` and `coverage`, with the rows of the chosen queries and in the run's CRS.

    `progress` is told the share that is done. Raises InputError when a table is missing or damaged.
    """
    instances = part_files(run_dir)
    rules = rules or InstanceRules()
    make = InstanceFeatures(grid, rules)
    layers: list[tuple[str, Sequence[StorePath], FeatureMaker]] = [("instances", instances, make.objects)]
    if rules.oriented:
        layers.append(("rectangles", instances, make.rectangles))
    layers.append(("coverage", [run_dir.coverage], as_they_are))
    try:
        total = max(sum(row_count(file) for _, files, _ in layers for file in files), 1)
        done = 0
        for layer, files, maker in layers:
            if not files:
                raise FileNotFoundError(f"no part file in {run_dir.instances}")

            def told(n_rows: int, before: int = done) -> None:
                progress(0.99 * (before + n_rows) / total)

            last = make.added if layer == "instances" and rules.edited is not None else None
            source = FeatureSource(files, query_indexes, maker, told, last)
            _write_layer(path, layer, source, crs=grid.crs_wkt, text=rules.text if files is instances else "")
            done += source.n_read
    except (pa.ArrowException, FileNotFoundError, KeyError) as error:
        raise InputError(
            f"the tables of {run_dir.path} must be whole",
            came=str(error),
            remedy="merge the run again with jobs/restitch_region.py, which writes them anew",
        ) from error
    progress(1.0)


def _write_layer(path: Path, layer: str, source: FeatureSource, *, crs: str | None, text: str) -> None:
    with warnings.catch_warnings():
        # a run in pixel space has no CRS to give
        warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
        pyogrio.write_arrow(
            source.features(),
            path,
            layer=layer,
            driver="GPKG",
            geometry_name="geometry",
            geometry_type="MultiPolygon",
            crs=crs,
            layer_metadata={"OUTLINES": text} if text else None,
        )
