"""What is said about a folder that cannot be written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError, SourceError
from pipeline.files.output_folder import require_folder, writing_to


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
