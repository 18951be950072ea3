"""Blocks cost fewer requests than tiles and hardly a byte too many; their seconds are not compared here."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import reading


def remote(capsys: pytest.CaptureFixture[str], tiles: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Requests, and bytes as a multiple of the fewest, by file and method."""
    reading.main(["--tiles", str(tiles), "--repeats", "1", "--delay", "0", "--only", "remote"])
    found = {}
    for line in capsys.readouterr().out.splitlines()[2:]:
        name, _, text = line[:22].partition(", ")
        requests, share, *_ = line[22:].split()
        found[name, text.strip()] = float(requests), float(share)
    return found


def test_a_block_costs_fewer_requests_than_its_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    found = remote(capsys, tiles=2)
    for name in reading.FILES:
        assert found[name, "ours"][0] < found[name, "tile by tile"][0]
        assert found[name, "ours"][1] < found[name, "opened per tile"][1]


@pytest.mark.long
def test_several_blocks_cost_hardly_a_byte_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    found = remote(capsys, tiles=5)
    for name in reading.FILES:
        requests, share = found[name, "ours"]
        assert requests <= 24
        assert 1 <= share <= 1.02


@pytest.mark.long
def test_two_processes_share_the_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    reading.main(["--tiles", "5", "--repeats", "1", "--rounds", "1", "--only", "local"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith(tuple(reading.FILES))]
    assert len(rows) == 4
    assert all(float(row[1]) > 0 for row in rows)


@pytest.mark.long
def test_a_process_that_reads_stays_under_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is small here, so that a small scene fills it."""
    cache_mb = 32
    monkeypatch.setenv("GDAL_CACHEMAX", str(cache_mb))
    reading.write_cogs(tmp_path, 5 * reading.CORE_PX)
    side = reading.BLOCK_TILES * reading.CORE_PX + reading.HALO_PX
    cache = cache_mb * 2**20 / (3 * side**2)
    for name in reading.FILES:
        (found,) = reading.read_in_processes(tmp_path / f"{name}.tif", workers=1, rounds=1)
        assert 1 < found["grown"] < cache + reading.MOST_GROWTH
