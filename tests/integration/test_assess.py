"""From a finished run to an interval through the jobs, and the review page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from assessed_runs import AssessedRun, make_assessed_run
from browsers import chromium
from job_files import load_job
from reviewed_worlds import true_answers
from s3_server import BUCKET, serving_s3

from pipeline.assess.draw_units import DrawnStratum, Wanted
from pipeline.assess.review_chips import chip_of
from pipeline.assess.review_labels import read_answers
from pipeline.assess.review_page import ReviewItem, review_page
from pipeline.assess.sample_design import SampleDesign, SampleUnit
from pipeline.assess.sampling_frame import FrameOptions
from pipeline.files.store.store_path import store_path
from pipeline.schema.tiling import Window

main = load_job("assess").main


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> AssessedRun:
    return make_assessed_run(tmp_path_factory.mktemp("assessed"), seed=8)


@pytest.fixture(scope="module")
def review(assessed: AssessedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    words = ["plan", str(assessed.run), "--out", str(folder), "--quiet"]
    assert main([*words, "--objects", "12", "--cells", "10", "--points", "12"]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def test_a_csv_that_was_filled_in_gives_intervals(
    assessed: AssessedRun, review: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = true_answers(review, {0: assessed.truth})["labels"]
    header, *rows = (review / "sample.csv").read_text().splitlines()
    filled = [header]
    for row in rows:
        answer = labels[row.split(",")[0]]
        filled.append(f"{row[:-1].rsplit(',', 1)[0]},{answer['label']},{answer.get('n_missed', '')}")
    (tmp_path / "filled.csv").write_text("\n".join(filled))
    words = ["estimate", str(review), "--labels", str(tmp_path / "filled.csv")]
    assert main([*words, "--json"]) == 0
    (query,) = json.loads(capsys.readouterr().out)["queries"]
    for name, value in (("precision", assessed.truth.precision), ("recall", assessed.truth.recall)):
        assert query[name]["low"] <= value <= query[name]["high"]
    assert main(words) == 0
    assert "recall (objects)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plan", "RUN", "--out", "OUT", "--objects", "-1"], "--objects must be 0 or more"),
        (["plan", "RUN", "--out", "OUT", "--cell-px", "2"], "--cell-px must be 16 to 4096"),
        (["plan", "OUT", "--out", "OUT"], "without a run.json"),
        (["estimate", "OUT", "--labels", "x.json"], "needs design.json"),
        (["estimate", "REVIEW", "--labels", "OUT"], "--labels"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    assessed: AssessedRun,
    review: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    places = {"RUN": str(assessed.run), "OUT": str(tmp_path), "REVIEW": str(review)}
    assert main([places.get(word, word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_the_page_is_answered_by_keys_in_a_browser(
    assessed: AssessedRun, review: Path, browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open, answer every unit by its key, reload on the way, save, and estimate."""
    page = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto((review / "review.html").as_uri())
    answers = true_answers(review, {0: assessed.truth})["labels"]
    shown = json.loads(page.locator("#design").text_content())["items"]
    assert {item["id"] for item in shown} == set(answers)
    half = len(shown) // 2
    for place, item in enumerate(shown):
        if place == half:
            page.reload()  # what was answered stays in the browser
            assert page.locator("#done").text_content() == f"{half} of {len(shown)} answered"
        assert page.locator("figure img").count() == (1 if item["kind"] == "point" else 2)
        press(page, item["kind"], answers[item["id"]], slip=item is not shown[-1])
    assert page.locator("#end").is_visible()
    page.locator("#reviewer").fill("Ada")
    page.locator("#reviewer").blur()
    with page.expect_download() as download:
        page.keyboard.press("s")
    download.value.save_as(tmp_path / "labels.json")
    saved = json.loads((tmp_path / "labels.json").read_text())
    assert saved["reviewer"] == "Ada"
    assert saved["labels"] == answers
    assert main(["estimate", str(review), "--labels", str(tmp_path / "labels.json")]) == 0
    assert "precision (objects)" in capsys.readouterr().out
    assert wrong == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert [url for url in asked if url.startswith("file")] == [(review / "review.html").as_uri()] * 2


