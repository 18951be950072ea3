"""What a process started under guard ends with it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.process_guard import ProcessGuard

PARENT = """
import multiprocessing, sys, time
from pipeline.process_guard import guarded

def work():
    time.sleep({works_s})

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    unguarded = context.Process(target=time.sleep, args=(1.0,), daemon=True)
    unguarded.start()
    with guarded():
        child = context.Process(target=work)
        child.start()
        time.sleep(0.5)
    print(child.pid, flush=True)
    if {works_s} < 10:
        child.join()
        time.sleep(0.5)
        print("ended", flush=True)
    time.sleep(120)
"""


def start(works_s: float) -> tuple[subprocess.Popen[str], psutil.Process, list[psutil.Process]]:
    """A process with a guarded child; the child, and the guards."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(works_s=works_s)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    return parent, child, guards_of(parent)


def guards_of(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    return [each for each in psutil.Process(parent.pid).children() if each.name() == "sh"]


def ended(process: psutil.Process, within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_a_parent_that_is_killed(number: signal.Signals) -> None:
    parent, child, (guard,) = start(works_s=100)
    assert child.is_running()
    parent.send_signal(number)
    parent.wait(timeout=20)
    assert ended(child)
    assert ended(guard)


def test_the_guard_of_a_child_that_has_ended_goes_away() -> None:
    parent, child, (guard,) = start(works_s=1)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ended\n"
    assert ended(child)
    assert ended(guard)
    assert parent.poll() is None
    parent.kill()
    parent.wait(timeout=20)


NUMBERED = """
import sys
from pipeline import process_guard
guard = process_guard.ProcessGuard()
guard.name(int(sys.argv[1]))
process_guard._started = lambda pid: "17"
guard.name(int(sys.argv[2]))
"""


def test_a_process_that_only_has_the_number_of_a_named_one_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "100"]) as named, subprocess.Popen(["sleep", "100"]) as other:
        subprocess.run([sys.executable, "-c", NUMBERED, str(named.pid), str(other.pid)], check=True)
        assert named.wait(timeout=20) == -signal.SIGKILL
        time.sleep(0.5)
        assert other.poll() is None
        other.kill()


def test_what_a_guard_let_go_lives_on() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        guard = ProcessGuard()
        guard.name(child.pid)
        guard.let_go()
        time.sleep(0.2)
        assert child.poll() is None
        child.kill()
