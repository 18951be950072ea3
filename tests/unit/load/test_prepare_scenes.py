"""What of the reading options pins a result."""

from __future__ import annotations

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
