"""What was drawn, in words: strata with their sizes, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.assess.plan_run import Planned
from pipeline.files.public_text import public_line

_S_PER_UNIT = 4
"""Seconds that a person takes for a unit, about."""


def plan_text(planned: Planned) -> str:
    """Tell the sample: a table of strata per query, the page, and the next command."""
    design = planned.design
    lines = []
    for index in design.chosen:
        lines.append(f'"{public_line(design.queries[index])}"')
        rows = [("kind", "stratum", "units", "drawn")]
        rows += [(s.kind, s.name, f"{s.size:,}", f"{s.drawn:,}") for s in design.strata[index]]
        lines += [f"  {line}" for line in columns(rows)]
    n = len(planned.units)
    minutes = max(1, round(n * _S_PER_UNIT / 60))
    squares = f" squares of {design.frame.cell_px} px at most;" if design.wanted.cells else ""
    lines.append(
        f"{n} units drawn with seed {design.seed}, sample {design.design_id};{squares} about {minutes} "
        "minutes of review."
    )
    if planned.n_unread:
        lines.append(
            f"note: the imagery of {planned.n_unread} units could not be read; the page says so, and their "
            "answer is unsure"
        )
    lines.append(f"Open {planned.page} in a browser, or fill in sample.csv beside it. Then:")
    lines.append(f"  python jobs/assess.py estimate {planned.page.parent} --labels FILE")
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of a table: text to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = [all(_is_number(row[i]) for row in rows[1:]) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ("", "-")