def test_points_of_two_dates_are_answered_by_keys(browser: Any, tmp_path: Path) -> None:
    """Both dates are shown, and every key saves its answer."""
    stratum = DrawnStratum(kind="change", name="lost", size=9, drawn=5)
    design = SampleDesign(
        run="changes",
        run_id="may to june",
        fingerprint="f",
        snapshot="",
        queries=("roofs",),
        chosen=(0,),
        seed=0,
        wanted=Wanted(objects=0, cells=0, points=5),
        frame=FrameOptions(),
        strata={0: (stratum,)},
    )
    keys = {"n": "neither", "1": "lost", "2": "gained", "3": "both", "u": "unsure"}
    units = [
        SampleUnit(
            unit_id=f"d-{number}",
            kind="change",
            query_index=0,
            stratum=stratum,
            review_order=number,
            window=Window(row0=9, col0=number, row1=10, col1=number + 1),
            shape_px=shapely.Point(number + 0.5, 9.5),
        )
        for number in range(len(keys))
    ]
    grey = np.full((32, 32, 3), 90, np.uint8)
    around = Window(row0=0, col0=0, row1=32, col1=32)
    chips = [chip_of(unit, around, (), lambda _: grey) for unit in units]
    items = [
        ReviewItem(unit=unit, chip=replace(chip, later=chip.jpeg))
        for unit, chip in zip(units, chips, strict=True)
    ]
    path = tmp_path / "review.html"
    path.write_text(review_page(design, items))
    page = browser.new_page()
    page.goto(path.as_uri())
    for key in keys:
        assert page.locator("figure img").count() == 2
        assert page.locator("figure path.cross").count() == 2
        page.keyboard.press("y")  # says nothing here
        page.keyboard.press(key)
    with page.expect_download() as download:
        page.keyboard.press("s")
    download.value.save_as(tmp_path / "labels.json")
    saved = json.loads((tmp_path / "labels.json").read_text())["labels"]
    assert [saved[unit.unit_id]["label"] for unit in units] == list(keys.values())
    kinds = {unit.unit_id: "change" for unit in units}
    given = read_answers(tmp_path / "labels.json", kinds, design_id=design.design_id)
    assert [given.answers[unit.unit_id].label for unit in units] == list(keys.values())


def press(page: Any, kind: str, answer: dict[str, Any], *, slip: bool) -> None:
    """The keys of one answer; `slip`: after another one and back."""
    if kind == "cell" and answer["n_missed"]:
        for _ in range(answer["n_missed"]):
            page.keyboard.press("m")
        page.keyboard.press("Enter")
        return
    if slip:
        page.keyboard.press("u")
        page.keyboard.press("b")
    page.keyboard.press("y" if answer["label"] == "yes" else "n")


def test_a_saved_file_is_loaded_and_that_of_another_sample_is_not(
    review: Path, browser: Any, tmp_path: Path
) -> None:
    context = browser.new_context()  # an empty memory
    page = context.new_page()
    page.goto((review / "review.html").as_uri())
    assert page.locator("#done").text_content().startswith("0 of")
    document = json.loads(page.locator("#design").text_content())
    first = document["items"][0]["id"]
    (tmp_path / "other.json").write_text(json.dumps({"design_id": "x", "labels": {first: {"label": "yes"}}}))
    page.locator("#load").set_input_files(tmp_path / "other.json")
    page.locator("#kept").filter(has_text="another sample").wait_for()  # the page allows no evaluated code
    given = {
        "design_id": document["design_id"],
        "labels": {first: {"label": "yes"}, "foreign": {"label": "no"}},
    }
    (tmp_path / "own.json").write_text(json.dumps(given))
    page.locator("#load").set_input_files(tmp_path / "own.json")
    page.locator("#kept").filter(has_text="1 answers taken").wait_for()
    assert page.locator("#said").text_content() == "yes"
    context.close()


