"""Which records count as done, and which are done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from record_world import lattice_of, mixed_record

from pipeline.files.store.store import StoreError
from pipeline.files.store.store_path import StorePath
from pipeline.write.records.block_records import check_record, write_block_record
from pipeline.write.records.done_records import done_blocks, record_files
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

FP = "f" * 64
GOLDEN = Path(__file__).parents[3] / "golden" / "write"
LATTICE = lattice_of()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_a_record_from_before_the_hash_is_done_again(run_dir: RunDir) -> None:
    """It cannot show that it is whole, so it is not trusted."""
    old = GOLDEN / "blocks-without-hash" / "b00000_00000.parquet"
    run_dir.block("b00000_00000").write_bytes(old.read_bytes())
    found = done_blocks(run_dir, AlikeKeys(FP), ["b00000_00000"])
    assert not found.done
    assert "no hash of its content" in found.unusable["b00000_00000"]
    write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    assert list(done_blocks(run_dir, AlikeKeys(FP), ["b00000_00000"]).done) == ["b00000_00000"]


def test_only_whole_records_of_this_run_are_done(run_dir: RunDir) -> None:
    names = [f"b00000_0000{n}" for n in range(4)]
    assert done_blocks(run_dir, AlikeKeys(FP), names).done == {}
    write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    run_dir.block(names[1]).write_bytes(b"")
    write_block_record(
        run_dir, replace(mixed_record(LATTICE, fingerprint="0" * 64), block_id=names[2]), lattice=LATTICE
    )
    (run_dir.blocks.local() / ".b00000_00003.parquet.abc.tmp").write_bytes(b"half")
    found = done_blocks(run_dir, AlikeKeys(FP), names)
    assert found.done == {names[0]: check_record(run_dir.block(names[0]), FP)}
    assert set(found.unusable) == {names[1], names[2]}


def test_files_that_are_not_named_like_a_record_count_for_nothing(run_dir: RunDir) -> None:
    path = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    for name in ("b00000_00000 (copy).parquet", "notes.parquet", "b1.parquet", ".b00000_00000.parquet"):
        (run_dir.blocks / name).write_bytes(b"anything")
    assert record_files(run_dir) == [path]
    assert not done_blocks(run_dir, AlikeKeys(FP), ["b00000_00000"]).unusable


def test_a_store_that_does_not_answer_damages_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: StorePath) -> bytes:
        raise StoreError(5, "the store did not answer in time", "run/blocks")

    monkeypatch.setattr(StorePath, "read_bytes", silent)
    with pytest.raises(StoreError):
        done_blocks(RunDir(tmp_path), AlikeKeys("f"), ["b00000_00000"])
