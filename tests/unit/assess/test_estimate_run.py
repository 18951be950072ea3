"""From answers to assessment.json, by a reviewer who knows the truth."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
from assessed_runs import AssessedRun
from job_files import load_job
from reviewed_worlds import true_answers

from pipeline.assess.draw_units import Wanted
from pipeline.assess.estimate_run import confidence_curves, estimate_assessment, read_assessment
from pipeline.assess.plan_run import PlanRequest, ended_run, plan_assessment
from pipeline.assess.sample_design import read_design
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def folder(assessed: AssessedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    wanted = Wanted(objects=30, cells=12, points=60)
    plan_assessment(PlanRequest(run=str(assessed.run), out=out, wanted=wanted))
    return out


@pytest.fixture
def answers(assessed: AssessedRun, folder: Path) -> dict[str, Any]:
    return true_answers(folder, {0: assessed.truth})


def saved(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_intervals_hold_what_is_known_of_the_run(
    assessed: AssessedRun, folder: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    document = estimate_assessment(folder, saved(tmp_path / "labels.json", answers))
    (query,) = document["queries"]
    truth = assessed.truth
    known = {
        "precision": truth.precision,
        "recall": truth.recall,
        "count": truth.n_true,
        "area_m2": (truth.true > 0).sum() * 0.25 / 0.9996**2,
    }
    for name, value in known.items():
        assert query[name]["low"] <= value <= query[name]["high"], name
    assert query["published"] == truth.n_published
    assert query["assumed"] == []
    assert query["not_estimated"] == []
    written = json.loads((assessed.run / "assessment.json").read_text())
    assert written == document
    run_dir, info = ended_run(str(assessed.run))
    assert read_assessment(run_dir, info).document == document


def test_exports_carry_the_confidence_that_was_learnt(
    assessed: AssessedRun, folder: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    run_dir, info = ended_run(str(assessed.run))
    estimate_assessment(folder, saved(tmp_path / "labels.json", answers))
    assert list(confidence_curves(run_dir, info)) == [0]
    assert (
        load_job("export_results").main([str(assessed.run), "--gpkg", "--quiet", "--out", str(tmp_path)]) == 0
    )
    table = gpd.read_file(tmp_path / "results.gpkg", layer="instances").set_index("instance_id")
    told = pd.read_parquet(assessed.run / "confidence.parquet").set_index("instance_id")
    assert len(table) == len(told)
    assert table["confidence"].to_dict() == pytest.approx(told["confidence"].to_dict(), abs=1e-6)
    assert confidence_curves(run_dir, replace(info, snapshot="another")) == {}


def test_a_census_has_the_figures_of_the_truth(assessed: AssessedRun, tmp_path: Path) -> None:
    wanted = Wanted(objects=1000, cells=1000, points=0)
    plan_assessment(PlanRequest(run=str(assessed.run), out=tmp_path, wanted=wanted))
    labels = saved(tmp_path / "labels.json", true_answers(tmp_path, {0: assessed.truth}))
    (query,) = estimate_assessment(tmp_path, labels)["queries"]
    truth = assessed.truth
    for name, value in (("precision", truth.precision), ("recall", truth.recall), ("count", truth.n_true)):
        assert query[name] == {end: pytest.approx(value, rel=1e-5) for end in ("value", "low", "high")}
    assert query["area_m2"] is None
    assert query["not_estimated"] == ["no area: no points were drawn"]


def test_an_early_stop_is_a_smaller_sample_and_skips_are_an_assumption(
    assessed: AssessedRun, folder: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    _, table = read_design(folder)
    points = [row["unit_id"] for row in table.to_pylist() if row["kind"] == "point"]
    for unit in points[50:]:
        del answers["labels"][unit]
    (query,) = estimate_assessment(folder, saved(tmp_path / "a.json", answers))["queries"]
    assert query["n_unanswered"] == len(points) - 50
    assert "still a random sample" in query["assumed"][0]
    del answers["labels"][points[3]]
    answers["labels"][points[4]] = {"label": "unsure"}
    (query,) = estimate_assessment(folder, saved(tmp_path / "b.json", answers))["queries"]
    assert "nothing shows it" in query["assumed"][0]
    assert query["unsure"]["as_no"]["covered"]["value"] <= query["unsure"]["as_yes"]["covered"]["value"]


def test_answers_that_support_nothing_are_refused(
    folder: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    first = next(iter(answers["labels"].items()))
    with pytest.raises(InputError, match="in every stratum"):
        estimate_assessment(folder, saved(tmp_path / "labels.json", {**answers, "labels": dict([first])}))


def test_another_result_is_refused_and_its_assessment_does_not_count(
    assessed: AssessedRun, folder: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    labels = saved(tmp_path / "labels.json", answers)
    copy = tmp_path / "run"
    shutil.copytree(assessed.run, copy, symlinks=True)
    estimate_assessment(folder, labels, run=str(copy))  # the same result at another place
    document = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**document, "fingerprint": "00" * 32}))
    with pytest.raises(InputError, match="another run"):
        estimate_assessment(folder, labels, run=str(copy))
    run_dir, info = ended_run(str(copy))
    kept = read_assessment(run_dir, info)
    assert kept.document is None
    assert "earlier result" in kept.why_not
    (copy / "assessment.json").write_text("[")
    assert "cannot be read" in read_assessment(run_dir, info).why_not
    (copy / "assessment.json").unlink()
    assert read_assessment(run_dir, info).why_not == ""
    with pytest.raises(InputError, match="--run RUN"):
        estimate_assessment(folder, labels, run=str(tmp_path / "nowhere"))
