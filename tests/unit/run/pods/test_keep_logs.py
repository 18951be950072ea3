"""Logs of a pod in a store: whole, once, readable, and without secrets."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.files.store.store_path import store_path
from pipeline.run.pods import keep_logs
from pipeline.run.pods.keep_logs import LogKeeper, main, shortened


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "session" / "logs"
    (folder / "events").mkdir(parents=True)
    (folder / "raylet.out").write_text("raylet began\n")
    (folder / "events" / "event_GCS.log").write_text("{}\n")
    return folder


def test_what_changed_is_copied_under_its_own_name(session: Path, tmp_path: Path) -> None:
    keeper = LogKeeper(session, store_path(tmp_path / "kept"))
    assert keeper.copy() == 2
    assert (tmp_path / "kept/events/event_GCS.log").read_text() == "{}\n"
    assert keeper.copy() == 0
    with (session / "raylet.out").open("a") as file:
        file.write("raylet ended\n")
    assert keeper.copy() == 1
    assert (tmp_path / "kept/raylet.out").read_text() == "raylet began\nraylet ended\n"


def test_a_session_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert LogKeeper(tmp_path / "none", store_path(tmp_path / "kept")).copy() == 0


def test_signatures_stay_in_the_pod(session: Path, tmp_path: Path) -> None:
    (session / "worker.err").write_text("GET https://b.example/a.tif?X-Amz-Signature=c0ffee failed\n")
    LogKeeper(session, store_path(tmp_path / "kept")).copy()
    kept = (tmp_path / "kept/worker.err").read_text()
    assert kept == "GET https://b.example/a.tif failed\n"


def test_a_long_log_keeps_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_logs, "FIRST_BYTES", 5)
    monkeypatch.setattr(keep_logs, "LAST_BYTES", 4)
    path = tmp_path / "long.log"
    path.write_text("began....ended")
    assert shortened(path) == "began\n[5 bytes are left out here]\nnded"
    path.write_text("beganends")
    assert shortened(path) == "beganends"


def test_a_store_that_fails_is_told_and_asked_again(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("a file in the way")
    keeper = LogKeeper(session, store_path(tmp_path / "kept"))
    keep_logs.keep_once(keeper, None)
    assert capsys.readouterr().err.startswith("logs were not copied: ")
    (tmp_path / "kept").unlink()
    assert keeper.copy() == 2


def test_a_bucket_without_a_prefix_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to", "s3://bucket", "--once"]) == 2
    assert "--to must name a prefix" in capsys.readouterr().err


def test_sigterm_copies_once_more(session: Path, tmp_path: Path) -> None:
    """The process is that of the sidecar: nothing is copied before its first minute, then SIGTERM comes."""
    words = ["--session", str(session), "--to", str(tmp_path / "kept")]
    process = subprocess.Popen([sys.executable, "-m", "pipeline.run.pods.keep_logs", *words])
    until = time.monotonic() + 60
    while b"SigCgt:\t0000000000004002" not in Path(f"/proc/{process.pid}/status").read_bytes():
        assert time.monotonic() < until, "it does not listen to SIGINT and SIGTERM"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "kept/raylet.out").read_text() == "raylet began\n"
