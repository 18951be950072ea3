"""Rows as features: kept columns, plain types, and outlines by rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from record_world import golden_run, grid_of

from pipeline.write.export import feature_rows
from pipeline.write.export.feature_rows import FeatureSource, InstanceFeatures, InstanceRules, as_they_are
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    golden_run(tmp_path / "run")
    return RunDir(tmp_path / "run")


def rows_of(run_dir: RunDir, query: int) -> pa.Table:
    rows = pq.read_table(run_dir.instances / "part-00000.parquet")
    return rows.filter(pa.array(np.asarray(rows["query_index"]) == query))


@pytest.mark.parametrize("batch_rows", [2, 4096])
def test_features_have_plain_types_whatever_the_batches(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(feature_rows, "BATCH_ROWS", batch_rows)
    told: list[int] = []
    source = FeatureSource(part_files(run_dir), (1,), as_they_are, told.append)
    table = source.features().read_all()
    stored = rows_of(run_dir, 1)
    assert table["instance_id"].to_pylist() == stored["instance_id"].to_pylist()
    assert table.schema.field("instance_id").type == pa.int64()
    assert "bbox" not in table.schema.names
    assert [json.loads(text) for text in table["tile_ids"].to_pylist()] == stored["tile_ids"].to_pylist()
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    assert {shape.geom_type for shape in shapes} == {"MultiPolygon"}
    assert all(shapely.equals(shapes, shapely.from_wkb(stored["geometry"].to_numpy())))
    assert told[-1] == source.n_read == pq.read_metadata(run_dir.instances / "part-00000.parquet").num_rows


def test_an_object_in_several_rows_keeps_its_outline(run_dir: RunDir) -> None:
    """An outline stands for a whole object; of one that is split into rows each keeps its own part."""

    class Boxes:
        """Gives a box for every object."""

        def outlines(self, query_index: int, ids: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            return np.array([shapely.box(0, 0, 1, 1)] * len(ids), dtype=object)

    (batch,) = rows_of(run_dir, 0).to_batches()[:1]
    parts = np.ones(batch.num_rows, dtype=np.int32)
    parts[0] = 2
    at = batch.schema.get_field_index("n_parts")
    batch = batch.set_column(at, "n_parts", pa.array(parts))
    rules = InstanceRules(outlines=Boxes())  # type: ignore[arg-type]
    made = InstanceFeatures(grid_of(), rules).objects(batch)
    areas = shapely.area(shapely.from_wkb(np.asarray(made["geometry"].to_pylist(), dtype=object)))
    own = shapely.area(shapely.from_wkb(np.asarray(batch["geometry"].to_pylist(), dtype=object)))
    assert areas[0] == own[0] != 0.25
    assert areas[1:].tolist() == pytest.approx([0.25] * (batch.num_rows - 1))


def test_a_curve_gives_each_score_its_confidence(run_dir: RunDir) -> None:
    """The second query has no curve, so its objects have none."""
    rules = InstanceRules(confidence={0: lambda scores: scores / 2})
    for query in (0, 1):
        (batch,) = rows_of(run_dir, query).to_batches()[:1]
        told = InstanceFeatures(grid_of(), rules).objects(batch)["confidence"].to_pylist()
        halves = [score / 2 for score in batch["score"].to_pylist()]
        assert told == (pytest.approx(halves) if query == 0 else [None] * len(halves))
    assert "confidence" not in InstanceFeatures(grid_of(), InstanceRules()).objects(batch).schema.names
