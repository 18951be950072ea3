"""A comparison with known mistakes: what is drawn, the page, and estimates against the truth."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import rasterio
from dated_runs import SIDE, DatedWorlds, make_dated_runs
from job_files import load_job

from pipeline.assess.change.change_estimates import CHANGE_ASSESSMENT
from pipeline.assess.change.plan_changes import ChangePlanRequest, comparison_of, plan_changes
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> DatedWorlds:
    return make_dated_runs(tmp_path_factory.mktemp("dated"))


def answer(review: Path, dated: DatedWorlds) -> Path:
    """Fill in the table as a person would who sees the truth."""
    rows = list(csv.DictReader((review / "sample.csv").open()))
    for row in rows:
        row["label"] = str(dated.truth[int(row["row0"]), int(row["col0"])])
    path = review / "filled.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_points_lie_in_their_strata_and_the_page_has_both_dates(dated: DatedWorlds, tmp_path: Path) -> None:
    planned = plan_changes(ChangePlanRequest(comparison=dated.changes, out=tmp_path, points=60))
    with rasterio.open(dated.changes / "changes.tif") as dataset:
        states = dataset.read(1)
    mapped = {"lost": 2, "gained": 3, "kept": 1}
    assert {unit.stratum.name for unit in planned.units} >= set(mapped)
    for unit in planned.units:
        state = states[unit.window.row0, unit.window.col0]
        assert state == mapped.get(unit.stratum.name, 0)
    assert len({(unit.window.row0, unit.window.col0) for unit in planned.units}) == 60
    assert sum(each.size for each in planned.design.strata[0]) == SIDE * SIDE
    page = planned.page.read_text()
    data = json.loads(page.partition('id="design">')[2].partition("</script>")[0])
    assert all(item["kind"] == "change" for item in data["items"])
    assert all(item["jpeg"] and item["later"] and item["cross"] for item in data["items"])
    assert any(item["jpeg"] != item["later"] for item in data["items"])
    again = plan_changes(ChangePlanRequest(comparison=dated.changes, out=tmp_path / "b", points=60))
    assert again.units == planned.units


def test_estimates_of_a_sample_hold_the_truth(
    dated: DatedWorlds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = load_job("assess").main
    words = ["plan", str(dated.changes), "--out", str(tmp_path), "--points", "900", "--quiet"]
    assert main(words) == 0
    assert "900 units drawn" in capsys.readouterr().out
    assert main(["estimate", str(tmp_path), "--labels", str(answer(tmp_path, dated))]) == 0
    said = capsys.readouterr().out
    assert "were judged at both dates" in said
    document = json.loads((dated.changes / CHANGE_ASSESSMENT).read_text())
    pixel_m2 = document["compared_m2"] / SIDE**2
    with rasterio.open(dated.changes / "changes.tif") as dataset:
        states = dataset.read(1)
    holds = []
    for name, truth, state in (("lost", "lost", 2), ("gained", "gained", 3), ("kept", "both", 1)):
        told = document["changes"][name]
        true_m2 = float((dated.truth == truth).sum()) * pixel_m2
        holds.append(told["area_m2"]["low"] <= true_m2 <= told["area_m2"]["high"])
        assert told["mapped_m2"] == pytest.approx(float((states == state).sum()) * pixel_m2, rel=1e-3)
        right = float(((states == state) & (dated.truth == truth)).sum())
        holds.append(told["precision"]["low"] <= right / (states == state).sum() <= told["precision"]["high"])
        holds.append(told["recall"]["low"] <= right / (dated.truth == truth).sum() <= told["recall"]["high"])
    assert sum(holds) >= 8, "nine intervals of 95 %: one may miss the truth"
    assert (
        sum(each["lost"] + each["gained"] + each["both"] + each["neither"] for each in document["strata"])
        == 900
    )


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--objects", "5"], "points alone"),
        (["--query", "roofs"], "points alone"),
        (["--points", "0"], "must be 1 to 5000"),
    ],
)
def test_options_of_runs_are_refused(
    dated: DatedWorlds, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert load_job("assess").main(["plan", str(dated.changes), "--out", str(tmp_path / "o"), *more]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_another_comparison_or_other_runs_are_refused(
    dated: DatedWorlds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review = tmp_path / "review"
    plan_changes(ChangePlanRequest(comparison=dated.changes, out=review, points=50))
    labels = answer(review, dated)
    other = Path(shutil.copytree(dated.changes, tmp_path / "other"))
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps(summary))  # the same words in other bytes
    words = ["estimate", str(review), "--labels", str(labels), "--run", str(other)]
    assert load_job("assess").main(words) == 2
    assert "another one in" in capsys.readouterr().err
    summary["after"]["fingerprint"] = "0" * 64
    (other / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=r"with the runs that it compared"):
        comparison_of(other)
    (other / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"must be a comparison(.|\n)*compare again"):
        comparison_of(other)


def test_every_stratum_needs_an_answer(
    dated: DatedWorlds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_changes(ChangePlanRequest(comparison=dated.changes, out=tmp_path, points=50))
    path = answer(tmp_path, dated)
    rows = list(csv.DictReader(path.open()))
    for row in rows:
        row["label"] = "unsure" if row["stratum"] == "gained" else row["label"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert load_job("assess").main(["estimate", str(tmp_path), "--labels", str(path)]) == 2
    assert "none in 'gained'" in capsys.readouterr().err
