"""What is said about a folder that cannot be written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import InputError, SourceError
from pipeline.files.output_folder import require_folder, require_no_run, work_folder, writing_to


def test_a_folder_may_be_there_or_not_and_a_file_may_not(tmp_path: Path) -> None:
    require_folder(tmp_path)
    require_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError) as caught:
        require_folder(tmp_path / "file", "--work")
    assert str(caught.value) == (
        f"--work must be a folder: {tmp_path}/file. Got: a file. To fix: give another --work."
    )


def test_what_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    below = tmp_path / "file" / "below"
    with (
        pytest.raises(InputError, match=r"--out must be writable: .*below\. Got: .*directory") as caught,
        writing_to(below),
    ):
        below.mkdir()
    assert isinstance(caught.value.__cause__, NotADirectoryError)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="unreadable"), writing_to(tmp_path, "--json"):
        raise SourceError("unreadable")


def test_a_run_is_no_place_for_other_results(tmp_path: Path) -> None:
    require_no_run(tmp_path / "nothing")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    require_no_run(tmp_path / "run/export")
    with pytest.raises(InputError, match=r"--objects must be a folder of its own.*the directory of a run"):
        require_no_run(tmp_path / "run", "--objects")


def test_a_work_folder_goes_and_takes_what_was_left_a_day_ago(tmp_path: Path) -> None:
    old = tmp_path / ".work-old"
    young = tmp_path / ".work-young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    with work_folder(tmp_path, ".work-") as work:
        (work / "half").touch()
        assert work.parent == tmp_path
    assert list(tmp_path.iterdir()) == [young]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out must be writable"), work_folder(tmp_path / "file/x", ".w-"):
        pass
