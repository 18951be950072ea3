"""Computes what the environment costs, idle and busy, and writes the table of this folder's README.

    python infra/terraform/stack_costs.py            # writes it
    python infra/terraform/stack_costs.py --check    # exit code 1 when it is not current

Prices and amounts are in prices.toml, with their date. A line of a stack is count x each x price; a spot
node costs an assumed share of the on-demand price.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
BEGIN = "<!-- costs: written by infra/terraform/stack_costs.py -->\n"
END = "<!-- end of costs -->"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a bill, in US dollars."""

    what: str
    amount: str
    """Count and amount of each, in words."""
    usd: float


def bill(table: dict[str, Any], stack: str) -> list[Line]:
    """Give the lines of one stack of prices.toml: `idle` for a month, `night` for one night.

    Raises KeyError, with the name, for a price that the table does not have.
    """
    return [_line(table, use) for use in table[stack]]


def total_usd(lines: list[Line]) -> float:
    """Add up a bill."""
    return sum(line.usd for line in lines)


def _line(table: dict[str, Any], use: dict[str, Any]) -> Line:
    each = table["hours_per_month"] if use["each"] == "month" else use["each"]
    price = table["prices"][use["price"]]
    share = table["spot_share"] if use.get("spot") else 1
    return Line(
        what=use["what"],
        amount=f"{use['count']} x {each:g} x ${price['usd']:g}" + (f" x {share:g}" if share != 1 else ""),
        usd=use["count"] * each * price["usd"] * share,
    )


def rendered(table: dict[str, Any]) -> str:
    """Give the README's block: both bills, their sums, and what kind of prices these are."""
    idle = bill(table, "idle")
    night = bill(table, "night")
    nights = table["nights_per_month"]
    busy = total_usd(idle) + nights * total_usd(night)
    rows = [
        "| what | amount | US dollars |",
        "| --- | --- | ---: |",
        *_rows(idle),
        f"| **idle, a month** | | **{total_usd(idle):.2f}** |",
        *_rows(night),
        f"| **a night** | | **{total_usd(night):.2f}** |",
        f"| **a month with {nights} nights** | | **{busy:.2f}** |",
    ]
    origin = f"Prices of {table['date']}: {table['source']}."
    return f"{BEGIN}{chr(10).join(rows)}\n\n{origin}\n{END}"


def _rows(lines: list[Line]) -> list[str]:
    return [f"| {line.what} | {line.amount} | {line.usd:.2f} |" for line in lines]


def with_costs(page: str, block: str) -> str:
    """Give the page with `block` in place of the one it holds. Raises ValueError for a page without marks."""
    start = page.find(BEGIN)
    stop = page.find(END)
    if start < 0 or stop < start:
        raise ValueError("the README must hold the two marks of the cost table")
    return page[:start] + block + page[stop + len(END) :]


def read_prices(path: Path = HERE / "prices.toml") -> dict[str, Any]:
    """Read the table of prices and amounts."""
    return tomllib.loads(path.read_text())


def main(argv: list[str] | None = None) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the table is old"
    )
    args = parser.parse_args(argv)
    page = PAGE.read_text()
    new = with_costs(page, rendered(read_prices()))
    if args.check:
        if new != page:
            print("the README shows old costs: run `python infra/terraform/stack_costs.py`", file=sys.stderr)
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
