"""Tables of `benchmarks/scale_out.py`, beside what can be worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import mean, stdev

import pytest
from benchmarks import scale_out
from event_worlds import block, reading

from pipeline.run.events.event_log import EventLog
from pipeline.write.run_dir import RunDir

type Rows = dict[int, tuple[int, float, str]]


def table(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, Rows]:
    """All that is printed, and GPUs -> readers, tiles a second, what limits."""
    assert scale_out.main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in cells if row[0].isdigit()]
    return text, {int(row[0]): (int(row[1]), float(row[2].replace(",", "")), row[5]) for row in rows}


STEADY = ("--spread", 0, "--block-tiles", 2, "--latency-s", 0, "--read-s", 0.1, "--segment-s", 0.05)
"""Blocks of 4 tiles."""


def test_the_least_capacity_is_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Nodes of one GPU and 3 CPUs have one reader, who does 10 tiles a second; the prompter does 20, or 5.
    The driver does 10 blocks of 4 tiles a second, 10 MB/s bring 8 tiles of 1.25 MB.
    """
    words = (*STEADY, "--cpus", 3.1, "--gpus", 1, 4, 16, "--tile-mb", 1.25)
    _, fast = table(capsys, *words, "--prompt-s", 0.05, "--driver-s", 0.1, "--bandwidth-gbit", 100)
    assert {gpus: row[0] for gpus, row in fast.items()} == {1: 1, 4: 4, 16: 16}
    assert fast[1][1:] == (pytest.approx(10, rel=0.03), "readers")
    assert fast[16][1:] == (pytest.approx(40, rel=0.03), "driver")
    _, slow = table(capsys, *words, "--prompt-s", 0.2, "--driver-s", 0.001, "--bandwidth-gbit", 0.08)
    assert slow[1][1:] == (pytest.approx(5, rel=0.03), "prompters")
    assert slow[4][1:] == slow[16][1:] == (pytest.approx(8, rel=0.03), "bandwidth")


def test_a_spread_keeps_the_mean() -> None:
    values = scale_out.spread(3.0, 0.5)
    assert mean(values) == pytest.approx(3.0)
    assert stdev(values) == pytest.approx(1.5, rel=0.1)
    assert scale_out.spread(3.0, 0.0) == [3.0]


def log_of_a_run(place: Path) -> None:
    """40 blocks of 4 tiles, one every 2 s: a prompter does two of 4 s at once, so 2 s are each one's."""
    now = [0.0]
    log = EventLog(RunDir(place), clock=lambda: now[0])
    log.tell("pools", actors={"reader": 1, "prompter": 1, "segmenter": 1})
    for number in range(40):
        begin = 2.0 * number
        times = [
            {**reading("read", "h:r", begin, 0.5), "traffic": {"http_bytes": 8_000_000}},
            reading("prompt", "h:p", begin, 4.0),
            reading("segment", "h:s", begin + 4, 1.0),
        ]
        now[0] = begin + 5
        log.tell("block", **block(f"b{number}", times))


def test_times_come_from_a_run_whose_rate_is_told_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_of_a_run(tmp_path)
    text, rows = table(capsys, "--from-run", tmp_path, "--gpus", 1, 2, "--driver-s", 0.001)
    assert "A block has 4 tiles and 8 MB; read 0.5 s, prompt 2.05 s, segment 1 s" in text, "82 s of 40 blocks"
    assert rows[1][1:] == (pytest.approx(4 / 2.05, rel=0.03), "prompters")
    assert rows[2][1] == pytest.approx(8 / 2.05, rel=0.03)
    assert "Its last start did 0.50 blocks/s with 1 reader, 1 prompter, 1 segmenter; simulated: 0.49" in text


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no log with blocks"):
        scale_out.main(["--from-run", str(tmp_path)])
