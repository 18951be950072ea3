"""The commands of a night, without Airflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from remote_jobs.nightly import night_of

from jobs import segment_region, verify_run
from pipeline.options import plain_numbers

pytestmark = pytest.mark.ops

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
PARAMS: dict[str, Any] = {
    "name": "bay",
    "aoi": None,
    "bbox": [-122.5, 37.7, -122.2, 38.0],
    "queries": ["tanks", "--odd 'one'"],
    "source": "stac:https://example.com#c",
    "preset": "think2seg-3b",
    "options": ["--max-cloud", "20"],
    "late_days": 2,
    "runs": "s3://bucket/runs/",
    "python": "python",
    "jobs": "/jobs",
}


def test_the_job_s_own_parser_reads_what_was_meant() -> None:
    night = night_of(START, PARAMS)
    assert night.segment[:2] == ["python", "/jobs/segment_region.py"]
    args = segment_region.parser().parse_args(plain_numbers(night.segment[2:], lists={"--bbox": 4}))
    assert args.query == PARAMS["queries"]
    assert args.bbox == PARAMS["bbox"]
    assert (args.datetime, args.out, args.max_cloud) == ("2026-02-27", "s3://bucket/runs/bay/2026-02-27", 20)
    assert not args.dry_run
    assert night.plan == [*night.segment, "--dry-run"]
    assert verify_run.parser().parse_args(night.verify[2:]).run == args.out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bbox": None}, "either `aoi` or `bbox`"),
        ({"aoi": "a.geojson"}, "either `aoi` or `bbox`"),
        ({"queries": []}, "needs a query"),
    ],
)
def test_what_cannot_be_a_run_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        night_of(START, PARAMS | changed)
