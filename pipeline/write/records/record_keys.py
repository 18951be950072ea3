"""What a block record must be of: the fingerprint of the inputs of its block.

A run looks its records up with `RecordKeys`. A record whose fingerprint is another one was made for other
tiles or other scenes, or by another run, and counts for nothing. A block without a key is not planned: a
record that an earlier and larger area left there counts for nothing either.

A publication pins the records that it was named by (`PinnedKeys`). A driver that slept would otherwise mix
them with records that another one has replaced since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.errors import MissingRecordError


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockKey:
    """What the record of one block must be of."""

    fingerprint: str
    """sha256 of `inputs`, 64 hex digits; of a run of an earlier version that of the run."""
    inputs: str = ""
    """JSON of everything that the block's result follows from. Empty: not known."""
    scenes: tuple[int, ...] | None = None
    """Places, in the run's list of scenes, of those that the block reads, ascending. The record counts scenes
    by their places in this list. None: by those in the run's list."""
    seal: str = ""
    """Seal of the one record that counts. Empty: any of this fingerprint."""

    def run_numbers(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Turn a record's numbers of scenes into places in the run's list."""
        return numbers if self.scenes is None else tuple(self.scenes[number] for number in numbers)

    def own_numbers(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Turn places in the run's list into a record's numbers of scenes."""
        return numbers if self.scenes is None else tuple(self.scenes.index(number) for number in numbers)


class RecordKeys(Protocol):
    """The keys of all blocks of a run."""

    def of(self, block_id: str) -> BlockKey | None:
        """Give the key of a block. None: it is not planned."""
        ...

    def is_own(self, block_id: str, inputs: str) -> bool:
        """Whether a record of a block with these `inputs` was made by this run, maybe for an area or scenes
        of another time.
        """
        ...


def key_of(keys: RecordKeys, block_id: str) -> BlockKey:
    """Give the key of a block. Raises MissingRecordError for one that is not planned, whatever lies there."""
    key = keys.of(block_id)
    if key is None:
        raise MissingRecordError(f"block {block_id} is not planned, so no record of it counts")
    return key


@dataclass(frozen=True, slots=True)
class AlikeKeys:
    """One key for all blocks, as runs of earlier versions have it."""

    fingerprint: str

    def of(self, block_id: str) -> BlockKey:  # noqa: ARG002
        return BlockKey(fingerprint=self.fingerprint)

    def is_own(self, block_id: str, inputs: str) -> bool:  # noqa: ARG002
        return False


@dataclass(frozen=True, slots=True)
class PinnedKeys:
    """The keys of a run, each with the seal of the record that was seen."""

    keys: RecordKeys
    seals: Mapping[str, str]
    """block_id -> seal."""

    def of(self, block_id: str) -> BlockKey | None:
        key = self.keys.of(block_id)
        return None if key is None else replace(key, seal=self.seals.get(block_id, "no record"))

    def is_own(self, block_id: str, inputs: str) -> bool:
        return self.keys.is_own(block_id, inputs)