def test_the_answer_takes_its_interval_from_the_review(
    assessed: AssessedRun, review: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = load_job("answer").main
    (assessed.run / "assessment.json").unlink(missing_ok=True)
    assert answer([str(assessed.run)]) == 0
    assert "there is no interval" in capsys.readouterr().out
    (tmp_path / "labels.json").write_text(json.dumps(true_answers(review, {0: assessed.truth})))
    assert main(["estimate", str(review), "--labels", str(tmp_path / "labels.json")]) == 0
    capsys.readouterr()
    assert answer([str(assessed.run), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["answers"]
    count = row["assessed"]["count"]
    assert count["low"] <= assessed.truth.n_true <= count["high"]
    assert row["objects"] == assessed.truth.n_published
    assert answer([str(assessed.run), "--csv"]) == 0
    assert capsys.readouterr().out.startswith("query,district,objects")
    assert answer([str(assessed.run), "--by-name", "x"]) == 2
    assert "add --by FILE" in capsys.readouterr().err


def test_the_page_of_a_reviewed_run_has_its_figures_and_the_run_stays(
    assessed: AssessedRun, review: Path, browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(true_answers(review, {0: assessed.truth})))
    (assessed.run / "assessment.json").unlink(missing_ok=True)
    before = (assessed.run / "report.html").read_bytes()
    page = tmp_path / "page.html"
    answer = load_job("answer").main
    assert answer([str(assessed.run), "--report", str(page)]) == 0
    assert "Nobody has reviewed a sample of this run." in page.read_text()
    assert main(["estimate", str(review), "--labels", str(tmp_path / "labels.json")]) == 0
    assert answer([str(assessed.run), "--report", str(page)]) == 0
    assert (assessed.run / "report.html").read_bytes() == before
    shown = browser.new_page()
    wrong: list[str] = []
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("console", lambda message: wrong.append(message.text))
    shown.goto(page.as_uri())
    n = assessed.truth.n_published
    assert shown.locator("#map-count").text_content() == f"{n} of {n} objects shown"
    assert "precision (objects)" in shown.locator("#assessment").text_content()
    assert "publishing" in shown.locator("#cost").text_content()
    assert wrong == []
    shown.close()
    capsys.readouterr()
    assert answer([str(assessed.run), "--report", str(assessed.run / "report.html")]) == 2
    assert "must not lie in the run" in capsys.readouterr().err


def test_a_run_in_a_bucket_is_assessed_and_answered(
    assessed: AssessedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_s3():
        run = f"s3://{BUCKET}/roofs"
        words = ["--source", str(assessed.scene), "--whole-scene", "--query", "roofs", "--runner", "local"]
        words += ["--models", f"oracle:{assessed.scene.parents[1] / 'answers' / 'labels.tif'}"]
        words += ["--out", run, "--tile", "80", "--halo", "8", "--block", "2"]
        assert load_job("segment_region").main(words) == 0
        words = ["plan", run, "--out", str(tmp_path), "--quiet", "--objects", "30", "--cells", "5"]
        assert main([*words, "--points", "0"]) == 0
        (tmp_path / "labels.json").write_text(json.dumps(true_answers(tmp_path, {0: assessed.truth})))
        assert main(["estimate", str(tmp_path), "--labels", str(tmp_path / "labels.json")]) == 0
        capsys.readouterr()
        assert load_job("answer").main([run]) == 0
        assert "95 % interval" in capsys.readouterr().out
        assert load_job("answer").main([run, "--report", str(tmp_path / "page.html")]) == 0
        assert 'id="reliability"' in (tmp_path / "page.html").read_text()
        names = {entry.name for entry in store_path(run).entries()}
        assert {"assessment.json", "confidence.parquet"} <= names
