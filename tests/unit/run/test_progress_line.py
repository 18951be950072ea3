"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import sys

import pytest

from pipeline.run.progress_line import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_the_beginning_and_the_end_and_little_between(capsys: pytest.CaptureFixture[str]) -> None:
    show = ProgressLine()
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        show("drawing", share)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "drawing:   0 %"
    assert lines[-1] == "drawing: 100 %"
    assert len(lines) < 5


def test_a_terminal_shows_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    show = ProgressLine()
    show("a", 0.5)
    show("a", 1.0)
    assert screen.getvalue() == "\r\x1b[2Ka:  50 %\r\x1b[2Ka: 100 %\n"


def test_a_passing_line_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = ProgressLine(passing=True)
    for share in (0.0, 0.5, 1.0):
        show("a", share)
    assert capsys.readouterr().err == ""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    show = ProgressLine(passing=True)
    show("a", 0.5)
    show("a", 1.0)
    assert screen.getvalue() == "\r\x1b[2Ka:  50 %\r\x1b[2K"


def test_a_reader_who_has_gone_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    ProgressLine()("a", 0.0)
