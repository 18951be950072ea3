from __future__ import annotations

from pathlib import Path

from pipeline.assess.draw_units import DrawnStratum, Wanted
from pipeline.assess.plan_run import Planned
from pipeline.assess.plan_text import columns, plan_text
from pipeline.assess.sample_design import SampleDesign
from pipeline.assess.sampling_frame import FrameOptions


def test_strata_page_and_next_command_are_told() -> None:
    design = SampleDesign(
        run="r",
        run_id="run-1",
        fingerprint="ff",
        snapshot="aa",
        queries=("roofs\x1b[31m",),
        chosen=(0,),
        seed=4,
        wanted=Wanted(),
        frame=FrameOptions(),
        strata={0: (DrawnStratum(kind="cell", name="with objects", size=12_345, drawn=20),)},
    )
    text = plan_text(Planned(design=design, units=(), page=Path("review/review.html"), n_unread=3))
    assert text.startswith('"roofs"\n')
    assert "  cell  with objects  12,345     20" in text
    assert "seed 4" in text
    assert "imagery of 3 units" in text
    assert text.endswith("python jobs/assess.py estimate review --labels FILE")


def test_numbers_stand_to_the_right() -> None:
    assert columns([("a", "n"), ("long", "7"), ("b", "1,000")]) == [
        "a         n",
        "long      7",
        "b     1,000",
    ]
