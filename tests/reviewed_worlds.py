"""A reviewer who knows the truth: answers to every unit of a sample, from a raster of true objects.

An object is right when it and a true one have an IoU of 0.5 or more, as `jobs/evaluate.py` matches them. A
true object without a right one is missed, and lies in the cell that holds its middle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.assess.sample_design import read_design


@dataclass(frozen=True, kw_only=True)
class KnownTruth:
    """True and published objects of one query on the same grid, with their matches."""

    true: NDArray[np.int64]
    """(H, W) ids of true objects; 0 = none."""
    right: frozenset[int]
    """Ids of published objects that are right."""
    n_true: int
    missed_rc: NDArray[np.int64]
    """(k, 2) middles of missed objects."""
    n_published: int

    @property
    def precision(self) -> float:
        return len(self.right) / self.n_published

    @property
    def recall(self) -> float:
        return len(self.right) / self.n_true


def known_truth(true: NDArray[np.int64], published: NDArray[np.int64]) -> KnownTruth:
    """Match objects; both rasters (H, W) hold ids, 0 = none."""
    pairs, common = np.unique(np.stack([true.ravel(), published.ravel()]), axis=1, return_counts=True)
    size_true = dict(zip(*map(np.ndarray.tolist, np.unique(true, return_counts=True)), strict=True))
    size_found = dict(zip(*map(np.ndarray.tolist, np.unique(published, return_counts=True)), strict=True))
    matches = {}
    for (a, b), n in zip(pairs.T.tolist(), common.tolist(), strict=True):
        if a and b and 2 * n >= size_true[a] + size_found[b] - n:
            matches[a] = b
    missed = [a for a in size_true if a and a not in matches]
    middles = [np.argwhere(true == a).mean(axis=0).round() for a in missed]
    return KnownTruth(
        true=true,
        right=frozenset(matches.values()),
        n_true=len(size_true) - (0 in size_true),
        missed_rc=np.asarray(middles, dtype=np.int64).reshape(-1, 2),
        n_published=len(size_found) - (0 in size_found),
    )


def true_answers(folder: Path, truths: Mapping[int, KnownTruth]) -> dict[str, Any]:
    """Answers to all units of a sample, as the review page saves them. `truths`: by query."""
    design, table = read_design(folder)
    labels = {row["unit_id"]: _answer(row, truths[row["query_index"]]) for row in table.to_pylist()}
    return {
        "terraquery_labels": 1,
        "design_id": design.design_id,
        "reviewer": "truth",
        "labels": labels,
    }


def write_true_answers(folder: Path, truths: Mapping[int, KnownTruth], path: Path) -> Path:
    path.write_text(json.dumps(true_answers(folder, truths)))
    return path


def _answer(row: Mapping[str, Any], truth: KnownTruth) -> dict[str, Any]:
    if row["kind"] == "object":
        return {"label": "yes" if row["instance_id"] in truth.right else "no"}
    if row["kind"] == "point":
        return {"label": "yes" if truth.true[row["row0"], row["col0"]] else "no"}
    r, c = truth.missed_rc.T
    inside = (r >= row["row0"]) & (r < row["row1"]) & (c >= row["col0"]) & (c < row["col1"])
    n = int(inside.sum())
    return {"label": "missed" if n else "no", "n_missed": n}
