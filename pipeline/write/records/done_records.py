"""Which blocks of a run are done: those with a whole record of their inputs.

`done_blocks` reads and hashes every record. One that is damaged, or that was made for other tiles or scenes,
is not done, and so it is done again. That is how a run heals and grows: nobody has to find and delete files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from pipeline.errors import MissingRecordError, OtherInputsError, RecordError
from pipeline.files.store.store_path import StorePath
from pipeline.write.records.block_records import check_record
from pipeline.write.records.record_keys import RecordKeys, key_of
from pipeline.write.run_dir import RunDir

_CHECKING_THREADS = 4
"""Records that `done_blocks` reads and hashes at once; neither holds up the other threads."""

_NAME = re.compile(r"b\d{5,}_\d{5,}\.parquet")  # schema.block_id


@dataclass(frozen=True, kw_only=True)
class DoneBlocks:
    """What `done_blocks` found in a run directory."""

    done: Mapping[str, str]
    """block_id -> seal of every record that is whole and of its block's inputs."""
    unusable: Mapping[str, str]
    """block_id -> why its file does not count as done; the block is planned again and its file replaced."""
    other_inputs: Mapping[str, str] = field(default_factory=dict)
    """block_id -> `BlockRecord.inputs` of those that are whole, and made for other inputs."""


def record_files(run_dir: RunDir) -> list[StorePath]:
    """List the files that are named like block records, in order; a copy or note beside them is no record."""
    names = run_dir.blocks.children()
    return [run_dir.blocks / name for name in names if _NAME.fullmatch(name)]


def copy_records(run_dir: RunDir, target: StorePath, block_ids: Sequence[str]) -> None:
    """Copy the records of these blocks into another folder; those that are missing stay missing."""

    def copy(name: str) -> None:
        with suppress(FileNotFoundError):
            (target / f"{name}.parquet").write_bytes(run_dir.block(name).read_bytes())

    with ThreadPoolExecutor(_CHECKING_THREADS) as pool:
        for _ in pool.map(copy, block_ids):
            pass


def done_blocks(run_dir: RunDir, keys: RecordKeys, block_ids: Sequence[str]) -> DoneBlocks:
    """Find out which of these blocks have a whole record of their inputs. Every record is read and hashed.

    A record that is cut off, damaged, of other inputs or of an earlier version is not done. Other files in
    the folder count for nothing.
    """

    done: dict[str, str] = {}
    unusable: dict[str, str] = {}
    other_inputs: dict[str, str] = {}

    def look(name: str) -> None:
        try:
            key = key_of(keys, name)
            done[name] = check_record(run_dir.block(name), key.fingerprint, key.seal)
        except MissingRecordError:
            pass
        except OtherInputsError as error:
            unusable[name] = str(error)
            other_inputs[name] = error.inputs
        except RecordError as error:
            unusable[name] = str(error)

    with ThreadPoolExecutor(_CHECKING_THREADS) as pool:
        for _ in pool.map(look, block_ids):
            pass
    return DoneBlocks(
        done={name: done[name] for name in block_ids if name in done},
        unusable={name: unusable[name] for name in block_ids if name in unusable},
        other_inputs={name: other_inputs[name] for name in block_ids if name in other_inputs},
    )
