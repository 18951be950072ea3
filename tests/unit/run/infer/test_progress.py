"""What the progress line says, with a clock under control."""

from __future__ import annotations

import io

from pipeline.run.infer.progress import BlockSummary, Progress


def block(found: int, empty: int, failed: int, nodata: int = 0) -> BlockSummary:
    return BlockSummary(
        block_id="b",
        found=found,
        empty=empty,
        nodata=nodata,
        failed=failed,
        n_embeddings=0,
        n_calls=0,
        elapsed_s=0.0,
    )


def test_line_by_hand() -> None:
    now = [300.0]
    progress = Progress(100, done_before=16, stream=io.StringIO(), clock=lambda: now[0])
    progress.add(block(5, 14, 1))
    line = progress.line(now[0])
    assert "tiles 20/100 (20 %) (+16 from an earlier start)" in line
    assert "found 5  empty 14  failed 1" in line
    assert "speed not known yet" in line, (
        "the five minutes before the first block were spent on loading models"
    )
    now[0] += 10.0
    progress.add(block(20, 0, 0))
    assert "2.0 judged tiles/s  left 30 s" in progress.line(now[0])


def test_tiles_without_imagery_are_named_and_do_not_count_as_speed() -> None:
    """40 tiles in 10 s, 30 of them without imagery: one judged tile a second, 100 left at four."""
    now = [0.0]
    progress = Progress(141, stream=io.StringIO(), clock=lambda: now[0])
    progress.add(block(1, 0, 0))
    now[0] += 10.0
    progress.add(block(4, 36, 0, nodata=30))
    line = progress.line(now[0])
    assert "found 5  empty 36 (30 without clear imagery)  failed 0" in line
    assert "1.0 judged tiles/s  left 25 s" in line


def test_plain_lines_are_rare_but_the_last_always_comes() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(40, stream=stream, interval_s=5.0, clock=lambda: now[0])
    for _ in range(40):
        now[0] += 0.5
        progress.add(block(1, 0, 0))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5  # at 0.5, 5.5, 10.5, 15.5 s and the end at 20 s
    assert lines[-1].startswith("tiles 40/40 (100 %)")
    assert "\r" not in stream.getvalue()
