"""The files of a run as a whole: run.json, the plan, and what the catalogue item pins by size and hash."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.fingerprint import fingerprint
from pipeline.files.store.stored_files import measured, read_parquet
from pipeline.run.block_inputs import shared_fingerprint
from pipeline.run.verify.findings import Findings
from pipeline.write.manifest import read_manifest
from pipeline.write.plan_table import read_inside, write_plan
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZonedInfo

TRIMMINGS = ("report", "item")
"""Outputs that a run can do without: `notes` in run.json say why they could not be made."""

_MULTIHASH_SHA256 = "1220"


def check_run_json(run_dir: RunDir, info: RunInfo | ZonedInfo, found: Findings) -> None:
    """Check that run.json is of an ended run, that its fingerprint is that of its parameters, and that all
    outputs it names are there.
    """
    if info.status == "running":
        found.add("run.json", "status", "the run has not ended; its own command resumes it")
        return
    if fingerprint(info.parameters) != info.fingerprint:
        found.add("run.json", "fingerprint", "it is not that of the parameters beside it")
    share = getattr(info, "records_share", "")
    if share and "merged_from" not in info.settings and share != shared_fingerprint(info.parameters):
        found.add("run.json", "records_share", "it is not that of the parameters beside it")
    if info.run_id != info.fingerprint[:16]:
        found.add("run.json", "run_id", f"{info.run_id} is not the beginning of the fingerprint")
    for name, path in sorted(info.outputs.items()):
        if path is None:
            if name not in TRIMMINGS:
                found.add("run.json", name, "it is not there, and a run that has ended has one")
        elif not (run_dir.path / path).exists():
            found.add("run.json", name, f"{path} is named and missing")
    leftovers = [name for name in run_dir.path.children() if name.endswith(".tmp") and not info.update]
    if leftovers:
        found.add("run.json", leftovers[0], f"{len(leftovers)} unfinished files in a run that has ended")


def check_plan(
    run_dir: RunDir, info: RunInfo, scratch: Path, found: Findings, *, scene_ids: Collection[str]
) -> NDArray[np.bool_] | None:
    """Check plan.parquet against the lattice and the scenes that it may name. Returns its tiles
    (n_tile_rows, n_tile_cols), True = looked at; None: it cannot be read.
    """
    try:
        inside = read_inside(run_dir.plan, info.lattice)
    except InputError as error:
        found.add("plan", run_dir.plan.name, str(error))
        return None
    write_plan(scratch / "plan.parquet", info.lattice, inside)
    wanted = read_parquet(scratch / "plan.parquet").drop_columns(["scene_ids"])
    table = read_parquet(run_dir.plan)
    for name, text in differing_columns(wanted, table):
        found.add("plan", f"column {name}", text)
    if "scene_ids" in table.column_names:
        named = set(table["scene_ids"].combine_chunks().flatten().unique().to_pylist())
        unknown = sorted(named.difference(scene_ids))
        if unknown:
            found.add("plan", "column scene_ids", f"{unknown[0]} is no scene of run.json")
    return inside


def differing_columns(wanted: pa.Table, found: pa.Table) -> list[tuple[str, str]]:
    """Compare two tables row by row. Returns the columns that differ, and how; further columns count for
    nothing.
    """
    if wanted.num_rows != found.num_rows:
        return [("tile_id", f"{found.num_rows} rows instead of {wanted.num_rows}")]
    differences = []
    for name in wanted.column_names:
        if name not in found.column_names:
            differences.append((name, "it is missing"))
            continue
        one = wanted[name].combine_chunks()
        other = found[name].combine_chunks()
        if one.type != other.type:
            differences.append((name, f"{other.type} instead of {one.type}"))
        elif not one.equals(other):
            pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
            rows = [row for row, (a, b) in enumerate(pairs) if not (a == b or (a != a and b != b))]
            if rows:  # NaN is no difference to NaN
                row = rows[0]
                text = f"row {row} says {_short(other[row])} instead of {_short(one[row])}"
                differences.append((name, f"{len(rows)} rows differ; {text}"))
    return differences


def _short(value: pa.Scalar) -> str:
    text = repr(value.as_py())
    return text if len(text) <= 60 else text[:57] + "..."


def check_item(run_dir: RunDir, info: RunInfo | ZonedInfo, found: Findings) -> None:
    """Check item.json: one STAC Feature, whose assets exist with the sizes and hashes that it gives.

    While an update is under way the plan is another one, and the item is of the result that counts.
    """
    if not run_dir.item.is_file():
        return  # run.json says whether there should be one
    try:
        item = json.loads(run_dir.item.read_text())
        assets: Mapping[str, Mapping[str, Any]] = item["assets"]
        if item["type"] != "Feature":
            found.add("item", "type", f"{item['type']} instead of Feature")
    except (OSError, ValueError, TypeError, KeyError) as error:
        found.add("item", run_dir.item.name, f"it is no readable STAC item: {error!r}")
        return
    for name, asset in sorted(assets.items()):
        path = run_dir.path / posixpath.normpath(str(asset.get("href", "")))
        if not path.exists():
            found.add("item", name, f"{path.name} is missing")
            continue
        if "file:size" not in asset or not path.is_file() or (info.update and path == run_dir.plan):
            continue
        size, digest = measured(path)
        if size != asset["file:size"]:
            found.add("item", name, f"{path.name} has {size} bytes instead of {asset['file:size']}")
        elif asset.get("file:checksum", _MULTIHASH_SHA256 + digest) != _MULTIHASH_SHA256 + digest:
            found.add("item", name, f"{path.name} has another content than the item pins (sha256)")


def check_manifest(run_dir: RunDir, info: RunInfo | ZonedInfo, found: Findings) -> None:
    """Check the snapshot against its manifest: every file is there, with its size and hash, and no other."""
    if not info.snapshot:
        return  # written by a version that knew no snapshots
    try:
        manifest = read_manifest(run_dir)
    except InputError as error:
        found.add("manifest", run_dir.manifest.name, str(error))
        return
    if manifest is None:
        found.add("manifest", run_dir.manifest.name, "it is missing")
        return
    if (manifest.snapshot, manifest.fingerprint) != (info.snapshot, info.fingerprint):
        found.add("manifest", "snapshot", "it is that of another snapshot or run")
    for name, (size, digest) in manifest.files.items():
        try:
            came = measured(run_dir.results / name)
        except OSError:
            found.add("manifest", name, "it is missing or cannot be read")
            continue
        if came[0] != size:
            found.add("manifest", name, f"it has {came[0]} bytes instead of {size}")
        elif came[1] != digest:
            found.add("manifest", name, "it has another content than the manifest pins (sha256)")
    there = {path.below(run_dir.results) for path in run_dir.results.entries()}
    for name in sorted(there - {*manifest.files, run_dir.manifest.name}):
        found.add("manifest", name, "it is in the snapshot, and the manifest does not name it")
