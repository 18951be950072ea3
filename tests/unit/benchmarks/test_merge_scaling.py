"""The scaling benchmark measures a merge, not its compilation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import merge_scaling


def test_a_small_town_is_merged_before_the_clock_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merged: list[tuple[Path, int, int]] = []
    written: list[Path] = []

    def merge(folder: Path, n: int, super_tile: int) -> dict[str, Any]:
        assert folder == tmp_path or folder in written
        merged.append((folder, n, super_tile))
        return {"instances": n}

    monkeypatch.setattr(merge_scaling, "merge", merge)
    monkeypatch.setattr(merge_scaling, "write_world", lambda folder, n: written.append(folder))
    monkeypatch.setattr(
        "sys.argv", ["merge_scaling.py", "--child", str(tmp_path), "--instances", "400", "--super-tile", "8"]
    )
    assert merge_scaling.main() == 0
    assert [n for _, n, _ in merged] == [merge_scaling.WARM_UP, 400]
    assert merged[1] == (tmp_path, 400, 8)
    assert not merged[0][0].exists()
    assert json.loads(capsys.readouterr().out) == {"instances": 400}


def test_the_small_town_has_seams_blocks_and_super_tiles_to_cross() -> None:
    lattice = merge_scaling.lattice_for(merge_scaling.WARM_UP)
    assert (lattice.n_tile_rows, lattice.n_tile_cols, lattice.n_block_rows, lattice.n_block_cols) == (
        5,
        5,
        2,
        2,
    )
