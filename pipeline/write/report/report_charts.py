"""Histograms as inline SVG, stacked by query, without script or font.

`count_bins` counts objects in bins that are the same for every run, so counts of batches add up. A picture of
areas shows only the decades that have objects (`area_axis`, `bins_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.write.report.report_html import Html, joined, tag
from pipeline.write.report.report_images import query_colour

_WIDTH = 460.0
_HEIGHT = 190.0
_LEFT = 46.0
_RIGHT = 10.0
_TOP = 12.0
_BOTTOM = 40.0


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The horizontal axis of a histogram."""

    title: str
    edges: NDArray[np.float64]
    """(n + 1,) ascending bin edges, in the unit of the values."""
    ticks: Sequence[tuple[float, str]]
    """Ticks as (value, text)."""
    log: bool = False


SCORE_EDGES: NDArray[np.float64] = np.linspace(0.0, 1.0, 21)
"""Scores 0..1 in twenty bins."""

_DECADES = (-12, 20)
"""Powers of ten between which areas are told apart, in any unit. They reach from a square micrometre in m2 to
more pixels than an int64 counts."""

AREA_EDGES: NDArray[np.float64] = np.logspace(*_DECADES, 4 * (_DECADES[1] - _DECADES[0]) + 1)
"""Areas in four logarithmic bins per decade."""


def count_bins(
    values: NDArray[np.float64], query_index: NDArray[np.int64], edges: NDArray[np.float64], *, n_queries: int
) -> NDArray[np.int64]:
    """Count finite values per bin, (n_queries, n_bins). Bins are half-open, the last one closed. Values
    beyond the edges count in the outer bins."""
    n_bins = edges.size - 1
    known = np.isfinite(values)
    bins = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, n_bins - 1)
    return np.bincount(query_index[known] * n_bins + bins, minlength=n_queries * n_bins).reshape(
        n_queries, n_bins
    )


def score_axis() -> Axis:
    """Make the axis of SCORE_EDGES."""
    ticks = [(value, f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return Axis(title="score", edges=SCORE_EDGES, ticks=ticks)


def area_axis(smallest: float, largest: float, *, unit: str) -> Axis:
    """Take the bins of AREA_EDGES from the decade of the smallest positive area to that of the largest; a
    decade from 1 if there is none."""
    low, high = (
        (int(np.floor(np.log10(smallest))), int(np.ceil(np.log10(largest)))) if largest > 0 else (0, 1)
    )
    low = int(np.clip(low, _DECADES[0], _DECADES[1] - 1))
    high = int(np.clip(high, low + 1, _DECADES[1]))
    edges = AREA_EDGES[4 * (low - _DECADES[0]) : 4 * (high - _DECADES[0]) + 1]
    ticks = [(10.0**power, _power_text(power)) for power in range(low, high + 1)]
    return Axis(title=f"area, {unit}", edges=edges, ticks=ticks, log=True)


def bins_of(counts: NDArray[np.int64], axis: Axis) -> NDArray[np.int64]:
    """Turn (n_queries, bins of AREA_EDGES) into (n_queries, bins of the axis). What lies beyond the axis
    counts in its outer bins."""
    n_bins = axis.edges.size - 1
    first = int(np.searchsorted(AREA_EDGES, axis.edges[0]))
    shown = np.zeros((len(counts), n_bins), dtype=np.int64)
    np.add.at(shown.T, np.clip(np.arange(counts.shape[1]) - first, 0, n_bins - 1), counts.T)
    return shown


def histogram(counts: NDArray[np.int64], axis: Axis) -> Html:
    """Draw the counts (n_queries, bins of the axis) as SVG: one colour per query, stacked."""
    top = _nice_top(int(counts.sum(axis=0).max(initial=0)))
    position = np.log10 if axis.log else np.asarray
    low = position(axis.edges[0])
    high = position(axis.edges[-1])

    def x_of(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(_LEFT + (position(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT))

    bars = _bars(counts, x_of(axis.edges), top)
    ticks = [_tick(float(x_of(value)), text) for value, text in axis.ticks]
    lines = [_level(top * step // 4, top) for step in ((0, 2, 4) if top >= 2 else (0, 4))]
    title = tag(
        "text",
        axis.title,
        x=(_LEFT + _WIDTH - _RIGHT) / 2,
        y=_HEIGHT - 4,
        text_anchor="middle",
        class_="axis",
    )
    label = f"histogram of {axis.title}: {int(counts.sum())} objects"
    return tag(
        "svg",
        *lines,
        *bars,
        *ticks,
        title,
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        aria_label=label,
    )


def _bars(counts: NDArray[np.int64], edges: NDArray[np.float64], top: int) -> list[Html]:
    bars = []
    base = np.zeros(counts.shape[1], dtype=np.int64)
    for query, row in enumerate(counts):
        colour = "#{:02x}{:02x}{:02x}".format(*query_colour(query))
        for i in np.flatnonzero(row):
            y1 = _y(int(base[i]), top)
            y0 = _y(int(base[i] + row[i]), top)
            width = max(edges[i + 1] - edges[i] - 1.5, 1.0)
            title = tag("title", f"{row[i]} objects")
            bars.append(
                tag(
                    "rect",
                    title,
                    x=f"{edges[i]:.1f}",
                    y=f"{y0:.1f}",
                    width=f"{width:.1f}",
                    height=f"{y1 - y0:.1f}",
                    fill=colour,
                )
            )
        base += row
    return bars


def _tick(x: float, text: str) -> Html:
    y = _HEIGHT - _BOTTOM
    return joined(
        [
            tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=y, y2=y + 4, class_="rule"),
            tag("text", text, x=f"{x:.1f}", y=y + 16, text_anchor="middle", class_="tick"),
        ]
    )


def _level(count: int, top: int) -> Html:
    y = _y(count, top)
    return joined(
        [
            tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="rule"),
            tag("text", f"{count:,}", x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end", class_="tick"),
        ]
    )


def _y(count: int, top: int) -> float:
    return _HEIGHT - _BOTTOM - count / top * (_HEIGHT - _TOP - _BOTTOM)


def _nice_top(largest: int) -> int:
    """Find the smallest of 1, 2, 4, 8, 10, 20, 40, 80, 100, ... that is not below `largest`."""
    decade = 1
    while True:
        for digit in (1, 2, 4, 8):
            if digit * decade >= largest:
                return digit * decade
        decade *= 10


def _power_text(power: int) -> str:
    return (
        f"{10.0**power:,.0f}"
        if 0 <= power <= 4
        else (f"{10.0**power:g}" if power >= -3 and power < 0 else f"1e{power}")
    )
