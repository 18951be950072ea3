"""The README's cost table is the one that the script computes, and the script computes what a hand does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import stack_costs as costs

pytestmark = pytest.mark.ops

FOLDER = Path(__file__).parents[2] / "infra/terraform"
TABLE: dict[str, Any] = {
    "date": "2025-06",
    "source": "a made-up list",
    "spot_share": 0.5,
    "hours_per_month": 730,
    "nights_per_month": 10,
    "prices": {"node": {"usd": 2.0, "what": ""}, "disk": {"usd": 0.1, "what": ""}},
    "idle": [
        {"what": "node", "price": "node", "count": 1, "each": "month"},
        {"what": "disk", "price": "disk", "count": 2, "each": 50},
    ],
    "night": [{"what": "spot nodes", "price": "node", "count": 3, "each": 4, "spot": True}],
}


def test_the_readme_shows_what_the_script_computes() -> None:
    page = (FOLDER / "README.md").read_text()
    assert costs.with_costs(page, costs.rendered(costs.read_prices())) == page, "run stack_costs.py"


def test_sums_are_those_of_a_hand() -> None:
    """730 x 2 + 2 x 50 x 0.1 = 1,470 a month; 3 x 4 x 2 x 0.5 = 12 a night; 1,470 + 10 x 12 = 1,590."""
    assert costs.total_usd(costs.bill(TABLE, "idle")) == pytest.approx(1470)
    assert costs.total_usd(costs.bill(TABLE, "night")) == pytest.approx(12)
    text = costs.rendered(TABLE)
    assert re.findall(r"\*\*([\d.]+)\*\*", text) == ["1470.00", "12.00", "1590.00"]
    assert "Prices of 2025-06: a made-up list." in text


def test_a_price_that_is_missing_is_named() -> None:
    table = TABLE | {"idle": [{"what": "tape", "price": "tape", "count": 1, "each": 1}]}
    with pytest.raises(KeyError, match="tape"):
        costs.bill(table, "idle")


def test_every_price_has_its_words_and_a_date() -> None:
    table = costs.read_prices()
    assert re.fullmatch(r"\d{4}-\d{2}", table["date"])
    assert all(price["usd"] > 0 and price["what"] for price in table["prices"].values())
