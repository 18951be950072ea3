"""A comparison from run directories to files, and one that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from record_world import golden_run

from pipeline.compare import compare as module
from pipeline.compare.compare import FILES, CompareRequest, compare
from pipeline.compare.match import MatchRules
from pipeline.compare.run_pair import pair_of
from pipeline.errors import InputError


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    golden_run(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return str(tmp_path / "a"), str(tmp_path / "b")


def request_for(runs: tuple[str, str], out: Path, **changes: Any) -> CompareRequest:
    return CompareRequest(pair=pair_of(*runs, "roofs"), out=out, **changes)


@pytest.mark.parametrize("square_px", [16, 2048])
def test_a_run_is_what_it_was(
    runs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, square_px: int
) -> None:
    """Compared with itself nothing changed. Objects in the row that nobody judged count as judged there."""
    monkeypatch.setattr(module, "SQUARE_PX", square_px)
    told: list[float] = []
    summary = compare(request_for(runs, tmp_path / "c"), progress=lambda _, share: told.append(share))
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(FILES)
    rows = gpd.read_parquet(tmp_path / "c/changes.parquet")
    instances = gpd.read_parquet(Path(runs[0]) / "instances")
    own = instances[instances["query_index"] == 0]
    assert sorted(rows["after_id"]) == sorted(own["instance_id"])
    assert set(rows["change"]) == {"unchanged"}
    assert (rows["iou"] == 1.0).all()
    assert summary["changes"]["unchanged"]["objects"] == len(own)
    assert summary["ground"]["kept_px"] == own["area_px"].sum()
    assert summary["ground"]["lost_px"] == summary["ground"]["gained_px"] == 0
    assert json.loads((tmp_path / "c/summary.json").read_text())["changes"] == summary["changes"]
    assert told == sorted(told)


def test_a_failed_comparison_leaves_nothing(
    runs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(runs, tmp_path / "c")
    (tmp_path / "b/masks.zarr/zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"masks\.zarr must be readable"):
        compare(request, progress=lambda *_: None)
    assert list((tmp_path / "c").iterdir()) == []
    monkeypatch.setattr(module, "_pixel_m", lambda _: float("nan"))
    shutil.copytree(tmp_path / "a", tmp_path / "d")
    request = request_for((runs[0], str(tmp_path / "d")), tmp_path / "c", rules=MatchRules(most_way_m=9.0))
    with pytest.raises(InputError, match="no known ground"):
        compare(request, progress=lambda *_: None)
    assert list((tmp_path / "c").iterdir()) == []
