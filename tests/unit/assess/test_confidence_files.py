from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
from assessed_runs import AssessedRun

from pipeline.assess.confidence import ConfidenceCurve, confidence_entry
from pipeline.assess.confidence_files import curve_of, reliability_svg, write_confidence
from pipeline.assess.plan_run import ended_run


def test_every_object_has_a_confidence_beside_its_score(assessed: AssessedRun) -> None:
    run_dir, info = ended_run(str(assessed.run))
    curve = ConfidenceCurve(slope=2.0, intercept=-0.5, n=40)
    path = write_confidence(run_dir, info, {0: curve})
    table = pq.read_table(str(path))
    objects = gpd.read_parquet(assessed.run / "instances")
    joined = objects.merge(table.to_pandas(), on=["query_index", "instance_id"], suffixes=("", "_told"))
    assert len(joined) == len(objects) == table.num_rows
    np.testing.assert_allclose(joined["score"], joined["score_told"])
    np.testing.assert_allclose(
        joined["confidence"], 1 / (1 + np.exp(-(2 * joined["score"] - 0.5))), rtol=1e-6
    )
    run = json.loads((assessed.run / "run.json").read_text())
    assert table.schema.metadata[b"snapshot"].decode() == run["snapshot"]
    assert table.schema.metadata[b"fingerprint"].decode() == run["fingerprint"]


def test_queries_without_a_curve_have_no_rows(assessed: AssessedRun) -> None:
    run_dir, info = ended_run(str(assessed.run))
    curve = ConfidenceCurve(slope=2.0, intercept=-0.5, n=40)
    assert pq.read_table(str(write_confidence(run_dir, info, {7: curve}))).num_rows == 0


def test_the_drawing_has_a_panel_per_curve_and_stays_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(60)
    entry = confidence_entry(scores, rng.random(60) < scores, np.ones(60))
    assert entry is not None
    assert curve_of(entry).n == 60
    queries = [{"query": "<b>roofs", "confidence": entry}, {"query": "pools", "confidence": None}]
    root = ET.fromstring(reliability_svg(queries))
    space = "{http://www.w3.org/2000/svg}"
    (panel,) = root.findall(f"{space}g")
    assert len(panel.findall(f"{space}circle")) == 5
    assert "<b>roofs" in [text.text for text in panel.findall(f"{space}text")]
