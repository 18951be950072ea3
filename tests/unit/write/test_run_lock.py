"""Who may drive a run directory: refusals, takeovers of what the dead left behind, and the end of a lock."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from pipeline.errors import IncompleteRunError, InputError
from pipeline.write import run_lock
from pipeline.write.run_lock import LOCK_NAME, STALE_S, Driver, alone_in, require_free, take

ROOT = Path(__file__).parents[3]
DRIVER = """
import sys, time
from pathlib import Path
from pipeline.write.run_lock import alone_in, take
with alone_in(Path(sys.argv[1])):
    take(Path(sys.argv[1]))
    print("taken", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "SETTLE_S", 0.02)
    monkeypatch.setattr(run_lock, "BEAT_S", 0.05)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A live driver of tmp_path in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def leave_lock(folder: Path, *, age_s: float = 0.0, **changes: object) -> Driver:
    """A lock as another process would leave it; without changes, the very one of this process."""
    driver = replace(run_lock._this_process(), **changes)  # type: ignore[arg-type]
    path = folder / LOCK_NAME
    path.write_text(json.dumps(asdict(driver)))
    os.utime(path, times=(time.time() - age_s,) * 2)
    return driver


def this_process() -> Driver:
    """This process as the operating system's other interfaces tell of it."""
    me = psutil.Process()
    started_s = me.create_time() - psutil.boot_time()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Driver(
        host=os.uname().nodename,
        pid=me.pid,
        born=str(round(started_s * os.sysconf("SC_CLK_TCK"))),
        pid_table=f"{boot} pid:[{os.stat('/proc/self/ns/pid').st_ino}]",
    )


def holder(folder: Path) -> Driver:
    found = run_lock._read(folder / LOCK_NAME)
    assert found is not None
    return found


