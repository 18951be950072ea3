"""Records survive the file, the file knows its evaluation, and old files stay readable.

The golden parts, without and with a verifier, were written by
`PYTHONPATH=tests/unit python tests/unit/evaluate/benchmark/test_sample_records.py`; run that
again only together with a new RECORDS_VERSION.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluate.sample_worlds import SHAPE, record, rectangle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import RecordError
from pipeline.evaluate.benchmark.sample_records import (
    SCHEMA,
    VERIFIER_COLUMNS,
    SampleRecord,
    counts_of,
    outlines_of,
    pack_mask,
    read_part,
    unpack_mask,
    write_part,
)
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus

GOLDEN = Path(__file__).parents[3] / "golden" / "evaluate" / "part.parquet"
GOLDEN_VERIFIED = GOLDEN.with_name("part_verified.parquet")
MARK = "0123456789abcdef" * 4


def some_records() -> list[SampleRecord]:
    prompts = (
        Prompt(box_xyxy=None, points_xy=((1.25, 2.0), (3.0, 4.0)), point_labels=(1, 0), label="Größe"),
        Prompt(box_xyxy=(0.0, 0.0, 5.5, 6.0)),
    )
    return [
        record("hit", rectangle(3, 4, 10, 12), rectangle(4, 4, 10, 13)),
        record(
            "no",
            rectangle(0, 0, 0, 0),
            rectangle(0, 0, 0, 0),
            reply="<answer>[]</answer>",
            rationale="none",
            n_calls=1,
        ),
        record(
            "bad",
            rectangle(0, 0, 4, 4),
            rectangle(0, 0, 0, 0),
            status=TileStatus.FAILED,
            reason=Reason.MALFORMED,
            error="no JSON",
            n_dropped=3,
            truncated_reply=True,
            strata={"kind": "implicit", "class": "lake"},
        ),
        record(
            "blind", rectangle(0, 0, 4, 4), rectangle(0, 0, 0, 0), prompts=prompts, mask_scores=(0.5, 0.25)
        ),
    ]


def verified_records() -> list[SampleRecord]:
    """One that kept a mask of three prompts, one that kept none, one that was not judged, and one that had
    none.
    """
    prompts = tuple(Prompt(box_xyxy=(float(k), 0.0, 5.5, 6.0)) for k in range(3))
    nothing = rectangle(0, 0, 0, 0)
    rejected = {
        "status": TileStatus.EMPTY,
        "reason": Reason.VERIFIER,
        "n_rejected": 2,
        "verified": (0.125, 0.25),
        "prompts": prompts[:2],
    }
    return [
        record(
            "some",
            rectangle(3, 4, 10, 12),
            rectangle(4, 4, 10, 13),
            prompts=prompts,
            verified=(0.25, None, 0.75),
            n_rejected=1,
        ),
        record("all", rectangle(0, 0, 4, 4), nothing, **rejected),
        record("unsure", rectangle(0, 0, 4, 4), rectangle(0, 0, 4, 4), verified=(None,)),
        record("no", nothing, nothing),
    ]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write_part(tmp_path / "deep" / "p.parquet", some_records(), MARK)
    assert read_part(tmp_path / "deep" / "p.parquet", MARK) == some_records()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.parquet"]


def test_what_a_verifier_said_comes_back_in_columns_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    for written, names in ((verified_records(), ["verified", "n_rejected"]), (some_records(), [])):
        write_part(path, written, MARK)
        assert read_part(path, MARK) == written
        assert pq.read_schema(path).names == [*SCHEMA.names, *names]
    rows = pq.read_table(GOLDEN_VERIFIED).to_pylist()
    assert [row["n_rejected"] for row in rows] == [1, 2, 0, 0]
    assert [row["verified"] for row in rows] == [[0.25, None, 0.75], [0.125, 0.25], [None], []]
    assert [item.n_drawn for item in verified_records()] == [2, 2, 1, 0]


def test_the_golden_part_reads_as_what_it_was_written_from() -> None:
    assert read_part(GOLDEN, MARK) == some_records()
    assert pq.read_schema(GOLDEN).equals(SCHEMA)
    assert read_part(GOLDEN_VERIFIED, MARK) == verified_records()
    assert list(pq.read_schema(GOLDEN_VERIFIED)) == [*SCHEMA, *VERIFIER_COLUMNS]


def test_an_explicit_empty_list_is_an_abstention_and_so_is_the_verifiers_no_to_every_mask() -> None:
    assert [item.abstained for item in some_records()] == [False, True, False, False]
    assert [item.abstained for item in verified_records()] == [False, True, False, True]
    assert [item.failed for item in some_records()] == [False, False, True, False]


def test_a_foreign_or_damaged_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_part(path, some_records(), MARK)
    with pytest.raises(RecordError, match="another evaluation"):
        read_part(path, "f" * 64)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="readable part"):
        read_part(path, MARK)
    pq.write_table(SCHEMA.empty_table(), path)
    with pytest.raises(RecordError, match="another version"):
        read_part(path, MARK)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_masks_survive_the_picture(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


def test_an_empty_mask_costs_nothing() -> None:
    assert pack_mask(np.zeros(SHAPE, bool)) == b""


def test_counts_and_outlines_are_the_records_columns() -> None:
    counts = counts_of(some_records())
    outlines = outlines_of(some_records())
    assert counts.true_px.tolist() == [56, 0, 16, 16]
    assert counts.predicted_px.tolist() == [54, 0, 0, 0]
    assert counts.common_px.tolist() == [48, 0, 0, 0]
    assert set(counts.total_px.tolist()) == {SHAPE[0] * SHAPE[1]}
    assert counts.abstained.tolist() == [False, True, False, False]
    assert counts.failed.tolist() == [False, False, True, False]
    assert outlines["true_px"].tolist() == [
        26,
        0,
        7,
        7,
    ]  # 2 * (7 + 8) - 4; in the corner two sides of four less one pixel
    assert outlines["predicted_px"].tolist() == [26, 0, 0, 0]


if __name__ == "__main__":
    write_part(GOLDEN, some_records(), MARK)
    write_part(GOLDEN_VERIFIED, verified_records(), MARK)
