"""What the models did, summed over two blocks by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import record_runs as runs
import stitch_worlds as worlds

from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.model_counts import ModelCounts
from pipeline.schema.tile_answers import BlockRecord, Prompt, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import block_id
from pipeline.write.coverage import write_coverage
from pipeline.write.records.block_records import write_block_record
from pipeline.write.run_dir import RunDir

BOX = Prompt(box_xyxy=(0.0, 0.0, 4.0, 4.0))


def job_of(folder: Path, *, looks: bool) -> MergeJob:
    """Two tiles of a block each: one found and rejected by one query each, and one that was rejected
    alone.
    """
    lattice = worlds.make_lattice((10, 20), 10, 2, 1)
    left, right = lattice.tile(0, 0), lattice.tile(0, 1)
    found = TileRecord(
        tile=left,
        query_index=0,
        status=TileStatus.FOUND,
        reason=Reason.NONE,
        prompts=(BOX, BOX),
        n_calls=2,
        truncated_reply=True,
        gate_p=0.9 if looks else None,
        verified=(0.8, None) if looks else (),
    )
    rejected = [
        TileRecord(
            tile=tile,
            query_index=1,
            status=TileStatus.EMPTY,
            reason=Reason.GATE if looks else Reason.PROMPTER,
            n_calls=0 if looks else 1,
            gate_p=0.1 if looks else None,
        )
        for tile in (left, right)
    ]
    for block_col, rows, n_embeddings in ((0, (found, rejected[0]), 1), (1, (rejected[1],), 0)):
        record = BlockRecord(
            block_id=block_id(0, block_col),
            fingerprint=runs.FINGERPRINT,
            tiles=rows,
            valid={row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_) for row in rows},
            n_embeddings=n_embeddings,
        )
        write_block_record(RunDir(folder), record, lattice=lattice)
    return runs.job_for(folder, folder / "out", lattice)


def counts_of(job: MergeJob) -> ModelCounts:
    counts = ModelCounts()
    write_coverage(
        job.run_dir, job.lattice, job.inside, keys=job.keys, queries=("a", "b"), on_block=counts.add
    )
    return counts


@pytest.mark.parametrize("looks", [False, True])
def test_what_the_models_did_is_summed_over_the_block_records(tmp_path: Path, looks: bool) -> None:
    counts = counts_of(job_of(tmp_path, looks=looks))
    assert (counts.encodings, counts.encoded_tiles) == (1, 1)
    plain = {"image_encodings": 1, "tiles_with_prompts": 1, "replies_cut_at_token_limit": 1}
    if looks:
        assert counts.counters() == {**plain, "prompter_calls": 2, "masks_verified": 1}
        assert (counts.gate.passed, counts.gate.passed_found, counts.gate.rejected) == (1, 1, 2)
    else:
        assert counts.counters() == {**plain, "prompter_calls": 4}
        assert counts.gate.judged == 0


def test_files_beside_the_planned_blocks_count_for_nothing(tmp_path: Path) -> None:
    """A record of a block that is not planned, and a copy."""
    job = job_of(tmp_path, looks=False)
    blocks = RunDir(tmp_path).blocks
    for name in ("b00007_00000.parquet", "b00000_00000 (copy).parquet"):
        (blocks / name).write_bytes((blocks / "b00000_00000.parquet").read_bytes())
    assert counts_of(job).counters()["prompter_calls"] == 4
