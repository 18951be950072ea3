"""The [mask_model] table."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.options import parse_table
from pipeline.segment.mask_model.mask_options import MaskModelOptions, shipped_adapters


def test_a_table_with_free_options_is_read() -> None:
    table = {
        "kind": "process",
        "python": "/opt/lisa/bin/python",
        "adapter": "lisa",
        "options": {"checkpoint": "/models/LISA-7B-v1", "tokens": 512, "score": 0.5, "fast": True},
    }
    options = parse_table(MaskModelOptions, table, "mask_model")
    assert options.options == table["options"]
    assert [type(value) for value in options.options.values()] == [str, int, float, bool]
    assert options.name == "lisa"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"kind": "lisa"}, "must be one of"),
        ({"kind": "process"}, "needs (python|adapter), too"),
        ({"kind": "sam3-text"}, "needs checkpoint"),
        ({"kind": "sam3-text", "checkpoint": "x", "threshold": 2.0}, "a score from 0 to 1"),
        ({"kind": "process", "python": "p", "adapter": "a", "limit_s": 0.0}, "are seconds"),
        ({"kind": "process", "python": "p", "adapter": "a", "options": {"x": ["y"]}}, "options.x"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(table: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_table(MaskModelOptions, table, "mask_model")


def test_a_name_is_a_shipped_adapter_and_a_path_is_a_file() -> None:
    for name in shipped_adapters():
        assert MaskModelOptions(kind="process", python="p", adapter=name).adapter_file.is_file()
    own = MaskModelOptions(kind="process", python="p", adapter="own/mine.py")
    assert own.adapter_file == Path("own/mine.py").absolute()
    assert own.name == "mine"


@pytest.mark.parametrize(
    ("parts", "one_mask", "splits"),
    [("auto", True, True), ("auto", False, False), ("split", False, True), ("keep", True, False)],
)
def test_parts_are_objects_where_the_model_or_the_user_says_so(
    parts: str, one_mask: bool, splits: bool
) -> None:
    options = MaskModelOptions(kind="sam3-text", checkpoint="x", parts=parts)  # type: ignore[arg-type]
    assert options.splits(one_mask) is splits


def test_where_it_runs_does_not_make_another_run() -> None:
    one = MaskModelOptions(kind="process", python="a", adapter="lisa", limit_s=5.0)
    other = MaskModelOptions(kind="process", python="b", adapter="lisa", load_s=7.0)
    assert one.result_parameters() == other.result_parameters()
    sam = MaskModelOptions(kind="sam3-text", checkpoint="x")
    assert sam.result_parameters() == {
        "kind": "sam3-text",
        "checkpoint": "x",
        "threshold": 0.5,
        "parts": "auto",
    }
