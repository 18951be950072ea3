"""Which blocks of a run are done: those with a whole record of this run.

`done_blocks` reads and hashes every record. One that is damaged is not done, and so it is done again. That is
how a run heals: nobody has to find and delete the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RecordError
from pipeline.write.records.block_records import check_record
from pipeline.write.run_dir import RunDir

_CHECKING_THREADS = 4
"""Records that `done_blocks` reads and hashes at once; neither holds up the other threads."""

_NAME = re.compile(r"b\d{5,}_\d{5,}")  # schema.block_id


@dataclass(frozen=True, kw_only=True)
class DoneBlocks:
    """What `done_blocks` found in a run directory."""

    done: frozenset[str]
    """block_id of every record that is whole and of this run."""
    unusable: Mapping[str, str]
    """block_id -> why its file does not count as done; the block is planned again and its file replaced."""


def record_files(run_dir: RunDir) -> list[Path]:
    """List the files that are named like block records, in order; a copy or note beside them is no record."""
    return [path for path in sorted(run_dir.blocks.glob("b*.parquet")) if _NAME.fullmatch(path.stem)]


def done_blocks(run_dir: RunDir, fingerprint: str, block_ids: Sequence[str]) -> DoneBlocks:
    """Find out which of these blocks have a whole record of this run. Every record is read and hashed.

    A record that is cut off, damaged, of another run or of an earlier version is not done. Other files in the
    folder count for nothing.
    """

    def why_not(name: str) -> str | None:
        try:
            check_record(run_dir.block(name), fingerprint)
        except RecordError as error:
            return str(error)
        return None

    there = [name for name in block_ids if run_dir.block(name).exists()]
    with ThreadPoolExecutor(_CHECKING_THREADS) as pool:
        found = dict(zip(there, pool.map(why_not, there), strict=True))
    return DoneBlocks(
        done=frozenset(name for name, why in found.items() if why is None),
        unusable={name: why for name, why in found.items() if why is not None},
    )
