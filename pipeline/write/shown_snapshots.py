"""A snapshot that run.json has named does not change any more: a reader may have it open.

1. A finished run that is started again has the same snapshot. Rasters and tables have the same bytes. The
   report would have other times, so it is kept, and with it the manifest (`settled`).
2. Where the report could not be made, the snapshot was shown without one. Another start may be able to make
   it, and then publishes a snapshot of another name (`free_name`).
3. A snapshot that somebody damaged is mended in place: the publication writes what belongs there.
"""

from __future__ import annotations

from pipeline.errors import InputError
from pipeline.files.store.stored_files import measured
from pipeline.write.manifest import Manifest, read_manifest, snapshot_name
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import read_any_run


def settled(run_dir: RunDir) -> Manifest | None:
    """Read the manifest of `run_dir.results`, if readers know this snapshot and its report is as the manifest
    says. None: report and manifest are to be made. Raises InputError for a damaged run.json.
    """
    manifest = _manifest(run_dir) if _was_shown(run_dir) else None
    if manifest is None:
        return None
    try:
        report = measured(run_dir.report)
    except FileNotFoundError:
        return None
    return manifest if manifest.files.get(run_dir.report.name) == report else None


def free_name(run_dir: RunDir) -> str:
    """Name the snapshot in which a publication into `run_dir.results` may write: this one, unless readers
    know it, whole but for its report. Raises InputError for a damaged run.json.
    """
    while _was_shown(run_dir):
        manifest = _manifest(run_dir)
        if manifest is None or run_dir.report.name in manifest.files:
            break
        run_dir = run_dir.in_snapshot(snapshot_name({"after": run_dir.results.name}))
    return run_dir.results.name


def _was_shown(run_dir: RunDir) -> bool:
    """Whether run.json names the snapshot, or one of its earlier versions did."""
    if not run_dir.run_json.is_file():
        return False
    info = read_any_run(run_dir.run_json)
    return run_dir.results.name in (info.snapshot, *info.earlier)


def _manifest(run_dir: RunDir) -> Manifest | None:
    try:
        return read_manifest(run_dir)
    except InputError:
        return None  # damaged: it is written again
