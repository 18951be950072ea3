"""Block records; the golden file is made by `python tests/golden/write/regenerate.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from record_world import assert_same_record, found_tile, grid_of, lattice_of, mixed_record, plain_tile

from pipeline.errors import MissingRecordError, RecordError
from pipeline.files.public_text import public_text
from pipeline.schema.tile_answers import BlockRecord, Fragment, Prompt, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import TileLattice, Window
from pipeline.write.records import block_records
from pipeline.write.records.block_records import (
    SIDES,
    check_record,
    read_block_record,
    read_columns,
    read_counts,
    read_label_blobs,
    read_summaries,
    read_valid_blobs,
    record_to_bytes,
    seam_window,
    write_block_record,
)
from pipeline.write.records.done_records import done_blocks
from pipeline.write.records.label_codec import decode_bits, decode_labels
from pipeline.write.records.record_columns import SCHEMA
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

FP = "f" * 64
GOLDEN = Path(__file__).parents[3] / "golden" / "write"
LATTICE = lattice_of()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_a_record_survives_and_lies_where_its_name_says(run_dir: RunDir) -> None:
    record = mixed_record(LATTICE)
    path = write_block_record(run_dir, record, lattice=LATTICE)
    assert path == run_dir.blocks / "b00000_00000.parquet"
    assert path.local() == run_dir.path.local() / "blocks" / "b00000_00000.parquet"
    assert_same_record(read_block_record(path, FP), record)


def test_equal_records_give_equal_bytes_and_a_second_write_leaves_one_file(run_dir: RunDir) -> None:
    first = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE).read_bytes()
    slower = replace(mixed_record(LATTICE), elapsed_s=77.0)
    assert write_block_record(run_dir, slower, lattice=LATTICE).read_bytes() == first
    assert [path.name for path in run_dir.blocks.local().iterdir()] == ["b00000_00000.parquet"]


FLOATS = st.floats(-1e6, 1e6)
TEXT = st.text(max_size=8).map(public_text)
INTS = st.integers(-(2**40), 2**40)


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    points = draw(st.lists(st.tuples(FLOATS, FLOATS), max_size=3))
    box = draw(st.none() | st.tuples(FLOATS, FLOATS, FLOATS, FLOATS)) if points else (0.0, 0.5, 1.0, 1.5)
    labels = tuple(draw(st.sampled_from([0, 1])) for _ in points)
    return Prompt(box_xyxy=box, points_xy=tuple(points), point_labels=labels, label=draw(TEXT))


@st.composite
def fragments(draw: st.DrawFn) -> Fragment:
    row0 = draw(st.integers(0, 2**40))
    col0 = draw(st.integers(0, 2**40))
    window = Window(
        row0=row0, col0=col0, row1=row0 + draw(st.integers(0, 9)), col1=col0 + draw(st.integers(0, 9))
    )
    return Fragment(
        local=draw(st.integers(1, 65535)),
        prompt_index=draw(st.integers(0, 1000)),
        score_q=draw(st.integers(0, 65535)),
        full_px=draw(st.integers(1, 2**30)),
        core_px=draw(st.integers(0, 2**30)),
        anchor=draw(st.integers(-1, 2**43)),
        window=window,
        censored=draw(st.integers(0, 15)),
        margin=draw(st.integers(0, 2**31 - 1)),
    )


@st.composite
def records(draw: st.DrawFn) -> tuple[TileLattice, BlockRecord]:
    lattice = lattice_of(
        grid_of(draw(st.integers(1, 30)), draw(st.integers(1, 30))),
        tile_px=draw(st.integers(4, 12)),
        halo_px=1,
    )
    tiles = [tile for tile in lattice.tiles_of_block(0, 0) if draw(st.booleans())]
    rows = []
    for tile in tiles:
        for query in range(draw(st.integers(1, 2))):
            labels = draw(st.none() | hnp.arrays(np.uint16, tile.read.shape, elements=st.integers(0, 65535)))
            rows.append(
                TileRecord(
                    tile=tile,
                    query_index=query,
                    status=draw(st.sampled_from(TileStatus)),
                    reason=draw(st.sampled_from(Reason)),
                    error=draw(st.text("abc :é", max_size=8)),
                    reply=draw(TEXT),
                    rationale=draw(TEXT),
                    prompts=tuple(draw(st.lists(prompts(), max_size=2))),
                    n_dropped=draw(st.integers(0, 2**31 - 1)),
                    truncated_reply=draw(st.booleans()),
                    n_calls=draw(st.integers(0, 9)),
                    valid_px=draw(st.integers(0, 2**40)),
                    labels=labels,
                    fragments=tuple(draw(st.lists(fragments(), max_size=3))),
                )
            )
    valid = {tile.tile_id: draw(hnp.arrays(np.bool_, tile.core.shape)) for tile in tiles}
    elapsed = draw(st.floats(0, 1e6))
    return lattice, BlockRecord(
        block_id="b00000_00000",
        fingerprint=FP,
        tiles=tuple(rows),
        valid=valid,
        n_embeddings=3,
        elapsed_s=elapsed,
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(records())
def test_any_record_survives(tmp_path: Path, made: tuple[TileLattice, BlockRecord]) -> None:
    lattice, record = made
    RunDir(tmp_path).block(record.block_id).delete()  # of the example before
    path = write_block_record(RunDir(tmp_path), record, lattice=lattice)
    assert_same_record(read_block_record(path, FP), record)
    summaries = read_summaries(path, FP).tiles
    assert summaries == tuple(replace(row, labels=None) for row in record.tiles)


def test_seam_strips_of_neighbours_cover_the_same_pixels(run_dir: RunDir) -> None:
    record = mixed_record(LATTICE)
    path = write_block_record(run_dir, record, lattice=LATTICE)
    for side in SIDES:
        blobs = read_columns(path, FP, columns=[f"seam_{side}"])[f"seam_{side}"].to_pylist()
        for row, blob in zip(record.tiles, blobs, strict=True):
            window = seam_window(LATTICE, row.tile, side)
            if row.labels is None or window is None:
                assert blob is None
            else:
                np.testing.assert_array_equal(
                    decode_labels(blob), row.labels[window.slices_in(row.tile.read)]
                )


def test_seams_are_two_halos_wide_symmetric_and_absent_at_the_border() -> None:
    left = LATTICE.tile(1, 1)
    right = LATTICE.tile(1, 2)
    seam = seam_window(LATTICE, left, "e")
    assert seam == seam_window(LATTICE, right, "w")
    assert seam == Window(row0=7, col0=17, row1=23, col1=23)  # by hand: core 10, halo 3, columns 20 +- 3
    assert seam_window(LATTICE, LATTICE.tile(0, 0), "n") is None
    assert seam_window(LATTICE, LATTICE.tile(3, 4), "e") is None


def test_label_and_validity_columns_read_alone(run_dir: RunDir) -> None:
    record = mixed_record(LATTICE)
    path = write_block_record(run_dir, record, lattice=LATTICE)
    labels = read_label_blobs(path, FP, query_index=1)
    assert sorted(labels) == [(0, 1), (1, 1)]
    np.testing.assert_array_equal(decode_labels(labels[1, 1]), record.tiles[7].labels)
    valid = read_valid_blobs(path, FP)
    assert {f"r{r:05d}c{c:05d}" for r, c in valid} == set(record.valid)
    np.testing.assert_array_equal(decode_bits(valid[0, 1]), record.valid["r00000c00001"])


def test_every_truncation_is_noticed(run_dir: RunDir) -> None:
    data = record_to_bytes(mixed_record(LATTICE), lattice=LATTICE)
    path = run_dir.block("b00000_00000")
    for n in sorted({*range(0, len(data), 37), 1, 3, 4, 8, 12, *range(len(data) - 12, len(data))}):
        path.write_bytes(data[:n])
        with pytest.raises(RecordError, match=r"b00000_00000\.parquet is damaged.*does this block again"):
            read_block_record(path, FP)
        found = done_blocks(run_dir, AlikeKeys(FP), ["b00000_00000"])
        assert not found.done
        assert list(found.unusable) == ["b00000_00000"]


def test_no_flipped_byte_is_read_and_none_counts_as_done(run_dir: RunDir) -> None:
    """Values, headers and footer: a record that is not what was written is an error for every reader."""
    path = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    tries = [*range(0, len(data) - footer, 53), *range(len(data) - footer, len(data), 11), len(data) - 1]
    readers = (
        lambda: read_block_record(path, FP),
        lambda: check_record(path, FP),
        lambda: read_summaries(path, FP),
        lambda: read_counts(path, FP),
        lambda: read_columns(path, FP, columns=["query_index"]),
        lambda: read_label_blobs(path, FP, query_index=0),
        lambda: read_valid_blobs(path, FP),
    )
    for n, position in enumerate(tries):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << n % 8]) + data[position + 1 :])
        with pytest.raises(RecordError, match=r"b00000_00000\.parquet is damaged"):
            readers[n % len(readers)]()
        assert list(done_blocks(run_dir, AlikeKeys(FP), ["b00000_00000"]).unusable) == ["b00000_00000"]
    path.write_bytes(data)
    assert list(done_blocks(run_dir, AlikeKeys(FP), ["b00000_00000"]).done) == ["b00000_00000"]


def test_another_record_of_the_same_inputs_is_not_the_one_that_is_pinned(run_dir: RunDir) -> None:
    path = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    seal = check_record(path, FP)
    readers: tuple[Callable[[str], object], ...] = (
        lambda seal: check_record(path, FP, seal),
        lambda seal: read_summaries(path, FP, seal),
        lambda seal: read_counts(path, FP, seal),
        lambda seal: read_columns(path, FP, seal, columns=["query_index"]),
        lambda seal: read_label_blobs(path, FP, seal, query_index=0),
        lambda seal: read_valid_blobs(path, FP, seal),
    )
    for read in readers:
        read(seal)
    again = replace(mixed_record(LATTICE), n_embeddings=5)
    write_block_record(run_dir, again, lattice=LATTICE, replaced=seal)
    for read in readers:
        read("")
        with pytest.raises(RecordError, match=r"b00000_00000\.parquet was replaced while it was"):
            read(seal)


def test_missing_foreign_renamed_and_other_version_files_are_named(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for read in (read_block_record, read_summaries, read_counts, check_record):
        with pytest.raises(MissingRecordError, match=r"b00007_00000\.parquet is missing"):
            read(run_dir.block("b00007_00000"), FP)
    path = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    with pytest.raises(RecordError, match="another run"):
        read_summaries(path, "0" * 64)
    renamed = run_dir.block("b00001_00000").write_bytes(path.read_bytes())
    path.delete()
    with pytest.raises(RecordError, match="block b00000_00000"):
        read_block_record(renamed, FP)
    monkeypatch.setattr(block_records, "RECORD_VERSION", b"0")
    old = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    monkeypatch.undo()
    with pytest.raises(RecordError, match="schema version 1, got 0"):
        read_block_record(old, FP)
    pq.write_table(pa.table({"a": [1]}), old)
    with pytest.raises(RecordError, match="holds no hash"):
        read_block_record(old, FP)


def test_a_check_gives_the_hash_in_the_file(run_dir: RunDir) -> None:
    path = write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE)
    first = check_record(path, FP)
    assert first == pq.read_metadata(path).metadata[b"terraquery:sha256"].decode()
    other = replace(mixed_record(LATTICE), n_embeddings=5)
    again = write_block_record(run_dir, other, lattice=LATTICE, replaced=first)
    assert check_record(again, FP) != first


def test_a_record_is_written_once_and_of_several_writers_the_first_wins(run_dir: RunDir) -> None:
    first = mixed_record(LATTICE)
    late = replace(first, n_embeddings=5)
    path = write_block_record(run_dir, first, lattice=LATTICE)
    assert write_block_record(run_dir, late, lattice=LATTICE) == path
    assert_same_record(read_block_record(path, FP), first)


def test_a_record_that_is_done_again_is_replaced_once(run_dir: RunDir) -> None:
    """Of two drivers that do it again the first wins; what it wrote is not what they set out to replace."""
    first = mixed_record(LATTICE)
    path = write_block_record(run_dir, first, lattice=LATTICE)
    old = check_record(path, FP)
    again = replace(first, n_embeddings=5)
    write_block_record(run_dir, again, lattice=LATTICE, replaced=old)
    assert_same_record(read_block_record(path, FP), again)
    write_block_record(run_dir, replace(first, n_embeddings=6), lattice=LATTICE, replaced=old)
    assert_same_record(read_block_record(path, FP), again)


@pytest.mark.parametrize("there", ["damaged", "foreign"])
def test_what_is_no_record_of_this_run_is_written_over(run_dir: RunDir, there: str) -> None:
    record = mixed_record(LATTICE)
    path = write_block_record(run_dir, mixed_record(LATTICE, fingerprint="0" * 64), lattice=LATTICE)
    if there == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    write_block_record(run_dir, record, lattice=LATTICE)
    assert_same_record(read_block_record(path, FP), record)


def test_only_standard_arrow_types_are_stored(run_dir: RunDir) -> None:
    schema = pq.read_schema(write_block_record(run_dir, mixed_record(LATTICE), lattice=LATTICE))
    assert not any(isinstance(field.type, pa.BaseExtensionType) for field in schema)
    assert not re.search("extension", str(schema))


def test_a_gate_and_a_verifier_add_their_columns_and_nobody_else_has_them(tmp_path: Path) -> None:
    plain = mixed_record(LATTICE)
    assert pq.read_schema(pa.BufferReader(record_to_bytes(plain, lattice=LATTICE))).names == SCHEMA.names
    gated = (
        replace(plain.tiles[0], gate_p=0.75, audited=True),
        replace(plain.tiles[1], gate_p=0.1),
        *plain.tiles[2:],
    )
    both = (replace(gated[0], verified=(0.9, None)), *gated[1:])
    for tiles, names in ((gated, ["gate_p", "audited"]), (both, ["gate_p", "audited", "verified"])):
        record = replace(plain, tiles=tiles)
        path = write_block_record(RunDir(tmp_path / names[-1]), record, lattice=LATTICE)
        assert pq.read_schema(path).names == [*SCHEMA.names, *names]
        assert_same_record(read_block_record(path, FP), record)
        for rows in (read_summaries(path, FP).tiles, read_counts(path, FP).tiles):
            assert [(row.gate_p, row.audited, row.verified) for row in rows] == [
                (t.gate_p, t.audited, t.verified) for t in tiles
            ]


def test_clouds_add_a_column_and_a_record_without_it_has_none(tmp_path: Path) -> None:
    plain = mixed_record(LATTICE)
    record = replace(plain, tiles=(replace(plain.tiles[0], cloud_px=7), *plain.tiles[1:]))
    path = write_block_record(RunDir(tmp_path), record, lattice=LATTICE)
    assert pq.read_schema(path).names == [*SCHEMA.names, "cloud_px"]
    assert_same_record(read_block_record(path, FP), record)
    for tiles in (read_summaries(path, FP).tiles, read_counts(path, FP).tiles):
        assert [row.cloud_px for row in tiles] == [7, *[0] * (len(tiles) - 1)]
    path = write_block_record(RunDir(tmp_path / "plain"), plain, lattice=LATTICE)
    assert {row.cloud_px for row in read_counts(path, FP).tiles} == {0}


def test_the_golden_record_is_still_readable() -> None:
    """It is of a version that also noted how long its block took."""
    path = GOLDEN / "blocks" / "b00000_00000.parquet"
    assert pq.read_metadata(path).metadata[b"terraquery:elapsed_s"] == b"1.25"
    assert_same_record(read_block_record(path, FP), mixed_record(LATTICE))
    assert read_summaries(path, FP).n_embeddings == read_counts(path, FP).n_embeddings == 4


def test_texts_that_utf8_or_prudence_forbid_are_made_storable(run_dir: RunDir) -> None:
    record = mixed_record(LATTICE)
    rows = (
        replace(record.tiles[0], reply="a\ud800b", error="403 https://h/a.tif?sig=SECRET"),
        *record.tiles[1:],
    )
    back = read_block_record(write_block_record(run_dir, replace(record, tiles=rows), lattice=LATTICE), FP)
    assert back.tiles[0].reply == "a?b"
    assert back.tiles[0].error == "403 https://h/a.tif"


@pytest.mark.parametrize("fault", ["twice", "labels", "validity", "no validity", "lattice"])
def test_a_record_that_contradicts_itself_is_not_written(run_dir: RunDir, fault: str) -> None:
    record = mixed_record(LATTICE)
    first = record.tiles[0]
    rest = record.tiles[1:]
    faulty = {
        "twice": replace(record, tiles=(first, *record.tiles)),
        "labels": replace(record, tiles=(replace(first, labels=np.zeros((3, 3), dtype=np.uint16)), *rest)),
        "validity": replace(
            record, valid={**record.valid, first.tile.tile_id: np.ones((2, 2), dtype=np.bool_)}
        ),
        "no validity": replace(record, valid={}),
        "lattice": replace(record, tiles=(replace(first, tile=replace(first.tile, tile_col=1)), *rest)),
    }[fault]
    with pytest.raises(ValueError, match="must"):
        write_block_record(run_dir, faulty, lattice=LATTICE)
    assert not run_dir.blocks.exists()


def test_counts_are_those_of_the_whole_record(tmp_path: Path) -> None:
    record = mixed_record(lattice_of())
    path = write_block_record(RunDir(tmp_path), record, lattice=lattice_of())
    counts = read_counts(path, record.fingerprint)
    assert (counts.block_id, counts.n_embeddings) == (record.block_id, record.n_embeddings)
    for got, row in zip(counts.tiles, record.tiles, strict=True):
        assert (got.n_prompts, got.n_fragments) == (len(row.prompts), len(row.fragments))
        for name in (
            "tile",
            "query_index",
            "status",
            "reason",
            "error",
            "n_dropped",
            "truncated_reply",
            "n_calls",
            "valid_px",
        ):
            assert getattr(got, name) == getattr(row, name), name
    assert any(got.n_fragments for got in counts.tiles)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordError, match="damaged"):
        read_counts(path, record.fingerprint)


def test_texts_of_models_are_stored_visible_without_secrets_and_not_without_end(run_dir: RunDir) -> None:
    hostile = "\x1b[2J\u202etoken=s3cr3tvalue " + "x" * 50_000
    rows = [found_tile(LATTICE, 0, 0), plain_tile(LATTICE, 0, 1, TileStatus.FAILED, Reason.MODEL_ERROR)]
    prompts = tuple(
        replace(p, label="\x9b2Jroof", feature_id="a\x00b", attributes='{"sig": "s3cr3tvalue"}')
        for p in rows[0].prompts
    )
    tiles = (
        replace(rows[0], reply=hostile, rationale=hostile, prompts=prompts),
        replace(rows[1], error=hostile),
    )
    valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_) for row in tiles}
    record = replace(mixed_record(LATTICE), tiles=tiles, valid=valid)
    path = write_block_record(run_dir, record, lattice=LATTICE)
    assert b"s3cr3tvalue" not in path.read_bytes()
    found, failed = read_block_record(path, FP).tiles
    assert found.rationale.startswith("token=*** xxx")
    assert len(found.rationale) == len(failed.error) == 2000
    assert len(found.reply) == 20_000
    assert found.reply.endswith("x…")
    assert [(p.label, p.feature_id, p.attributes) for p in found.prompts] == [
        ("roof", "ab", '{"sig": "***"}')
    ] * 2
