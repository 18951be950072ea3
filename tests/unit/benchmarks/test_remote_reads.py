"""Checked reads cost no more requests and bytes than GDAL's own, whose seconds are not compared here."""

from __future__ import annotations

import pytest
from benchmarks import remote_reads


def test_checked_reads_cost_no_more_requests_and_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    remote_reads.main(["--side", "1024", "--delay", "0"])
    rows = [line.split()[-5:] for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == len(remote_reads.FILES)
    for theirs, ours, their_mb, our_mb, _ in rows:
        assert int(ours) <= int(theirs)
        assert float(our_mb) <= float(their_mb) * 1.1 + 0.1
