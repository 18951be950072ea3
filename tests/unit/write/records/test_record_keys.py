"""What a record must be of, and what its numbers of scenes mean."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import MissingRecordError
from pipeline.write.records.record_keys import AlikeKeys, BlockKey, PinnedKeys, key_of


def test_a_record_counts_the_scenes_of_its_block() -> None:
    key = BlockKey(fingerprint="f", scenes=(2, 5, 9))
    assert key.own_numbers((2, 9)) == (0, 2)
    assert key.run_numbers((0, 2)) == (2, 9)
    assert key.run_numbers(()) == key.own_numbers(()) == ()


def test_records_of_earlier_versions_count_the_scenes_of_the_run() -> None:
    key = key_of(AlikeKeys("f"), "b00000_00000")
    assert key.fingerprint == "f"
    assert key.run_numbers((2, 9)) == key.own_numbers((2, 9)) == (2, 9)
    assert not AlikeKeys("f").is_own("b00000_00000", "{}")


def test_no_record_of_a_block_counts_that_is_not_planned() -> None:
    class Nothing:
        def of(self, block_id: str) -> None:
            return None

        def is_own(self, inputs: str) -> bool:
            return False

    with pytest.raises(MissingRecordError, match="b00000_00007 is not planned"):
        key_of(Nothing(), "b00000_00007")


def test_pinned_keys_name_the_one_record_that_counts() -> None:
    """A block of which there was no record has none, whatever comes later."""
    pinned = PinnedKeys(AlikeKeys("f"), {"b00000_00000": "5ea1"})
    assert key_of(pinned, "b00000_00000") == BlockKey(fingerprint="f", seal="5ea1")
    assert key_of(pinned, "b00000_00001").seal not in ("", "5ea1")
    assert not pinned.is_own("b00000_00000", "{}")
    assert pickle.loads(pickle.dumps(pinned)) == pinned
