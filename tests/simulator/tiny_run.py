"""A run of four blocks, the code that plans, commits and publishes it, and what it looks like undisturbed.

Commit, publication, documents and lock are the project's own. Only inference is not: a block's record is one
of two that were made before, with its tile found or failed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import numpy as np
from record_world import found_tile, grid_of, lattice_of, plain_tile
from simulator.sim_store import World

from pipeline.errors import IncompleteRunError, RecordError
from pipeline.files.fingerprint import fingerprint
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.zarr_adapter import Written, ZarrFolder
from pipeline.run.infer.steps import RunContext
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.publish import named_job, publish_merge, with_tables
from pipeline.run.todo import Todo, todo
from pipeline.schema.tile_answers import BlockRecord, Reason, TileStatus
from pipeline.schema.tiling import BlockSpec, block_id
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.instances import InstanceMeta, part_file
from pipeline.write.manifest import read_manifest, write_manifest
from pipeline.write.records import block_records
from pipeline.write.records.done_records import done_blocks
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import conclude, seen_version, write_unless_newer
from pipeline.write.run_json import RunInfo
from pipeline.write.shown_snapshots import settled

LATTICE = lattice_of(
    grid_of(32, 32, crs=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    tile_px=16,
    halo_px=2,
    block_tiles=1,
)
BLOCKS = tuple(
    BlockSpec(
        block_row=row,
        block_col=col,
        core=LATTICE.block_core(row, col),
        read=LATTICE.tile(row, col).read,
        tiles=(LATTICE.tile(row, col),),
    )
    for row in range(2)
    for col in range(2)
)
BLOCK_IDS = tuple(block.block_id for block in BLOCKS)
FLAKY = block_id(1, 0)
"""The block whose tile may fail."""

PARAMETERS: tuple[Mapping[str, Any], ...] = ({"query": ["roofs"], "tile": 1}, {"query": ["roofs"], "tile": 2})
"""Two runs that want the same directory."""
FINGERPRINTS = tuple(fingerprint(parameters) for parameters in PARAMETERS)
KEYS = tuple(AlikeKeys(text) for text in FINGERPRINTS)

_encode = block_records.record_to_bytes


@cache
def record(run: int, name: str, fails: bool) -> BlockRecord:
    """The record of a block. In the second run other things are found."""
    block = BLOCKS[BLOCK_IDS.index(name)]
    row, col = block.block_row, block.block_col
    tile = found_tile(LATTICE, row, col, seed=run)
    if name == FLAKY and fails:
        tile = plain_tile(LATTICE, row, col, TileStatus.FAILED, Reason.MALFORMED, error="no answer in time")
    elif name == BLOCK_IDS[-1]:
        tile = plain_tile(LATTICE, row, col, TileStatus.EMPTY, Reason.PROMPTER)
    valid = {tile.tile.tile_id: np.ones(tile.tile.core.shape, dtype=np.bool_)}
    return BlockRecord(block_id=name, fingerprint=FINGERPRINTS[run], tiles=(tile,), valid=valid)


@cache
def record_bytes(run: int, name: str, fails: bool) -> bytes:
    """The record as it is stored."""
    return _encode(record(run, name, fails), lattice=LATTICE)


@cache
def genuine() -> dict[bytes, tuple[int, str, bool]]:
    """Every record that inference could give: bytes -> run, block, fails."""
    return {
        record_bytes(run, name, fails): (run, name, fails)
        for run in range(len(PARAMETERS))
        for name in BLOCK_IDS
        for fails in ((False, True) if name == FLAKY else (False,))
    }


def remembered_bytes(made: BlockRecord, *, lattice: object) -> bytes:
    """`record_to_bytes`, for the records of this world."""
    fails = made.tiles[0].status is TileStatus.FAILED
    return record_bytes(FINGERPRINTS.index(made.fingerprint), made.block_id, fails)


def start_of(run: int) -> RunInfo:
    """run.json of a run that starts."""
    return RunInfo(
        run_id=FINGERPRINTS[run][:16],
        fingerprint=FINGERPRINTS[run],
        status="running",
        parameters=PARAMETERS[run],
        queries=("roofs",),
        lattice=LATTICE,
        scenes=(),
        started="2026-01-01T00:00:00+00:00",
    )


@dataclass(frozen=True)
class _Plan:
    def blocks(self) -> Iterator[BlockSpec]:
        yield from BLOCKS


@dataclass(frozen=True)
class _Context:
    run_dir: str
    keys: AlikeKeys
    plan: _Plan = _Plan()
    scene_sources: tuple[object, ...] = ()


def left(run: int, run_dir: RunDir, *, retry_failed: bool) -> Todo:
    """What is left of a run, by the project's own `todo`."""
    context = _Context(run_dir=str(run_dir.path), keys=KEYS[run])
    return todo(cast(RunContext, context), retry_failed=retry_failed)


