"""Our own lines arrive, everybody else's land in the log; also from native code and child processes."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import DiskFullError, UnexpectedError
from pipeline.run import screen as screens
from pipeline.run.screen import Screen, quiet_screen

NOISY = """
import ctypes, logging, os, subprocess, sys, warnings
from pathlib import Path
from pipeline.errors import RecordError
from pipeline.run.screen import quiet_screen
old = logging.StreamHandler()  # holds the stderr of before
logging.getLogger("vllm").addHandler(old)
print("before")
with quiet_screen(Path(sys.argv[1])) as screen:
    screen.say("plan")
    print("python print")
    sys.stderr.write("python stderr\\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"native stdout")
    libc.fflush(None)
    os.write(2, b"native stderr\\n")
    child = "import sys; print('child'); print('child error', file=sys.stderr)"
    subprocess.run([sys.executable, "-c", child])
    logging.getLogger("vllm").warning("a library's log")
    logging.getLogger("pipeline.load").warning("no overviews")
    warnings.warn("deprecated")
    screen.out.write("progress\\n")
    screen.out.flush()
    screen.say("table")
    if "fail" in sys.argv:
        raise RecordError("broken")
print("after")
print("after, error", file=sys.stderr)
"""


def run_noisy(log: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", NOISY, str(log), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_only_our_own_lines_reach_the_screen(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    done = run_noisy(log)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["before", "plan", "progress", "table", "after"]
    assert done.stderr.splitlines() == ["note: no overviews", "after, error"]
    text = log.read_text()
    for noise in ("python print", "python stderr", "native stdout", "native stderr"):
        assert f"{noise}\n" in text
    for noise in ("child\n", "child error\n", "a library's log\n", "deprecated"):
        assert noise in text
    assert "plan" not in text
    assert "no overviews" not in text


def test_after_an_error_the_screen_says_where_the_log_is(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    done = run_noisy(log, "fail")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[1] == f"the run stopped; what its libraries printed is in {log}"
    assert lines[-1] == "pipeline.errors.RecordError: broken"
    assert "RecordError" not in log.read_text()


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with pytest.raises(UnexpectedError, match="unexpected KeyError: 'tiles'") as caught, quiet_screen(log):
        raise KeyError("tiles")
    assert str(log) in str(caught.value)
    text = log.read_text()
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("KeyError: 'tiles'\n")


def test_a_full_disk_is_named_by_the_run_and_leaves_no_traceback(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(DiskFullError, match=f"No space left on device for {tmp_path}"),
        quiet_screen(tmp_path / "run.log"),
    ):
        raise full
    assert not (tmp_path / "run.log").exists()
    with (
        pytest.raises(DiskFullError, match="No space left on device for /data/run"),
        quiet_screen(tmp_path / "run.log", place="/data/run"),
    ):
        raise full


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_behind_the_log_or_the_screen_does_not_end_the_run(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.symlink_to("/dev/full")
    lines = list[str]()

    def say(text: str) -> None:
        lines.append(text)
        raise OSError(errno.ENOSPC, "No space left on device")

    with quiet_screen(log, say) as screen:
        print("a library's noise\n" * 10_000)
        screen.say("mine")
    assert lines == ["mine"]


def test_a_log_is_appended_to_and_an_empty_one_removed(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    for _ in range(2):
        with quiet_screen(log):
            print("noise")
    assert log.read_text() == "noise\nnoise\n"
    with quiet_screen(tmp_path / "other.log") as screen:
        screen.say("mine")
    assert [path.name for path in tmp_path.iterdir()] == ["run.log"]


def test_under_a_capturing_pytest_our_lines_arrive_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with quiet_screen(tmp_path / "run.log") as screen:
        screen.say("mine")
        print("noise")
        logging.getLogger("pipeline.write").warning("renewed late")
    print("after")
    seen = capsys.readouterr()
    assert seen.out == "mine\nafter\n"
    assert seen.err == "note: renewed late\n"


def test_a_callers_own_say_is_used(tmp_path: Path) -> None:
    lines = list[str]()
    with quiet_screen(tmp_path / "run.log", lines.append) as screen:
        screen.say("mine")
    assert lines == ["mine"]


def patient(lines: list[str], quick_s: float, still_s: float) -> Screen:
    return Screen(say=lines.append, out=sys.stdout, quick_s=quick_s, still_s=still_s)


def test_a_long_load_is_named_again_and_again_and_ends_with_its_time() -> None:
    lines = list[str]()
    with patient(lines, 0.01, 0.05).loading("prompter x"):
        time.sleep(0.5)
    assert lines[0] == "loading prompter x ..."
    assert lines[1].startswith("loading prompter x ... ")
    assert lines[1].endswith(" s")
    assert lines[-1].startswith("loaded prompter x in ")
    assert sum(line.startswith("loaded") for line in lines) == 1


def test_a_quick_load_says_nothing_and_nothing_is_said_after_it_is_there() -> None:
    lines = list[str]()
    with patient(lines, 30.0, 30.0).loading("oracle"):
        pass
    assert lines == []
    with patient(lines, 0.01, 0.01).loading("prompter x") as ready:
        time.sleep(0.2)
        ready()
        n = len(lines)
        time.sleep(0.1)
    assert len(lines) == n
    assert lines[-1].startswith("loaded")


def test_a_load_that_fails_is_not_called_loaded() -> None:
    lines = list[str]()

    def fail() -> None:
        with patient(lines, 0.01, 30.0).loading("prompter x"):
            time.sleep(0.2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert lines == ["loading prompter x ..."]


def test_neither_the_log_nor_the_screen_shows_secrets_or_obeys_a_text(tmp_path: Path) -> None:
    """Printed by Python, by native code, by a logger, and left behind by a run that was killed."""
    log = tmp_path / "run.log"
    log.write_text("left behind sig=s3cr3tvalue\n")
    lines = list[str]()
    hostile = "\x1b[2Jtoken=s3cr3tvalue"
    with quiet_screen(log, screens.patient(lines.append)) as screen:
        assert log.read_text() == "left behind sig=***\n"
        print(hostile)
        os.write(1, f"native {hostile}\n".encode())
        screen.say(hostile)
    assert lines == ["token=***"]
    assert log.read_text() == "left behind sig=***\ntoken=***\nnative token=***\n"


def test_warnings_of_ours_show_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with quiet_screen(tmp_path / "run.log"):
        logging.getLogger("pipeline.write").warning("%s failed", "https://h/a.tif?sig=s3cr3tvalue")
    assert capsys.readouterr().err == "note: https://h/a.tif failed\n"


def test_a_traceback_in_the_log_holds_no_secret(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with pytest.raises(UnexpectedError) as caught, quiet_screen(log, lambda text: None):
        raise ValueError("\x1b]0;x\x07refused Bearer s3cr3t-value-of-it")
    assert "s3cr3t-value" not in str(caught.value) + log.read_text()
    assert "refused Bearer ***" in str(caught.value)
    assert "ValueError: refused Bearer ***" in log.read_text()


def test_a_worker_prints_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(sys, "stderr", printed)
    for _ in range(2):
        screens.print_publicly()
    print("token=s3cr3tvalue")
    sys.stderr.write("\x1b[2Jrefused\n")
    sys.stdout.flush()
    assert printed.getvalue() == "token=***\nrefused\n"
