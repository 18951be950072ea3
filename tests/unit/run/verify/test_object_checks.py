"""Damage to the rows of instances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from damaged_runs import edit_json, edit_table, findings_of

Rows = list[dict[str, Any]]


def moved(row: dict[str, Any]) -> None:
    shape = shapely.transform(shapely.from_wkb(row["geometry"]), lambda xy: xy + 0.4)
    edges = zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True)
    row.update(geometry=shapely.to_wkb(shape), bbox=dict(edges))


def crossed(row: dict[str, Any]) -> None:
    x0, y0, x1, y1 = shapely.from_wkb(row["geometry"]).bounds
    row.update(geometry=shapely.to_wkb(shapely.Polygon([(x0, y0), (x1, y1), (x1, y0), (x0, y1)])))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.append(rows[3]), "2 rows have this id and part"),
        (lambda rows: rows.pop(3), "counters.instances: run.json counts"),
        (lambda rows: moved(rows[3]), "its vertices are not on pixel edges of the run grid"),
        (lambda rows: crossed(rows[3]), "no sound polygon: Self-intersection"),
        (lambda rows: rows[3].update(area_px=rows[3]["area_px"] + 1), "area_px says"),
        (lambda rows: rows[3].update(area_m2=rows[3]["area_m2"] * 1.01), "area_m2 says"),
        (lambda rows: rows[3].update(area_m2=None), "area_m2 says nan"),
        (lambda rows: rows[3]["bbox"].update(xmin=0.0), "its column bbox is not the box"),
        (lambda rows: rows[3].update(tile_ids=["r00009c00009"], n_tiles=1), "has no finding in the ledger"),
        (lambda rows: rows[3].update(n_tiles=9), "n_tiles is 9"),
        (lambda rows: rows[3].update(query="something else"), "not 'something else'"),
        (lambda rows: rows[3].update(run_id="other"), "run_id other is not"),
        (lambda rows: rows[3].update(scene_ids=["other"]), "scenes ['other'] are not in run.json"),
        (lambda rows: rows[3].update(score=1.5), "score 1.5 is not between 0 and 1"),
        (lambda rows: rows[3].update(n_parts=2), "1 of 2 parts are there"),
        (lambda rows: rows[3].update(instance_id=0), "its id is not 1 + the number of a pixel"),
        (lambda rows: rows[3].update(instance_id=10**7), "its id is not 1 + the number of a pixel"),
    ],
)
def test_a_wrong_row(run: Path, change: Callable[[Rows], None], told: str) -> None:
    edit_table(run / "instances" / "part-00000.parquet", change)
    found = findings_of(run)["objects"]
    assert any(told in text for text in found), found


def test_an_id_of_another_tile(run: Path) -> None:
    def swap(rows: Rows) -> None:
        row = next(row for row in rows if row["n_tiles"] == 1)
        far = "r00000c00000" if row["tile_ids"] != ["r00000c00000"] else "r00004c00003"
        row.update(instance_id=1 if far == "r00000c00000" else 200 * 190)

    edit_table(run / "instances" / "part-00000.parquet", swap)
    assert any("which is not in tile_ids" in text for text in findings_of(run)["objects"])


def test_a_run_without_rows(run: Path) -> None:
    (run / "instances" / "part-00000.parquet").unlink()
    assert any("no rows, and run.json counts" in text for text in findings_of(run)["objects"])
    edit_json(run / "run.json", lambda d: d["counters"].update(instances=0))
    assert "objects" not in findings_of(run)


def test_rows_that_cannot_be_read(run: Path) -> None:
    (run / "instances" / "part-00000.parquet").write_bytes(b"PAR1")
    assert findings_of(run)["objects"][0].startswith("instances: they cannot be read")
