"""Real signals in real processes: what is finished, what is broken off, and what is said."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.run.stop_signals import Grace, grace_of, last_act, stopped_by, unbroken

START = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path
from pipeline.run import stop_signals
from pipeline.run.job_exit import exit_code
from pipeline.run.stop_signals import Grace, heed_signals, last_act, unbroken
log = Path(sys.argv[1])
def note(text):
    with log.open("a") as file: file.write(text + "\\n")
def stuck():
    '''Wait in native code, which a signal does not interrupt.'''
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
def job(work, finish_s=20.0, close_s=5.0):
    heed_signals(Grace(finish_s=finish_s, close_s=close_s, last_s=1.0))
    def whole():
        try:
            return work() or 0
        finally:
            note("unwound")
    sys.exit(exit_code(whole))
"""


class Child:
    """A process that notes what it does."""

    def __init__(self, folder: Path, code: str, **options: object) -> None:
        self.log = folder / "notes"
        text = START + textwrap.dedent(code)
        command = [sys.executable, "-W", "ignore", "-c", text, str(self.log)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]

    def notes(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 60
        while text not in self.notes():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, self.notes()
            time.sleep(0.01)

    def end(self) -> tuple[int, list[str]]:
        """Exit code, and the lines of stderr."""
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, [line for line in said.splitlines() if line]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted; start the same command again to go on"),
        (signal.SIGTERM, 143, "terminated by SIGTERM; start the same command again to go on"),
        (signal.SIGHUP, 129, "terminated by SIGHUP; start the same command again to go on"),
    ],
)
def test_a_signal_unwinds_the_work_and_is_one_line(
    number: signal.Signals, code: int, said: str, tmp_path: Path
) -> None:
    child = Child(
        tmp_path,
        """
        def work():
            note("at work")
            time.sleep(60)
        job(work)
        """,
    )
    child.wait_for("at work")
    child.process.send_signal(number)
    assert child.end() == (code, [said])
    assert child.notes() == ["at work", "unwound"]


BLOCKS = """
def work():
    for block in range(100):
        with unbroken(on_stop=lambda: note("no more")):
            note(f"begin {block}")
            for _ in range(20): time.sleep(0.05)
            note(f"end {block}")
job(work)
"""


def test_work_at_hand_is_finished_and_no_more_is_begun(tmp_path: Path) -> None:
    child = Child(tmp_path, BLOCKS)
    child.wait_for("begin 1")
    child.process.send_signal(signal.SIGTERM)
    code, said = child.end()
    assert code == 143
    assert said == [
        "stopping: the work at hand is finished, for at most 20 s; a second signal ends it at once",
        "terminated by SIGTERM; start the same command again to go on",
    ]
    assert child.notes() == ["begin 0", "end 0", "begin 1", "no more", "end 1", "unwound"]


def test_a_loop_ends_after_the_body_at_hand(tmp_path: Path) -> None:
    child = Child(
        tmp_path,
        """
        def work():
            for block in stop_signals.unbroken_each(range(100)):
                note(f"begin {block}")
                for _ in range(20): time.sleep(0.05)
                note(f"end {block}")
        job(work)
        """,
    )
    child.wait_for("begin 0")
    child.process.send_signal(signal.SIGTERM)
    assert child.end()[0] == 143
    assert child.notes() == ["begin 0", "end 0", "unwound"]


def test_work_at_hand_that_takes_too_long_is_broken_off(tmp_path: Path) -> None:
    child = Child(
        tmp_path,
        """
        def work():
            with unbroken():
                note("at work")
                time.sleep(60)
        job(work, finish_s=1.0)
        """,
    )
    child.wait_for("at work")
    child.process.send_signal(signal.SIGTERM)
    code, said = child.end()
    assert (code, len(said)) == (143, 2)
    assert child.notes() == ["at work", "unwound"]


