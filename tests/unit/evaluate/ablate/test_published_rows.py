"""The papers' rows: where the texts of the papers are at hand, every number is found in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.evaluate.ablate.ablation_axes import AXES
from pipeline.evaluate.ablate.published_rows import PUBLISHED, PublishedRow

PAPERS = Path(__file__).parents[5] / "shared" / "reference" / "papers"
FILES = {"Think2Seg-RS": "think2seg-rs.txt", "GeoSeg": "geoseg.txt"}
ROWS = list({id(row): row for rows in PUBLISHED.values() for row in rows}.values())


def test_every_axis_has_rows_with_a_table_and_the_data() -> None:
    assert set(PUBLISHED) == set(AXES)
    for row in ROWS:
        assert row.figures
        assert row.data
        assert row.source.partition(", table ")[0] in FILES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.source}: {row.name}")
def test_the_numbers_of_a_row_stand_in_one_line_of_the_papers_table(row: PublishedRow) -> None:
    name, _, number = row.source.partition(", table ")
    path = PAPERS / FILES[name]
    if not path.is_file():
        pytest.skip("the papers' texts are not here")
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"Table {number}:"))
    wanted = [f"{value:.2f}" if name == "Think2Seg-RS" else f"{value:.1f}" for value in row.figures.values()]
    assert any(all(value in line for value in wanted) for line in lines[start : start + 14])
