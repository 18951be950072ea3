"""Notes are said and kept; what makes the disk full is no note."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from record_world import QUERIES, lattice_of

from pipeline.errors import SourceError
from pipeline.run.closing_notes import Notes, kept_notes
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin, conclude
from pipeline.write.run_json import RunInfo


def raises(error: Exception) -> None:
    raise error


def test_what_fails_is_said_and_kept(tmp_path: Path) -> None:
    said = list[str]()
    notes = Notes(said.append, tmp_path / "log")
    assert notes.attempt("a sum", lambda: 3) == 3
    notes.attempt("the overview", lambda: raises(SourceError("the server is busy")))
    notes.add("two things")
    assert notes.texts == ["the overview could not be made: the server is busy", "two things"]
    assert said == [f"note: {text}" for text in notes.texts]


def test_a_full_disk_is_no_note(tmp_path: Path) -> None:
    notes = Notes(pytest.fail, tmp_path / "log")
    with pytest.raises(OSError, match="No space left"):
        notes.attempt("report.html", lambda: raises(OSError(errno.ENOSPC, "No space left on device")))
    assert notes.texts == []


def test_notes_of_a_report_stay_with_its_snapshot(tmp_path: Path) -> None:
    results = RunDir(tmp_path / "out").in_snapshot("abc")
    info = RunInfo(
        run_id="ab" * 8,
        fingerprint="ab" * 32,
        status="complete",
        parameters={},
        queries=QUERIES,
        lattice=lattice_of(),
        scenes=(),
    )
    begin(results, replace(info, status="running"))
    of_the_report = "the pictures of report.html: 2 could not be read"
    conclude(results, replace(info, notes=(of_the_report, "item.json could not be made: no")))
    assert kept_notes(results) == [of_the_report]
    assert kept_notes(results.in_snapshot("another")) == []
