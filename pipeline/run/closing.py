"""The end of a run: the report and the catalogue item are added, then run.json says that all is there.

1. `close_run` makes the overview, the report and the manifest, in this order: the snapshot is whole. Of a
   snapshot that readers know, it leaves them as they are (`shown_snapshots`).
2. run.json is written, which makes the snapshot count. Then the item is, which describes it.
3. What cannot be made costs the run nothing but a note, on the screen and in run.json, and a null in its
   `outputs`. A full disk alone is an error: once there is room, the same command makes the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.files.store.zarr_adapter import Written
from pipeline.run.closing_notes import Notes, kept_notes
from pipeline.run.report_imagery import Imagery, report_imagery
from pipeline.run.screen import Say
from pipeline.run.stop_signals import unbroken
from pipeline.write.coverage import Conservation
from pipeline.write.instances import part_file
from pipeline.write.manifest import write_manifest
from pipeline.write.records.record_keys import RecordKeys
from pipeline.write.report.report import ReportInputs, write_report
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import amend, conclude, seen_version
from pipeline.write.run_json import RunInfo
from pipeline.write.shown_snapshots import settled
from pipeline.write.stac_item import ItemInputs, footprint_lonlat, write_item


@dataclass(frozen=True, kw_only=True)
class MergedRun:
    """A run whose results are written, and which has yet to be closed."""

    run_dir: RunDir
    """With the results of the snapshot."""
    shards: tuple[Written, ...]
    """What was written of masks.zarr."""
    info: RunInfo
    """run.json as it will be, but for the notes of the closing."""
    keys: RecordKeys
    """Of the block records."""
    conservation: Conservation
    inside: NDArray[np.bool_]
    """(n_tile_rows, n_tile_cols) tiles that were looked at."""
    imagery: Callable[[], Imagery]
    """Opens the scenes again, for pictures."""


def close_run(run: MergedRun, *, say: Say) -> RunInfo:
    """Add report.html and the manifest, let run.json name the snapshot, and write item.json; returns
    run.json.

    Raises OSError when the disk is full, and IncompleteRunError when another driver has taken over.
    """
    run_dir = run.run_dir
    notes = Notes(say, run_dir.log)
    kept = settled(run_dir)
    if kept is None:
        imagery = notes.attempt("pictures of the imagery", run.imagery)
        notes.attempt("report.html", lambda: _report(run, imagery, notes))
    else:
        notes.texts += kept_notes(run_dir)
    footprint = notes.attempt(
        "the footprint in item.json", lambda: footprint_lonlat(run.info.lattice, run.inside)
    )
    write_manifest(run_dir, run.info.fingerprint, run.shards)
    item_before = seen_version(run_dir.item)
    info = replace(run.info, notes=tuple(notes.texts), outputs=_outputs(run_dir))
    with unbroken():
        info = conclude(run_dir, info)
    item = notes.attempt(
        "item.json", lambda: write_item(run_dir, ItemInputs(info=info, geometry=footprint), item_before)
    )
    if item is None:
        info = amend(run_dir, replace(info, notes=tuple(notes.texts), outputs={**info.outputs, "item": None}))
    return info


def _report(run: MergedRun, imagery: Imagery | None, notes: Notes) -> StorePath:
    """Write the report. Without imagery, objects are drawn on plain paper."""
    grid = run.info.lattice.grid
    if imagery is None:
        info = replace(run.info, notes=tuple(notes.texts))
        return write_report(
            run.run_dir, ReportInputs(info=info, keys=run.keys, conservation=run.conservation)
        )
    with report_imagery(imagery.sources, grid, notes, load=imagery.load) as opened:
        overview = opened.overview(notes)
        inputs = ReportInputs(
            info=replace(run.info, notes=tuple(notes.texts)),
            keys=run.keys,
            conservation=run.conservation,
            overview_rgb=overview,
            read_rgb=opened.read_rgb,
        )
        return write_report(run.run_dir, inputs)


def _outputs(run_dir: RunDir) -> dict[str, str | None]:
    """What the run directory holds, by its name there; null for what could not be made. The item comes
    last.
    """
    paths = {
        "plan": run_dir.plan,
        "masks": run_dir.masks,
        "instances": run_dir.instances,
        "coverage": run_dir.coverage,
        "manifest": run_dir.manifest,
        "report": run_dir.report,
    }
    # of a folder one file is looked up that is always in it: no listing
    told_by = {**paths, "masks": run_dir.masks / "zarr.json", "instances": part_file(run_dir, 0)}
    there = {
        name: path.below(run_dir.path) if told_by[name].is_file() else None for name, path in paths.items()
    }
    return {**there, "item": run_dir.item.name}
