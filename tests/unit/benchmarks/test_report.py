"""Tables and JSON of the comparison, from two hand-made rows and a peer that gave no answer."""

from __future__ import annotations

import json

import numpy as np
from benchmarks.seams.adapters.exchange import Answer, Outputs
from benchmarks.seams.methods import Method
from benchmarks.seams.report import Row, Setting, as_json, as_markdown
from benchmarks.seams.score import Score


def scored(exact: list[bool], found: list[bool], **counts: int) -> Score:
    base = {"outputs": 3, "splits": 0, "false_merges": 0, "missed": 0, "duplicates": 0}
    return Score(
        **{**base, **counts}, quality=0.5, exact=np.array(exact), found=np.array(found), output_iou=np.ones(3)
    )


def cost(*cpu_s: float, peak_bytes: int) -> Answer:
    return Answer(
        outputs=Outputs(), cpu_s=cpu_s, wall_s=cpu_s, peak_bytes=peak_bytes, versions={"pkg": "1.2"}
    )


SETTING = Setting(
    command="python run.py",
    side_px=100,
    seed=7,
    tile_px=64,
    halo_px=8,
    kind=("huge", "long", "long", "small"),
    crossing=np.array([True, True, False, False]),
    masks={"oracle": 9, "mild": 8},
)
ROWS = [
    Row(
        method=Method(name="ours", rule="pieces", adapter="shipped_merge", source="defaults"),
        scores={
            "oracle": scored([True] * 4, [True] * 4),
            "mild": scored([False] * 4, [True, True, True, False], missed=1),
        },
        cost=cost(2.0, 1.0, 4.0, peak_bytes=50_000_000),
    ),
    Row(
        method=Method(name="other", rule="boxes", adapter="x", settings={"iou": 0.5}, source="guide"),
        scores={
            "oracle": scored([False, True, False, True], [True] * 4, splits=1, false_merges=2, duplicates=3),
            "mild": scored([False] * 4, [False] * 4, missed=4),
        },
        cost=cost(30.0, 1.0, 20.0, peak_bytes=0),
    ),
    Row(
        method=Method(name="gone", rule="none", adapter="x"),
        scores={},
        cost=None,
        failure="could not be installed: no wheel",
    ),
]


def test_markdown() -> None:
    lines = as_markdown(SETTING, ROWS).splitlines()
    for line in (
        "4 true objects on 100 x 100 px, 2 of them over a seam; tiles of 64 px that overlap by 16; seed 7.",
        "**Exact masks** (9 masks of single tiles)",
        "| method | outputs | exact | over a seam | row house | long | huge | split | false merges | "
        "missed | duplicates | quality |",
        "| ours | 3 | 100.0 % | 100.0 % | nan % | 100.0 % | 100.0 % | 0 | 0 | 0 | 0 | 0.500 |",
        "| other | 3 | 50.0 % | 50.0 % | nan % | 50.0 % | 0.0 % | 1 | 2 | 0 | 3 | 0.500 |",
        "| gone | could not be installed: no wheel |  |  |  |  |  |  |  |  |  |  |",
        "| method | outputs | found | over a seam | row house | long | huge | split | false merges | "
        "missed | duplicates | quality |",
        "| ours | 3 | 75.0 % | 100.0 % | nan % | 100.0 % | 100.0 % | 0 | 0 | 1 | 0 | 0.500 |",
        "| ours | 1.00 x | 0.50 x to 2.00 x | 50 MB |",
        "| other | 10 x | 0.50 x to 15 x | 0 MB |",
        "| gone | could not be installed: no wheel |  |  |",
        "| other | boxes | iou=0.5 (guide) | pkg 1.2 |",
        "| gone | none |  | could not be installed: no wheel |",
    ):
        assert line in lines, line
    tables = [line.count("|") for line in lines if line.startswith(("| other", "| gone"))]
    assert tables == [13, 13, 13, 13, 5, 5, 5, 5]


def test_json_holds_the_same_and_the_single_times() -> None:
    data = json.loads(json.dumps(as_json(SETTING, ROWS)))
    assert data["objects"] == {"huge": 1, "long": 2, "small": 1}
    assert (data["crossing"], data["masks"], data["seed"]) == (2, {"oracle": 9, "mild": 8}, 7)
    ours, other, gone = data["methods"]
    assert ours["cpu_s"] == [2.0, 1.0, 4.0]
    assert other["scores"]["oracle"]["exact"] == 0.5
    assert other["scores"]["oracle"]["exact_by_kind"] == {"huge": 0.0, "long": 0.5, "small": 1.0}
    assert other["scores"]["mild"]["found_crossing"] == 0.0
    assert (gone["failure"], gone["scores"]) == ("could not be installed: no wheel", {})
