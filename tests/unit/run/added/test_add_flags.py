"""What may stand beside --add-query on a command line."""

from __future__ import annotations

from typing import Any

import pytest
from job_files import load_job

from pipeline.errors import InputError
from pipeline.run.added.add_flags import added_request


def request_of(*words: str) -> Any:
    parser = load_job("segment_region").parser()
    base = ["--out", "out"]
    return added_request(parser.parse_args([*base, *words]), parser.parse_args(base))


def test_how_a_run_is_done_may_be_said() -> None:
    request = request_of(
        *("--add-query", "ships", "--add-query", "roads", "--runner", "ray", "--config", "how.toml"),
        *("--max-hours", "2", "--dry-run", "--max-failed-share", "0.1", "--grace", "5"),
    )
    assert (request.out, request.queries, request.runner) == ("out", ("ships", "roads"), "ray")
    assert (request.config, request.dry_run, request.max_failed_share) == ("how.toml", True, 0.1)
    assert request.spending.limit_s == 7200


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--query", "tanks"), "--query"),
        (("--source", "a.tif", "--whole-scene"), "--source"),
        (("--preset", "geoseg"), "--preset"),
        (("--update",), "--update"),
        (("--retry-failed",), "--retry-failed"),
        (("--new-run",), "--new-run"),
        (("--tile", "512"), "--tile"),
    ],
)
def test_what_a_run_is_may_not(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(InputError, match=f"{named}.* beside it"):
        request_of("--add-query", "ships", *words)


def test_a_share_is_a_share() -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        request_of("--add-query", "ships", "--max-failed-share", "7")
