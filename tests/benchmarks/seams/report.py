"""The comparison as JSON and as Markdown tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.seams.adapters.exchange import Answer
from benchmarks.seams.methods import Method
from benchmarks.seams.score import Score
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method: scores by noise level and the cost without noise, or the reason why there are none."""

    method: Method
    scores: Mapping[str, Score]
    cost: Answer | None
    """At the first level, which is repeated; its outputs are no longer in it."""
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What was compared on."""

    command: str
    side_px: int
    seed: int
    tile_px: int
    halo_px: int
    kind: tuple[str, ...]
    """(n,) kind of each true object."""
    crossing: NDArray[np.bool_]
    """(n,) True for objects in more than one core."""
    masks: Mapping[str, int]
    """Masks of all tiles, by noise level."""


def as_json(setting: Setting, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that the tables show, and versions, settings and single times."""
    kinds = np.array(setting.kind)
    about = {name: getattr(setting, name) for name in ("command", "side_px", "seed", "tile_px", "halo_px")}
    objects = {kind: int((kinds == kind).sum()) for kind in dict.fromkeys(setting.kind)}
    counts = {"objects": objects, "crossing": int(setting.crossing.sum()), "masks": dict(setting.masks)}
    return {**about, **counts, "methods": [_row_json(setting, row) for row in rows]}


def as_markdown(setting: Setting, rows: Sequence[Row]) -> str:
    """One table of agreement per noise level, one of cost, one of methods."""
    n = len(setting.kind)
    crossing = int(setting.crossing.sum())
    out = [f"`{setting.command}`", ""]
    out += [f"{n} true objects on {setting.side_px} x {setting.side_px} px, {crossing} of them over a seam; "]
    out[-1] += f"tiles of {setting.tile_px} px that overlap by {2 * setting.halo_px}; seed {setting.seed}."
    for level, masks in setting.masks.items():
        out += [
            "",
            f"**{LEVEL_TITLES[level]}** ({masks} masks of single tiles)",
            "",
            *_agreement(setting, rows, level),
        ]
    out += ["", COST_TITLE, "", *_cost(rows), "", "**Methods**", "", *_methods(rows)]
    return "\n".join(out) + "\n"


LEVEL_TITLES = {"oracle": "Exact masks", "mild": "Mild noise", "strong": "Strong noise"}
EXACT_LEVEL = "oracle"
"""Noise moves every outline, so that exactness says little: with noise the tables show what is found, at IoU
0.5.
"""


COST_TITLE = "**Cost without noise**: CPU time relative to ours, and what the merge needs on top of its input"


def _agreement(setting: Setting, rows: Sequence[Row], level: str) -> list[str]:
    kinds = np.array(setting.kind)
    groups = {"exact" if level == EXACT_LEVEL else "found": None, "over a seam": setting.crossing}
    groups |= {kind: kinds == kind for kind in ("row house", "long", "huge")}
    heads = ["method", "outputs", *groups, "split", "false merges", "missed", "duplicates", "quality"]
    lines = [_line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    for row in rows:
        if level not in row.scores:
            lines.append(_line([row.method.name, row.failure] + [""] * (len(heads) - 2)))
            continue
        got = row.scores[level]
        reached = got.exact if level == EXACT_LEVEL else got.found
        shares = [f"{100 * share(reached, among):.1f} %" for among in groups.values()]
        counts = [str(v) for v in (got.splits, got.false_merges, got.missed, got.duplicates)]
        lines.append(_line([row.method.name, str(got.outputs), *shares, *counts, f"{got.quality:.3f}"]))
    return lines


def _cost(rows: Sequence[Row]) -> list[str]:
    ours = next((row.cost for row in rows if row.method.name == "ours"), None)
    lines = [_line(["method", "CPU time", "spread", "extra memory"]), _line(["---", "---:", "---:", "---:"])]
    for row in rows:
        if row.cost is None or ours is None:
            lines.append(_line([row.method.name, row.failure, "", ""]))
            continue
        base = statistics.median(ours.cpu_s)
        times = [value / base for value in row.cost.cpu_s]
        spread = f"{_ratio(min(times))} to {_ratio(max(times))}"
        memory = f"{row.cost.peak_bytes / 1e6:.0f} MB"
        lines.append(_line([row.method.name, _ratio(statistics.median(times)), spread, memory]))
    return lines


def _methods(rows: Sequence[Row]) -> list[str]:
    lines = [_line(["method", "rule", "settings", "versions"]), _line(["---"] * 4)]
    for row in rows:
        settings = ", ".join(f"{key}={value}" for key, value in row.method.settings.items())
        given = (
            f"{settings} ({row.method.source})"
            if settings and row.method.source
            else settings or row.method.source
        )
        versions = (
            ", ".join(f"{key} {value}" for key, value in row.cost.versions.items())
            if row.cost
            else row.failure
        )
        lines.append(_line([row.method.name, row.method.rule, given, versions]))
    return lines


def _row_json(setting: Setting, row: Row) -> dict[str, Any]:
    kinds = np.array(setting.kind)
    scores: dict[str, Any] = {}
    for level, got in row.scores.items():
        names = ("outputs", "splits", "false_merges", "missed", "duplicates", "quality")
        scores[level] = {name: getattr(got, name) for name in names}
        for name, reached in (("exact", got.exact), ("found", got.found)):
            scores[level][name] = _number(share(reached))
            scores[level][f"{name}_crossing"] = _number(share(reached, setting.crossing))
            scores[level][f"{name}_by_kind"] = {
                kind: share(reached, kinds == kind) for kind in dict.fromkeys(setting.kind)
            }
    about = {
        "name": row.method.name,
        "rule": row.method.rule,
        "settings": dict(row.method.settings),
        "source": row.method.source,
    }
    cost = {}
    if row.cost is not None:
        cost = {name: getattr(row.cost, name) for name in ("cpu_s", "wall_s", "peak_bytes", "versions")}
    return {**about, "failure": row.failure, "scores": scores, **cost}


def share(reached: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> float:
    """Share of True, of all or of those `among`; not-a-number for none."""
    chosen = reached if among is None else reached[among]
    return float(chosen.mean()) if chosen.size else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _ratio(value: float) -> str:
    return f"{value:.2f} x" if value < 9.95 else f"{value:.0f} x"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
