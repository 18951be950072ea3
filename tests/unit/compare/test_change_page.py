"""What the page says first, and that nothing in it comes from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.compare.change_page import COLOURS, change_page, not_compared
from pipeline.compare.match import CHANGES


def summary(**changes: Any) -> dict[str, Any]:
    px = {f"{name}_px": count for name, count in (("nothing", 70), ("kept", 10), ("lost", 5), ("gained", 3))}
    m2 = {name.replace("_px", "_m2"): count / 4 for name, count in px.items()}
    km2 = {"common_km2": 25e-6, "compared_km2": 22e-6}
    whole: dict[str, Any] = {
        "query": "<b>ships</b>",
        "before": {
            "run_id": "a" * 20,
            "dates": ("2026-05-01T00:00:00Z", "2026-05-01T09:00:00Z"),
            "objects": 2,
        },
        "after": {"run_id": "b" * 20, "dates": None, "objects": 1},
        "rules": {"most_shift_px": 2.0},
        "one_area": True,
        "ground": {"common_px": 100, "compared_px": 88, **px, **m2, **km2},
        "registration": {"squares": 4, "registered": 2, "off": 1, "not known": 1},
        "changes": {name: {"objects": 0, "before_m2": None, "after_m2": None} for name in CHANGES},
        "reasons": {"registration": 1},
    }
    return whole | changes


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    path = tmp_path / "c.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 8, "width": 5, "nodata": 255}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.array([[0, 1, 2, 3, 255]] * 8, dtype=np.uint8), 1)
    return path


def test_what_was_not_compared_comes_first() -> None:
    first, second, third = not_compared(summary())
    assert first == "2.2e-05 of 2.5e-05 km2 that both runs cover were judged at both dates."
    assert second.startswith(
        "Registration: 2 of 4 squares fit, 1 are shifted by more than 2 pixels, 1 have too few"
    )
    assert third == "Objects that are not comparable: 1 registration."
    pixels = summary()
    pixels["ground"] |= {"common_km2": None, "compared_km2": None}
    assert not_compared(pixels | {"reasons": {}})[0] == "88 of 100 pixels were judged at both dates."
    assert len(not_compared(pixels | {"reasons": {}})) == 2


def test_the_page_is_whole_and_its_texts_are_escaped(raster: Path) -> None:
    page = change_page(summary(), raster)
    assert "&lt;b&gt;ships&lt;/b&gt;" in page
    assert "<b>ships" not in page
    assert page.index("What could not be compared") < page.index("What became of the objects")
    assert "before: 2026-05-01 (run aaaaaaaaaaaa, 2 objects); after: no date" in page
    assert "data:image/webp;base64," in page
    assert 'src="http' not in page
    for red, green, blue, _ in list(COLOURS.values())[:4]:
        assert f"rgb({red}, {green}, {blue})" in page


def test_without_ground_it_counts_pixels(raster: Path) -> None:
    whole = summary()
    whole["ground"] |= {"common_km2": None, "compared_km2": None}
    assert "<th>pixels</th>" in change_page(whole, raster)
