from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from assessed_runs import AssessedRun

from pipeline.assess.draw_units import Wanted
from pipeline.assess.plan_run import PlanRequest, plan_assessment
from pipeline.assess.sample_design import RULES, SCHEMA, read_design
from pipeline.errors import InputError


@pytest.fixture
def folder(assessed: AssessedRun, tmp_path: Path) -> Path:
    wanted = Wanted(objects=10, cells=8, points=9)
    plan_assessment(PlanRequest(run=str(assessed.run), out=tmp_path, wanted=wanted, seed=2))
    return tmp_path


def test_a_design_reads_back_as_it_was(assessed: AssessedRun, folder: Path) -> None:
    design, table = read_design(folder)
    run = json.loads((assessed.run / "run.json").read_text())
    document = json.loads((folder / "design.json").read_text())
    assert (design.fingerprint, design.snapshot) == (run["fingerprint"], run["snapshot"])
    assert (design.seed, design.wanted.cells, design.queries) == (2, 8, ("roofs",))
    assert document["rules"] == RULES
    assert document["design_id"] == design.design_id
    assert table.num_rows == sum(stratum.drawn for stratum in design.strata[0])
    assert all(name.startswith(f"{design.design_id}-0") for name in table["unit_id"].to_pylist())


def test_the_csv_has_the_same_units_and_room_for_answers(folder: Path) -> None:
    _, table = read_design(folder)
    rows = list(csv.DictReader((folder / "sample.csv").open()))
    assert list(rows[0]) == [*SCHEMA.names, "label", "n_missed"]
    assert [row["unit_id"] for row in rows] == table["unit_id"].to_pylist()
    assert {row["label"] for row in rows} == {""}


def test_units_that_somebody_picked_are_refused(folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(folder / "sample.parquet").slice(3), folder / "sample.parquet")
    with pytest.raises(InputError, match="no probability sample"):
        read_design(folder)


def test_a_design_that_was_changed_is_refused(folder: Path) -> None:
    document = json.loads((folder / "design.json").read_text())
    (folder / "design.json").write_text(json.dumps({**document, "seed": 9}))
    with pytest.raises(InputError, match="no probability sample"):
        read_design(folder)
    for text, says in (("{}", "design of a sample"), ('{"design_version": 9}', "design_version 1")):
        (folder / "design.json").write_text(text)
        with pytest.raises(InputError, match=says):
            read_design(folder)
    with pytest.raises(InputError, match=r"needs design\.json"):
        read_design(folder / "nowhere")
