from __future__ import annotations

import pytest

from pipeline.run.events.traffic_text import size_text, traffic_rows


def test_every_kind_of_request_is_told_in_a_row() -> None:
    counts = {
        "http_requests": 1200,
        "http_bytes": 5_600_000,
        "http_retries": 3,
        "s3_requests": 1,
        "s3_bytes": 12,
        "catalogue_requests": 2,
        "catalogue_bytes": 9_000,
        "files_hits": 9,
        "files_misses": 1,
        "chunks_hits": 1,
        "chunks_misses": 3,
        "store_puts": 2,
        "store_lists": 1,
        "store_written_bytes": 2_000,
        "store_retries": 1,
    }
    assert traffic_rows(counts) == {
        "imagery": "1,200 requests over http, 5.6 MB (3 sent again); 1 request over s3, 12 bytes; "
        "2 requests of the catalogue, 9.0 kB",
        "files": "open files served 90 % of 10 windows, kept pieces of them 25 % of 4 small reads",
        "bucket": "3 requests (2 puts, 1 list), 2.0 kB written, 0 bytes read (1 sent again)",
    }


def test_what_did_not_happen_has_no_row() -> None:
    assert traffic_rows({}) == {}
    assert traffic_rows({"files_misses": 2}) == {"files": "open files served 0 % of 2 windows"}


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (3_400_000_000, "3.4 GB"),
        (2_500_000_000_000_000, "2,500.0 TB"),
    ],
)
def test_sizes(n_bytes: int, text: str) -> None:
    assert size_text(n_bytes) == text
