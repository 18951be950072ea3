"""The whole command on a small world: our own method, no merge at all, and a peer that cannot be had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.seams import run, world
from benchmarks.seams.methods import METHODS, Method
from benchmarks.seams.views import crossing, lattice_over

SIDE = 900
TILE = 256
HALO = 32


def test_the_command_writes_what_it_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {name: world.KINDS[name] for name in ("row house", "medium", "small")}
    monkeypatch.setattr(
        world, "KINDS", {name: (count * 2, outlines) for name, (count, outlines) in kinds.items()}
    )
    monkeypatch.setattr(run, "LEVELS", {"oracle": None})
    gone = Method(
        name="gone",
        rule="nothing",
        adapter="cores_alone",
        requires=(str(tmp_path / "gone-1.0-py3-none-any.whl"),),
    )
    ours, alone = (replace(method, pictured=False) for method in METHODS[:2])
    monkeypatch.setattr(run, "METHODS", (ours, alone, gone))
    sizes = ["--side", str(SIDE), "--tile", str(TILE), "--halo", str(HALO), "--seed", "2"]
    assert (
        run.main([*sizes, "--quick", "--out", str(tmp_path / "out"), "--build", str(tmp_path / "build")]) == 0
    )
    truth = world.seam_world(SIDE, 2)
    over_seams = int(crossing(truth, lattice_over(truth, TILE, HALO)).sum())
    assert over_seams > 3
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    merged, cut, missing = data["methods"]
    whole = {
        "outputs": truth.n,
        "splits": 0,
        "false_merges": 0,
        "missed": 0,
        "duplicates": 0,
        "quality": 1.0,
        "exact": 1.0,
    }
    assert merged["scores"]["oracle"].items() >= whole.items()
    assert cut["scores"]["oracle"]["splits"] == over_seams, (
        "without a merge exactly the objects over a seam are split"
    )
    assert "could not be installed" in missing["failure"]
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert table in capsys.readouterr().out
    assert "| gone | could not be installed" in table


def test_our_own_failure_is_the_command_s_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "KINDS", {"small": world.KINDS["small"]})
    monkeypatch.setattr(run, "LEVELS", {"oracle": None})
    monkeypatch.setattr(run, "METHODS", (replace(METHODS[1], settings={"no": "such"}),))
    sizes = ["--side", "300", "--tile", "128", "--halo", "16", "--quick"]
    assert run.main([*sizes, "--out", str(tmp_path / "out"), "--build", str(tmp_path)]) == 1
    assert "ended with 1" in (tmp_path / "out" / "comparison.md").read_text()