@pytest.mark.parametrize("again", [True, False])
def test_a_process_that_hangs_in_a_library_is_ended_after_its_last_acts(again: bool, tmp_path: Path) -> None:
    """By a second signal at once, or when the time is over. What hangs itself is not waited for."""
    child = Child(
        tmp_path,
        f"""
        def work():
            with last_act(lambda: note("lock given back")), last_act(stuck):
                threading.Timer(0.5, note, ("at work",)).start()
                stuck()
        job(work, finish_s={60.0 if again else 0.6}, close_s={60.0 if again else 0.1})
        """,
    )
    child.wait_for("at work")
    child.process.send_signal(signal.SIGTERM)
    if again:
        time.sleep(1.5)
        child.process.send_signal(signal.SIGTERM)
    code, said = child.end()
    assert (code, said) == (143, ["terminated by SIGTERM; start the same command again to go on"])
    assert child.notes() == ["at work", "lock given back"]


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """`timeout` sends to the process and to its group."""
    child = Child(tmp_path, BLOCKS)
    child.wait_for("begin 0")
    for _ in range(2):
        child.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert child.end()[0] == 143
    assert child.notes()[-2:] == ["end 0", "unwound"]


def test_what_fails_after_a_signal_is_a_stop(tmp_path: Path) -> None:
    """Workers in the same group of processes are sent the signal too, and die first."""
    child = Child(
        tmp_path,
        """
        from pipeline.errors import ModelError
        def work():
            with unbroken():
                note("at work")
                while stop_signals.stopped_by() is None: time.sleep(0.01)
                raise ModelError("the engine is gone")
        job(work)
        """,
    )
    child.wait_for("at work")
    child.process.send_signal(signal.SIGINT)
    code, said = child.end()
    assert code == 130
    assert said[-2:] == ["error: the engine is gone", "interrupted; start the same command again to go on"]


def test_a_library_that_takes_the_signal_does_not_keep_it(tmp_path: Path) -> None:
    """Ray sets a handler that ends the process with SystemExit(15)."""
    child = Child(
        tmp_path,
        """
        def work():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
            note("taken")
            time.sleep(60)
        job(work)
        """,
    )
    child.wait_for("taken")
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == (143, ["terminated by SIGTERM; start the same command again to go on"])


def test_signals_are_taken_back(tmp_path: Path) -> None:
    child = Child(
        tmp_path,
        """
        def work():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stop_signals.heed_again()
            note("at work")
            time.sleep(60)
        job(work)
        """,
    )
    child.wait_for("at work")
    child.process.send_signal(signal.SIGTERM)
    assert child.end()[0] == 143


def test_a_forked_child_is_a_process_of_its_own(tmp_path: Path) -> None:
    """An engine that the job itself ends with SIGTERM must not end the job."""
    child = Child(
        tmp_path,
        """
        def work():
            child = os.fork()
            if not child:
                time.sleep(60)
            time.sleep(0.3)
            os.kill(child, signal.SIGTERM)
            note(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
            time.sleep(0.5)
            return 7
        job(work)
        """,
    )
    assert child.end() == (7, [])
    assert child.notes() == ["-15", "unwound"]


def test_what_was_ignored_from_the_start_stays_ignored(tmp_path: Path) -> None:
    child = Child(
        tmp_path,
        """
        def work():
            note("at work")
            time.sleep(1.5)
            return 5
        job(work)
        """,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    child.wait_for("at work")
    child.process.send_signal(signal.SIGHUP)
    assert child.end() == (5, [])


def test_nothing_is_heeded_in_a_process_that_is_not_a_jobs() -> None:
    assert stopped_by() is None
    with unbroken(), last_act(lambda: None), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_submitted_job_has_what_ray_leaves_it() -> None:
    assert grace_of({}) == Grace()
    usual = grace_of({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"})
    assert usual.finish_s + usual.close_s + usual.last_s < 3
    more = grace_of({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": "60"})
    assert more.finish_s == 30
    assert more.finish_s + more.close_s + more.last_s < 60