def job_of(run: int, run_dir: RunDir) -> MergeJob:
    """Phase two of a run."""
    return MergeJob(
        records_dir=str(run_dir.blocks),
        out_dir=str(run_dir.path),
        keys=KEYS[run],
        lattice=LATTICE,
        inside=np.ones((2, 2), dtype=np.bool_),
        aoi_grid=None,
        scenes=(),
        meta=InstanceMeta(
            queries=("roofs",), prompter_id="p", segmenter_id="s", run_id=FINGERPRINTS[run][:16]
        ),
        stitch=StitchOptions(),
        mode="instances",
        min_area_m2=0.0,
        super_tile_tiles=32,
    )


def publish_run(run: int, run_dir: RunDir, info: RunInfo, *, whole: bool) -> RunInfo:
    """Publish the run and let run.json name it, in the order of `closing.close_run`.

    `whole`: with the whole of phase two. Otherwise some small files stand for its results.
    """
    job = job_of(run, run_dir)
    if whole:
        published = publish_merge(job, note=lambda _: None, one_machine=False)
        results, shards, failed = published.run_dir, published.shards, published.conservation.failed
    else:
        results, shards, failed = _publish_little(job)
    if settled(results) is None:
        results.report.write_bytes(b"report of " + results.results.name.encode())
    write_manifest(results, FINGERPRINTS[run], shards)
    seen = seen_version(results.item)
    closing = replace(
        info,
        status="incomplete" if failed else "complete",
        counters={"tiles_planned": len(BLOCKS), "tiles_failed": failed},
        ended="2026-01-01T00:10:00+00:00",
    )
    closing = conclude(results, closing)
    write_unless_newer(results.item, json.dumps({"snapshot": closing.snapshot}).encode(), seen)
    return closing


def _publish_little(job: MergeJob) -> tuple[RunDir, tuple[Written, ...], int]:
    """Name the snapshot by the records, as phase two does, and write files that follow from them."""
    with with_tables(job, one_machine=False) as at_hand:
        named = named_job(at_hand)
        found = done_blocks(named.run_dir, named.keys, BLOCK_IDS)
        if found.unusable:
            raise RecordError(f"{found.unusable}")
        if set(found.done) != set(BLOCK_IDS):
            raise IncompleteRunError(f"{set(BLOCK_IDS) - set(found.done)} have no record")
        table = at_hand.tables / "q0.arrow"
        table.write_bytes(json.dumps(found.done).encode())
        try:
            seals = table.read_bytes()
        except FileNotFoundError as error:
            raise RecordError(f"the intermediate table {table} is gone") from error
    results = RunDir(job.out_dir).in_snapshot(named.snapshot)
    results.coverage.write_bytes(b"coverage of " + seals)
    masks = ZarrFolder(results.masks)
    masks.write("zarr.json", b"{}")
    for name in BLOCK_IDS[:2]:
        masks.write(f"mask/c/{name}", f"{name} {found.done[name]}".encode())
    part_file(results, 0).write_bytes(b"instances of " + seals)
    fails = json.loads(seals)[FLAKY] == _seal_of_failed(FINGERPRINTS[KEYS.index(job.keys)])
    return results, tuple(masks.written.values()), int(fails)


@cache
def _seal_of_failed(run_fingerprint: str) -> str:
    data = record_bytes(FINGERPRINTS.index(run_fingerprint), FLAKY, True)
    return block_records.check_bytes(data, StorePath("/none", f"{FLAKY}.parquet"), run_fingerprint)


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves where nothing goes wrong."""

    snapshot: str
    files: Mapping[str, bytes]
    """Path in the snapshot -> bytes."""
    run_json: Mapping[str, Any]
    """Without its history and the driver at work."""


@cache
def undisturbed(run: int, fails: bool, whole: bool) -> Undisturbed:
    """Publish the records of a run on a store without faults."""
    from simulator.sim_store import SCHEME, WORLDS

    from pipeline.write.run_document import begin

    WORLDS["calm"] = World(seed=0)
    run_dir = RunDir(f"{SCHEME}calm/run")
    for name in BLOCK_IDS:
        run_dir.block(name).write_bytes(record_bytes(run, name, fails and name == FLAKY))
    info = publish_run(run, run_dir, begin(run_dir, start_of(run)), whole=whole)
    start = f"run/snapshots/{info.snapshot}/"
    files = {
        key.removeprefix(start): held.data
        for key, held in WORLDS["calm"].objects.items()
        if key.startswith(start)
    }
    manifest = read_manifest(run_dir.in_snapshot(info.snapshot))
    assert manifest is not None
    assert set(manifest.files) | {"manifest.json"} == set(files)
    for path, (size, digest) in manifest.files.items():
        assert (len(files[path]), hashlib.sha256(files[path]).hexdigest()) == (size, digest)
    document = plain_document(WORLDS["calm"].objects["run/run.json"].data)
    return Undisturbed(info.snapshot, files, document)


def plain_document(data: bytes) -> dict[str, Any]:
    """run.json without its history and the driver at work."""
    return {name: value for name, value in json.loads(data).items() if name not in ("earlier", "at_work")}


@contextmanager
def replaced(*changes: tuple[object, str, object]) -> Iterator[None]:
    """Set attributes (owner, name, value), and set them back at the end."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
