"""Damage to run.json, the plan, and files that the catalogue item pins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from damaged_runs import edit_json, edit_table, findings_of

from pipeline.run.verify.file_checks import differing_columns, sha256_of

Rows = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(status="running"), "status: the run has not ended"),
        (lambda d: d["parameters"].update(min_area_m2=5.0), "fingerprint: it is not that of the parameters"),
        (lambda d: d.update(run_id="0" * 16), "run_id: 0000000000000000 is not the beginning"),
        (lambda d: d["outputs"].update(masks=None), "masks: it is not there"),
        (
            lambda d: d["outputs"].update(coverage="other.parquet"),
            "coverage: other.parquet is named and missing",
        ),
    ],
)
def test_a_wrong_run_json(run: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    edit_json(run / "run.json", change)
    assert any(text.startswith(told) for text in findings_of(run)["run.json"])


def test_an_unfinished_file_beside_a_finished_run(run: Path) -> None:
    (run / "coverage.parquet.abc.tmp").write_bytes(b"x")
    assert findings_of(run) == {
        "run.json": ["coverage.parquet.abc.tmp: 1 unfinished files in a run that has ended"]
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.pop(), "must hold one row per tile"),
        (lambda rows: rows[3].update(read_col1=rows[3]["read_col1"] + 1), "column read_col1: 1 rows differ"),
        (lambda rows: rows[3].update(scene_ids=["x"]), "column scene_ids: x is no scene of run.json"),
        (lambda rows: rows.reverse(), "column tile_id: 20 rows differ"),
    ],
)
def test_a_wrong_plan(run: Path, change: Callable[[Rows], None], told: str) -> None:
    edit_table(run / "plan.parquet", change)
    assert any(told in text for text in findings_of(run)["plan"])


def test_a_missing_plan(run: Path) -> None:
    (run / "plan.parquet").unlink()
    found = findings_of(run)
    assert "must be the readable plan of a run" in found["plan"][0]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: (run / "report.html").write_text("another page"), "report: report.html has 12 bytes"),
        (lambda run: flip(run / "report.html"), "report: report.html has another content"),
        (lambda run: (run / "item.json").write_text("{"), "item.json: it is no readable STAC item"),
        (lambda run: edit_json(run / "item.json", lambda d: d.update(type="Thing")), "type: Thing"),
    ],
)
def test_files_that_the_item_pins(run: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(run)
    found = findings_of(run)
    assert list(found) == ["item"]
    assert found["item"][0].startswith(told)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_hash_by_hand(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty")[:16] == "e3b0c44298fc1c14"


def test_columns_that_differ_by_hand() -> None:
    wanted = pa.table({"a": [1, 2], "b": pa.array([None, float("nan")], pa.float64())})
    assert differing_columns(wanted, wanted.append_column("more", pa.array([1, 1]))) == []
    other = pa.table({"a": [1, 3], "b": pa.array([None, 0.5], pa.float64())})
    assert differing_columns(wanted, other) == [
        ("a", "1 rows differ; row 1 says 3 instead of 2"),
        ("b", "1 rows differ; row 1 says 0.5 instead of nan"),
    ]
    assert differing_columns(wanted, other.slice(0, 1)) == [("tile_id", "1 rows instead of 2")]
    assert differing_columns(wanted, other.drop(["b"]))[-1] == ("b", "it is missing")
    narrow = other.set_column(0, "a", pa.array([1, 2], pa.int32()))
    assert differing_columns(wanted, narrow)[0] == ("a", "int32 instead of int64")
