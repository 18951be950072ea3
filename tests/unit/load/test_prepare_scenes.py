"""What of the reading options pins a result."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.load.prepare_scenes import LoadOptions


def test_what_enters_a_fingerprint_is_what_changes_a_result() -> None:
    options = LoadOptions(open_files=3)
    assert options.result_parameters() == LoadOptions().result_parameters()
    assert options.result_parameters() == {
        "scale": None,
        "percentiles": (2.0, 98.0),
        "collar": "auto",
        "resampling": "bilinear",
    }
    assert LoadOptions(scale=(0.0, 3000.0)).result_parameters() != options.result_parameters()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": (5.0, 5.0)}, "--scale"),
        ({"scale": (0.0, float("inf"))}, "--scale"),
        ({"percentiles": (98.0, 2.0)}, "percentiles"),
        ({"percentiles": (0.0, 101.0)}, "percentiles"),
        ({"open_files": 0}, "at least one file"),
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LoadOptions(**wrong)  # type: ignore[arg-type]
