"""The journal counts attempts over process deaths."""

from __future__ import annotations

from pathlib import Path

from pipeline.attempts import AttemptJournal


def test_attempts_count_until_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "attempts"
    assert AttemptJournal(directory).begin("b1", "prompt") == 1
    assert AttemptJournal(directory).begin("b1", "prompt") == 2  # a new process after a death
    assert AttemptJournal(directory).begin("b1", "segment") == 1
    assert AttemptJournal(directory).begin("b2", "prompt") == 1
    AttemptJournal(directory).end("b1", "prompt")
    assert AttemptJournal(directory).begin("b1", "prompt") == 1
    AttemptJournal(directory).reset()
    assert list(directory.iterdir()) == []
