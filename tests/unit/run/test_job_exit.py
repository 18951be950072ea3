"""One line and an exit code for whatever ends a job."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import (
    DiskFullError,
    InputError,
    MemoryShortError,
    RecordError,
    TerraqueryError,
    UnexpectedError,
)
from pipeline.files.store.store import StoreError
from pipeline.run.job_exit import exit_code, readable


def no_space(*, code: int = errno.ENOSPC, place: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), place)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def run(error: Exception) -> int:
    def work() -> int:
        raise error

    return exit_code(work, name="make_world")


def test_work_that_is_done_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: 3) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [InputError("--tile must be even", came="7"), RecordError("gone")])
def test_our_own_errors_are_their_message(error: TerraqueryError, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(error) == error.exit_code
    assert capsys.readouterr().err == f"make_world: {error}\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_that_names_the_place(
    code: int, capsys: pytest.CaptureFixture[str], temporary_folder: Path
) -> None:
    assert run(no_space(code=code, place="/data/run/item.json")) == 1
    said = capsys.readouterr().err
    assert said.startswith("make_world: No space left on device for /data/run/item.json. To fix: ")
    assert said.count("\n") == 1
    assert not any(temporary_folder.iterdir())


def test_a_shortage_is_told_once_by_who_knew_the_place() -> None:
    told = readable(no_space(), place="/data/run")
    assert isinstance(told, DiskFullError)
    assert str(told).startswith("No space left on device for /data/run.")
    told.__cause__ = no_space()
    assert readable(told) is told
    short = readable(MemoryError())
    assert isinstance(short, MemoryShortError)
    assert readable(short) is short


def test_no_memory_is_one_line_without_a_traceback(
    capsys: pytest.CaptureFixture[str], temporary_folder: Path
) -> None:
    assert run(MemoryError("Unable to allocate 9 GiB")) == 1
    said = capsys.readouterr().err
    assert said.startswith("make_world: Out of memory while ")
    assert said.count("\n") == 1
    assert not any(temporary_folder.iterdir())


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 130
    assert capsys.readouterr().err == "\ninterrupted; start the same command again to go on\n"


def test_what_nobody_foresaw_is_one_line_and_leaves_its_traceback(
    capsys: pytest.CaptureFixture[str], temporary_folder: Path
) -> None:
    assert run(KeyError("tiles\nof\ntwo lines")) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    found = re.fullmatch(
        r"make_world: unexpected KeyError: .*\. The traceback is in (\S+/run\.log)\.\n", said
    )
    assert found is not None
    written = Path(found[1])
    assert written.is_relative_to(temporary_folder)
    text = written.read_text()
    assert text.startswith("Traceback (most recent call last):")
    assert "raise error" in text


def test_a_traceback_is_added_to_the_log_that_there_is(tmp_path: Path, temporary_folder: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("before\n")
    told = readable(ValueError("odd"), log=log)
    assert isinstance(told, UnexpectedError)
    assert str(told) == f"unexpected ValueError: odd. The traceback is in {log}."
    assert log.read_text() == "before\nValueError: odd\n"
    assert not any(temporary_folder.iterdir())


def test_a_log_that_cannot_be_written_is_replaced_and_none_is_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = str(readable(ValueError("odd"), log=tmp_path / "no" / "run.log"))
    assert f"{tmp_path}/temporary/terraquery-" in elsewhere
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert str(readable(ValueError("odd"))).endswith("The traceback is printed above.")
    assert "ValueError: odd" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_behind_stdout_does_not_change_the_exit_code() -> None:
    code = (
        "import sys; from pipeline.run.job_exit import exit_code\n"
        "sys.exit(exit_code(lambda: print('x') or 0))"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)
    assert (done.returncode, done.stderr) == (0, "")


def test_neither_the_line_nor_the_traceback_holds_secrets_or_escapes(
    capsys: pytest.CaptureFixture[str], temporary_folder: Path
) -> None:
    def fail() -> int:
        raise ValueError("\x1b[2Jhttps://u:pa55w0rd@h/a.tif?sig=s3cr3tvalue")

    def refuse() -> int:
        raise InputError("\u202ewrong", came="token=s3cr3tvalue")

    assert (exit_code(fail), exit_code(refuse)) == (1, 2)
    said = capsys.readouterr().err
    kept = "".join(path.read_text() for path in temporary_folder.rglob("run.log"))
    assert "unexpected ValueError: https://h/a.tif." in said
    assert "error: wrong. Got: token=***" in said
    assert "https://h/a.tif" in kept
    for text in (said, kept):
        assert [part for part in ("s3cr3tvalue", "pa55w0rd", "\x1b", "\u202e") if part in text] == []


def test_a_store_that_fails_is_told_with_what_to_do() -> None:
    told = readable(StoreError(5, "the store did not answer in time", "s3://runs/one/run.lock"))
    assert "failed at s3://runs/one/run.lock: the store did not answer in time" in str(told)
    assert "start the same command again" in str(told)
