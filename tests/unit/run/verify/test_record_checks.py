"""Damage to block records and to the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damaged_runs import edit_json, edit_table, findings_of

Rows = list[dict[str, Any]]


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x40
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda blocks: (blocks / "b00001_00000.parquet").unlink(), "b00001_00000: the block is planned"),
        (lambda blocks: change_byte(blocks / "b00000_00001.parquet"), "b00000_00001: "),
        (
            lambda blocks: (blocks / "b00000_00000.parquet").write_bytes(
                (blocks / "b00000_00000.parquet").read_bytes()[:-50]
            ),
            "b00000_00000: ",
        ),
        (
            lambda blocks: shutil.copy(blocks / "b00000_00000.parquet", blocks / "b00001_00001.parquet"),
            "b00001_00001: ",
        ),
        (
            lambda blocks: shutil.copy(blocks / "b00000_00000.parquet", blocks / "b00007_00000.parquet"),
            "b00007_00000: the record is of a block that is not planned",
        ),
    ],
)
def test_records_that_are_not_the_planned_ones(
    run: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(run / "blocks")
    found = findings_of(run)
    assert list(found) == ["records"]
    assert [text.startswith(told) for text in found["records"]] == [True]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.pop(7), "column tile_id: 39 rows instead of 40"),
        (lambda rows: rows.append(rows[0]), "column tile_id: 41 rows instead of 40"),
        (lambda rows: rows[2].update(status="empty", reason="prompter"), "column status: 1 rows differ"),
        (lambda rows: rows[2].update(searched_km2=0.0), "column searched_km2: 1 rows differ"),
        (lambda rows: rows[2].update(n_calls=rows[2]["n_calls"] + 1), "column n_calls: 1 rows differ"),
    ],
)
def test_a_wrong_ledger(run: Path, change: Callable[[Rows], None], told: str) -> None:
    edit_table(run / "coverage.parquet", change)
    assert any(text.startswith(told) for text in findings_of(run)["ledger"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda d: d["counters"].update(tiles_failed=1),
            "counters.tiles_failed: run.json says 1",
        ),
        (lambda d: d["reasons"].update({"failed/timeout": 1}), "reasons: run.json says"),
        (lambda d: d["searched"].update(planned_km2=1.0), "searched.planned_km2: run.json says 1.0"),
        (lambda d: d["searched"].update(searched_px=[5]), "searched.searched_px: run.json says [5]"),
    ],
)
def test_counts_that_the_ledger_does_not_bear_out(
    run: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    edit_json(run / "run.json", change)
    assert any(text.startswith(told) for text in findings_of(run)["ledger"])


def test_a_tile_that_the_plan_leaves_out_and_a_record_that_has_it(run: Path) -> None:
    edit_table(run / "plan.parquet", lambda rows: rows[0].update(inside=False))
    found = findings_of(run)
    assert any("other tiles or scenes" in text for text in found["records"])