def test_a_live_driver_is_named_with_what_to_do(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    before = (tmp_path / LOCK_NAME).read_bytes()
    with pytest.raises(InputError) as caught:
        take(tmp_path)
    said = str(caught.value)
    assert caught.value.exit_code == 2
    assert f"process {other.pid} on {os.uname().nodename}" in said
    assert "last sign of life" in said
    assert " s old" in said
    assert f"`kill {other.pid}`" in said
    assert "delete" not in said, "a process that is seen alive is to be stopped, not ignored"
    with pytest.raises(InputError, match="one driver at a time"), alone_in(tmp_path):
        pytest.fail("the body must not run")
    assert (tmp_path / LOCK_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]


@pytest.mark.parametrize("reaped", [True, False])
def test_kill_9_does_not_stand_in_the_way_of_a_restart(
    tmp_path: Path, other: subprocess.Popen[str], *, reaped: bool
) -> None:
    """Also while the dead process waits for its parent to ask for its exit status."""
    os.kill(other.pid, signal.SIGKILL)
    if reaped:
        other.wait()
    else:
        deadline = time.monotonic() + 30
        while (
            Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
    assert holder(tmp_path).pid == other.pid
    take(tmp_path)
    assert holder(tmp_path) == this_process()


def test_a_later_process_with_the_pid_of_a_dead_driver_is_not_that_driver(tmp_path: Path) -> None:
    parent = os.getppid()
    born = run_lock._born(parent)
    assert born
    leave_lock(tmp_path, pid=parent, born=born)
    with pytest.raises(InputError, match=f"process {parent} "):
        take(tmp_path)
    leave_lock(tmp_path, pid=parent, born=str(int(born) - 1))
    take(tmp_path)


@pytest.mark.parametrize("change", [{"host": "other"}, {"pid_table": "another boot"}, {"pid_table": ""}])
def test_a_process_of_elsewhere_counts_as_dead_after_some_minutes_of_silence(
    tmp_path: Path, change: dict[str, str]
) -> None:
    """Its pid says nothing here: there is no process of that number, and yet it may live."""
    left = leave_lock(tmp_path, pid=2**22 + 1, age_s=STALE_S - 30, **change)
    with pytest.raises(
        InputError, match=rf"process {left.pid} on {left.host} at work, its last sign of life 2\d\d s old"
    ) as caught:
        take(tmp_path)
    assert f"delete {tmp_path / LOCK_NAME}" in str(caught.value)
    leave_lock(tmp_path, pid=left.pid, age_s=STALE_S + 30, **change)
    require_free(tmp_path)
    take(tmp_path)
    assert holder(tmp_path) == this_process()


def test_a_live_process_of_this_machine_keeps_its_lock_however_silent_it_is(tmp_path: Path) -> None:
    """Suspended, or long in one computation: it will write again."""
    leave_lock(tmp_path, pid=os.getppid(), born=run_lock._born(os.getppid()), age_s=10 * STALE_S)
    with pytest.raises(InputError, match="3000 s old"):
        take(tmp_path)


def test_a_lock_that_does_not_say_whose_it_is_counts_for_some_minutes(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).touch()
    with pytest.raises(InputError, match="has not said its name"):
        take(tmp_path)
    os.utime(tmp_path / LOCK_NAME, times=(time.time() - STALE_S - 30,) * 2)
    take(tmp_path)


def test_a_full_disk_leaves_no_lock_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_driver: Driver) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_lock, "_content", full)
    with pytest.raises(OSError, match=r"No space left on device: .*run\.lock"):
        take(tmp_path)
    monkeypatch.undo()
    require_free(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ages_follow_the_clock_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_lock(tmp_path, host="other")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    with pytest.raises(InputError, match=r" \d s old"):
        take(tmp_path)


def test_of_two_that_take_over_the_same_stale_lock_one_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes its name between our writing and our second look."""
    leave_lock(tmp_path, host="other", age_s=2 * STALE_S)
    rival: list[Driver] = []
    monkeypatch.setattr(time, "sleep", lambda _: rival.append(leave_lock(tmp_path, host="rival")))
    with pytest.raises(InputError, match="on rival at work"):
        take(tmp_path)
    assert [holder(tmp_path)] == rival


def test_of_many_that_start_together_one_works(tmp_path: Path) -> None:
    start = "from pathlib import Path; import sys; from pipeline.write.run_lock import take; "
    start += "sys.stdin.readline(); take(Path(sys.argv[1]));"
    command = [
        sys.executable,
        "-c",
        start + "print('taken', flush=True); sys.stdin.readline()",
        str(tmp_path),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    starters = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for one in starters:
        one.stdin.write("go\n")
        one.stdin.flush()
    losers = 0
    deadline = time.monotonic() + 60
    while losers < 3 and time.monotonic() < deadline:
        losers = sum(one.poll() is not None for one in starters)
        time.sleep(0.02)
    (winner,) = [one for one in starters if one.poll() is None]
    assert holder(tmp_path).pid == winner.pid
    for one in starters:
        out, errors = one.communicate("done\n")
        assert (out == "taken\n") == (one is winner)
        assert ("one driver at a time" in errors) == (one is not winner)


def test_a_lock_lives_in_the_body_and_goes_at_its_end(tmp_path: Path) -> None:
    with alone_in(tmp_path) as require_still_alone:
        assert not (tmp_path / LOCK_NAME).exists(), "entering takes nothing: the directory may be refused yet"
        take(tmp_path)
        os.utime(tmp_path / LOCK_NAME, times=(0, 0))
        deadline = time.monotonic() + 30
        while (tmp_path / LOCK_NAME).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / LOCK_NAME).stat().st_mtime > time.time() - 60, "signs of life"
        take(tmp_path)
        require_still_alone()
    assert list(tmp_path.iterdir()) == []
    assert "run.lock" not in [thread.name for thread in threading.enumerate()]


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    def work() -> None:
        with alone_in(tmp_path):
            take(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_refused_or_not_there_stays_as_it_is(tmp_path: Path) -> None:
    with alone_in(tmp_path / "absent"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_driver_that_was_taken_over_learns_of_it_and_leaves_the_new_lock(tmp_path: Path) -> None:
    with alone_in(tmp_path) as require_still_alone:
        take(tmp_path)
        require_still_alone()
        rival = leave_lock(tmp_path, host="rival")
        with pytest.raises(IncompleteRunError, match=r"taken over; what it committed is kept.*on rival"):
            require_still_alone()
        time.sleep(0.2)  # some beats
        assert holder(tmp_path) == rival
    assert holder(tmp_path) == rival
