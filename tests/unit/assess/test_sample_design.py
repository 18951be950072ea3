from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import rasterio
import shapely
from assessed_runs import AssessedRun

from pipeline.assess.draw_units import DrawnStratum, Wanted
from pipeline.assess.plan_run import PlanRequest, plan_assessment
from pipeline.assess.sample_design import (
    RULES,
    SCHEMA,
    SampleDesign,
    SampleUnit,
    read_design,
    write_design,
)
from pipeline.assess.sampling_frame import FrameOptions
from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid, Window

GOLDEN = Path(__file__).parents[2] / "golden" / "assess"
GRID = RunGrid(
    crs_wkt=rasterio.CRS.from_epsg(32633).to_wkt(),
    transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0),
    width=100,
    height=100,
)


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


def written_by_hand(folder: Path) -> None:
    """A design with one unit of each kind, on a grid of 0.5 m."""
    strata = (
        DrawnStratum(kind="object", name="score to 0.500", size=3, drawn=1),
        DrawnStratum(kind="cell", name="with objects", size=4, drawn=1),
        DrawnStratum(kind="point", name="on objects", size=50, drawn=1, area_m2=12.5),
    )
    design = SampleDesign(
        run="out/roofs",
        run_id="run-1",
        fingerprint="ff" * 32,
        snapshot="aa",
        queries=("roofs", "=été"),
        chosen=(1,),
        seed=3,
        wanted=Wanted(objects=1, cells=1, points=1),
        frame=FrameOptions(),
        strata={1: strata},
    )
    boxes = (shapely.box(2, 1, 5, 4), shapely.box(0, 0, 10, 10), shapely.Point(3.5, 2.5))
    windows = ((1, 2, 4, 5), (0, 0, 10, 10), (2, 3, 3, 4))
    units = [
        SampleUnit(
            unit_id=f"{design.design_id}-1{stratum.kind[0]}00000",
            kind=stratum.kind,
            query_index=1,
            stratum=stratum,
            review_order=0,
            window=Window(row0=row0, col0=col0, row1=row1, col1=col1),
            shape_px=shape,
            instance_id=13 if stratum.kind == "object" else None,
            score=0.25 if stratum.kind == "object" else None,
        )
        for stratum, shape, (row0, col0, row1, col1) in zip(strata, boxes, windows, strict=True)
    ]
    write_design(folder, design, units, GRID)


def test_the_files_are_those_of_the_golden_folder(tmp_path: Path) -> None:
    """After a wanted change: python -c "from test_sample_design import *; written_by_hand(GOLDEN)"."""
    written_by_hand(tmp_path)
    for name in ("design.json", "sample.csv"):
        given = (tmp_path / name).read_text()
        wanted = (GOLDEN / name).read_text()
        assert _without_hash(given) == _without_hash(wanted), name
    design, table = read_design(GOLDEN)  # an older file still reads
    assert design.chosen == (1,)
    assert table.equals(read_design(tmp_path)[1])


def _without_hash(text: str) -> list[str]:
    """Parquet's bytes name the version of the library that wrote them."""
    return [line for line in text.splitlines() if "sample_sha256" not in line]
