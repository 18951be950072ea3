"""Both readers of the benchmark find the items that it lays out."""

from __future__ import annotations

from pathlib import Path

from benchmarks import catalogue


def test_both_readers_find_what_lies_in_the_box(tmp_path: Path) -> None:
    file = str(catalogue.write_catalogue(tmp_path / "items.parquet", 400))
    box = catalogue.aoi_box(4)
    assert catalogue.search_here(file, box) == 16
    assert catalogue.search_by_rustac(file, box) == 16
