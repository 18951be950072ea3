from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import zarr
from assessed_runs import AssessedRun
from job_files import load_job
from label_worlds import write_label_world

from pipeline.assess.answer_run import answer_run
from pipeline.assess.answer_text import answer_text
from pipeline.assess.draw_units import Wanted
from pipeline.assess.plan_run import PlanRequest, plan_assessment
from pipeline.errors import InputError

WANTED = Wanted(objects=20, cells=12, points=20)


def plan(assessed: AssessedRun, out: Path, **given: object) -> PlanRequest:
    return PlanRequest(**{"run": str(assessed.run), "out": out, "wanted": WANTED, **given})  # type: ignore[arg-type]


def test_the_same_seed_draws_the_same_sample_and_another_one_another(
    assessed: AssessedRun, tmp_path: Path
) -> None:
    first = plan_assessment(plan(assessed, tmp_path / "a"))
    again = plan_assessment(plan(assessed, tmp_path / "b"))
    other = plan_assessment(plan(assessed, tmp_path / "c", seed=1))
    for name in ("design.json", "sample.parquet", "sample.csv", "review.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first.design.design_id == again.design.design_id != other.design.design_id
    assert first.n_unread == 0


def test_units_lie_where_the_table_says(assessed: AssessedRun, tmp_path: Path) -> None:
    plan_assessment(plan(assessed, tmp_path))
    table = gpd.read_parquet(tmp_path / "sample.parquet")
    group = zarr.open_group(str(assessed.run / "masks.zarr"), mode="r")
    ids = np.asarray(group["instance_id"][0])
    for unit in table[table["kind"] == "object"].itertuples():
        window = ids[unit.row0 : unit.row1, unit.col0 : unit.col1]
        assert (window == unit.instance_id).sum() * 0.25 == pytest.approx(unit.geometry.area)
    for unit in table[table["kind"] == "point"].itertuples():
        assert (ids[unit.row0, unit.col0] > 0) == (unit.stratum == "on objects")
        assert (unit.geometry.x - 500000) * 2 == unit.col0 + 0.5
    assert table.crs == "EPSG:32633"
    weights = table.groupby(["kind", "stratum"])["weight"].sum().round(6)
    sizes = table.groupby(["kind", "stratum"])["stratum_size"].first()
    assert (weights == sizes).all()
    assert 14.99 < table["lon"].iloc[0] < 15.01


def test_imagery_that_is_gone_is_told(assessed: AssessedRun, tmp_path: Path) -> None:
    hidden = assessed.scene.rename(assessed.scene.with_suffix(".away"))
    try:
        planned = plan_assessment(plan(assessed, tmp_path))
    finally:
        hidden.rename(assessed.scene)
    assert planned.n_unread == len(planned.units)
    assert "problem" in (tmp_path / "review.html").read_text()


def test_a_run_that_found_nothing_is_assessed_by_its_ground(tmp_path: Path) -> None:
    answers = write_label_world(tmp_path / "answers", np.zeros((100, 100), dtype=np.int64))
    words = ["--source", str(answers.scene), "--whole-scene", "--query", "roofs", "--runner", "local"]
    words += ["--models", f"oracle:{answers.labels}", "--out", str(tmp_path / "run"), "--tile", "64"]
    assert load_job("segment_region").main([*words, "--halo", "7"]) == 0
    planned = plan_assessment(PlanRequest(run=str(tmp_path / "run"), out=tmp_path / "sample", wanted=WANTED))
    assert {unit.kind for unit in planned.units} == {"cell", "point"}
    answer = answer_run(str(tmp_path / "run"))
    assert answer.rows[0].objects == 0
    assert "0 objects were found" in answer_text(answer)


def test_a_design_is_not_replaced_unasked(assessed: AssessedRun, tmp_path: Path) -> None:
    plan_assessment(plan(assessed, tmp_path))
    before = (tmp_path / "design.json").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        plan_assessment(plan(assessed, tmp_path, seed=4))
    assert (tmp_path / "design.json").read_bytes() == before
    plan_assessment(plan(assessed, tmp_path, seed=4, overwrite=True))
    assert json.loads((tmp_path / "design.json").read_text())["seed"] == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"queries": ("pools",)}, "'roofs'"),
        ({"run": "nowhere"}, "without a run.json"),
        ({"wanted": Wanted(objects=0, cells=0, points=0)}, "ground or objects"),
        ({"wanted": Wanted(points=6000)}, "at most 5000"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(
    assessed: AssessedRun, tmp_path: Path, given: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        plan_assessment(plan(assessed, tmp_path / "out", **given))
    assert not (tmp_path / "out").exists()
