from __future__ import annotations

import argparse

import pytest

from pipeline.errors import InputError
from pipeline.run.box_flags import add_box_option, with_refined_boxes


def test_the_option_lays_margins_over_the_prompters_table() -> None:
    top = argparse.ArgumentParser()
    add_box_option(top)
    assert top.parse_args([]).refine_boxes is None
    tables = {"prompter": {"kind": "vllm"}, "gate": {}}
    assert with_refined_boxes(tables, None) == tables
    laid = with_refined_boxes(tables, top.parse_args(["--refine-boxes", "geoseg"]).refine_boxes)
    assert laid == {
        "prompter": {
            "kind": "vllm",
            "refine_boxes": {"left": 0.2, "top": 0.2, "right": 0.1, "bottom": 0.1, "profile": ""},
        },
        "gate": {},
    }
    with pytest.raises(InputError, match="none"):
        with_refined_boxes(tables, "none.json")
