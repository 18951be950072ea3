"""Counts, sentences and files of a run beside a layer."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from record_world import golden_run

from pipeline.errors import InputError
from pipeline.evaluate.figures.intervals import wilson
from pipeline.evaluate.figures.metrics import Ratio
from pipeline.evaluate.finished_run.layer_report import FILES, LayerRequest, layer_lines, write_layer_report
from pipeline.write.run_json import read_run_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    golden_run(tmp_path / "run")
    return tmp_path / "run"


def request_for(run: Path, layer: gpd.GeoDataFrame, *, by: bool = False) -> LayerRequest:
    path = run.parent / "layer.gpkg"
    layer.to_file(path)

    def halves(points: np.ndarray) -> list[str]:  # type: ignore[type-arg]
        return ["west" if point.x < 450010 else "" for point in points]

    return LayerRequest(
        run=str(run), layer=path, query="roofs", out=run.parent / "beside", district_of=halves if by else None
    )


def own(run: Path) -> gpd.GeoDataFrame:
    rows = gpd.read_parquet(run / "instances")
    return rows[rows["query_index"] == 0][["geometry"]]


def test_a_run_beside_itself_matches_where_it_can_be_told(run: Path) -> None:
    info = read_run_json(run / "run.json")
    layer = own(run)
    summary = write_layer_report(request_for(run, layer), info)
    count = summary["all"]
    assert count["run_matched"] == count["matched"] == count["run_objects"] == len(layer)
    assert count["missed_by"] == count["extra_by"] == count["not_judged_by"] == {}
    hits = Ratio(numerator=np.ones(len(layer)), denominator=np.ones(len(layer)))
    assert count["found_share"] == [1.0, *wilson(hits, 0.95)]
    assert len(layer) > 3
    assert json.loads((run.parent / "beside/layer.json").read_text()) == summary
    assert sorted(path.name for path in (run.parent / "beside").iterdir()) == sorted(FILES)


def test_what_differs_is_counted_by_reason_and_district(run: Path) -> None:
    """Two objects are gone from the layer, and one stands where no tile was planned."""
    info = read_run_json(run / "run.json")
    layer = own(run).iloc[2:]
    far = gpd.GeoDataFrame(geometry=gpd.points_from_xy([450023.0], [35981.5]).buffer(0.4), crs=layer.crs)
    both = gpd.GeoDataFrame(geometry=[*layer.geometry, *far.geometry], crs=layer.crs)
    summary = write_layer_report(request_for(run, both, by=True), info)
    count = summary["all"]
    assert count["layer_objects"] == len(layer) + 1
    assert count["run_objects"] - count["run_matched"] == 2
    assert sum(count["extra_by"].values()) == 2
    assert count["not_judged_by"] == {"not looked at": 1}
    rows = gpd.read_parquet(run.parent / "beside/objects.parquet")
    assert rows.crs == layer.crs
    assert (rows["side"] == "run").sum() == count["run_objects"]
    for name, part in summary["districts"].items():
        inside = rows["district"].isna() if name == "outside all districts" else rows["district"] == name
        assert ((rows["side"] == "layer") & inside).sum() == part["layer_objects"]
    assert sum(part["matched"] for part in summary["districts"].values()) == count["matched"]
    matched = rows[(rows["side"] == "layer") & (rows["status"] == "matched")]
    partners = rows[(rows["side"] == "run") & (rows["status"] == "matched")]
    assert set(matched["instance_id"]) == set(partners["instance_id"])
    first, *rest = layer_lines(summary)
    assert first == f"1 of {len(layer) + 1} objects of the layer were not judged (1 not looked at)."
    assert rest[-1].startswith("The layer is not the truth")
    page = (run.parent / "beside/layer.html").read_text()
    assert page.index("<svg") < page.index("Why both differ")
    assert "outside all districts" in page


def test_an_object_at_the_border_is_compared_by_its_part_inside(run: Path) -> None:
    """Every object of the layer goes on for kilometres to the west, where the run has no pixels."""
    info = read_run_json(run / "run.json")
    layer = own(run)
    tails = [
        shape.union(shapely.box(449000, shape.bounds[1], 450000, shape.bounds[3])) for shape in layer.geometry
    ]
    summary = write_layer_report(request_for(run, layer.set_geometry(tails)), info)
    assert summary["all"]["matched"] == len(layer)
    rows = gpd.read_parquet(run.parent / "beside/objects.parquet")
    assert (rows[rows["side"] == "layer"].geometry.area > 900).all(), "outlines are written as they are"


def test_a_layer_elsewhere_is_refused_and_nothing_is_written(run: Path) -> None:
    info = read_run_json(run / "run.json")
    layer = own(run)
    layer = layer.set_geometry(layer.geometry.translate(1e5))
    with pytest.raises(InputError, match="must lie in the run's region"):
        write_layer_report(request_for(run, layer), info)
    assert not (run.parent / "beside").exists()
