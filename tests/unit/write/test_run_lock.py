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
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from s3_server import BUCKET, serving_s3

from pipeline.errors import IncompleteRunError, RunBusyError
from pipeline.files.store import local_store
from pipeline.files.store.local_store import SWAP_LOCK
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.write import run_lock
from pipeline.write.run_lock import (
    LOCK_NAME,
    STALE_S,
    Driver,
    alone_in,
    give_back,
    guard_of,
    require_free,
    require_not_lost,
    take,
)

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
    monkeypatch.setattr(run_lock, "BEAT_S", 0.05)
    monkeypatch.setattr(run_lock, "_LOOK_S", 0.02)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


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


def leave_lock(folder: Path, *, age_s: float = 0.0, **changes: str | int) -> Driver:
    """A lock as another process would leave it: it says what `changes` say, and else what is true here."""
    changes = {"token": "of-another", **changes}
    driver = replace(run_lock.this_driver(), **changes)  # type: ignore[arg-type]
    path = folder / LOCK_NAME
    path.write_text(json.dumps(asdict(driver)))
    os.utime(path, times=(time.time() - age_s,) * 2)
    return driver


def this_process() -> Driver:
    """This process as the operating system's other interfaces tell of it; the token alone is its own word."""
    me = psutil.Process()
    started_s = me.create_time() - psutil.boot_time()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Driver(
        host=os.uname().nodename,
        pid=me.pid,
        born=str(round(started_s * os.sysconf("SC_CLK_TCK"))),
        pid_table=f"{boot} pid:[{os.stat('/proc/self/ns/pid').st_ino}]",
        token=run_lock.this_driver().token,
    )


def holder(folder: Path) -> Driver:
    entry = json.loads((folder / LOCK_NAME).read_text())
    del entry["renewed"]
    return Driver(**entry)


def names(folder: Path) -> list[str]:
    """What lies in a folder, but for the empty file whose lock makes a swap one step."""
    return sorted(path.name for path in folder.iterdir() if path.name != SWAP_LOCK)


def test_a_live_driver_is_named_with_what_to_do(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    before = (tmp_path / LOCK_NAME).read_bytes()
    with pytest.raises(RunBusyError) as caught:
        take(tmp_path)
    said = str(caught.value)
    assert caught.value.exit_code == 5
    assert f"process {other.pid} on {os.uname().nodename}" in said
    assert "last sign of life" in said
    assert " s old" in said
    assert f"`kill {other.pid}`" in said
    assert "delete" not in said, "a process that is seen alive is to be stopped, not ignored"
    with pytest.raises(RunBusyError, match="one driver at a time"), alone_in(tmp_path):
        pytest.fail("the body must not run")
    assert (tmp_path / LOCK_NAME).read_bytes() == before
    assert names(tmp_path) == [LOCK_NAME]


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
    with pytest.raises(RunBusyError, match=f"process {parent} "):
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
        RunBusyError, match=rf"process {left.pid} on {left.host} at work, its last sign of life 2\d\d s old"
    ) as caught:
        take(tmp_path)
    assert f"delete {tmp_path / LOCK_NAME}" in str(caught.value)
    leave_lock(tmp_path, pid=left.pid, age_s=STALE_S + 30, **change)
    require_free(tmp_path)
    take(tmp_path)
    assert holder(tmp_path) == this_process()


def test_a_live_process_of_this_machine_keeps_its_lock_however_silent_it_is(tmp_path: Path) -> None:
    """Suspended, or long in one computation: it will write again."""
    born = run_lock._born(os.getppid())
    assert born
    leave_lock(tmp_path, pid=os.getppid(), born=born, age_s=10 * STALE_S)
    with pytest.raises(RunBusyError, match="3000 s old"):
        take(tmp_path)


def test_a_lock_that_does_not_say_whose_it_is_counts_for_some_minutes(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).touch()
    with pytest.raises(RunBusyError, match="has not said its name"):
        take(tmp_path)
    os.utime(tmp_path / LOCK_NAME, times=(time.time() - STALE_S - 30,) * 2)
    take(tmp_path)


def test_a_lock_of_an_earlier_version_is_told_by_its_process(tmp_path: Path) -> None:
    """It has no token, so it is never this process's own."""
    for pid, refused in ((os.getpid(), True), (2**22 + 1, False)):
        leave_lock(tmp_path, pid=pid)
        entry = json.loads((tmp_path / LOCK_NAME).read_text())
        del entry["token"]
        (tmp_path / LOCK_NAME).write_text(json.dumps(entry))
        if refused:
            with pytest.raises(RunBusyError, match=f"process {pid} on "):
                take(tmp_path)
    take(tmp_path)
    assert json.loads((tmp_path / LOCK_NAME).read_text())["token"]


def test_a_full_disk_leaves_no_lock_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local_store, "_fill", full)
    with pytest.raises(OSError, match="No space left on device"):
        take(tmp_path)
    monkeypatch.undo()
    require_free(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ages_follow_the_clock_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_lock(tmp_path, host="other")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    with pytest.raises(RunBusyError, match=r" \d s old"):
        take(tmp_path)


def test_of_two_that_take_over_the_same_stale_lock_one_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes its name between our look and our writing."""
    leave_lock(tmp_path, host="other", age_s=2 * STALE_S)
    rival: list[Driver] = []
    require_stale = run_lock._require_stale

    def slowly(*args: Any) -> None:
        require_stale(*args)
        if not rival:
            rival.append(leave_lock(tmp_path, host="rival"))

    monkeypatch.setattr(run_lock, "_require_stale", slowly)
    with pytest.raises(RunBusyError, match="on rival at work"):
        take(tmp_path)
    assert [found_driver(tmp_path)] == rival


def found_driver(folder: Path) -> Driver:
    """The holder of a lock that `leave_lock` left."""
    return Driver(**json.loads((folder / LOCK_NAME).read_text()))


def test_a_driver_knows_its_own_lock_by_a_text_that_no_other_process_has(tmp_path: Path) -> None:
    """Also where all else is the same: a later process with its pid, on a system that tells no start."""
    take(tmp_path)
    first = (tmp_path / LOCK_NAME).read_bytes()
    assert holder(tmp_path) == this_process()
    take(tmp_path)
    assert holder(tmp_path) == this_process()
    assert (tmp_path / LOCK_NAME).read_bytes() != first, "a renewed lock is another version everywhere"
    twin = leave_lock(tmp_path)
    assert replace(twin, token=this_process().token) == this_process()
    with pytest.raises(RunBusyError, match=f"process {os.getpid()} "):
        take(tmp_path)


def in_the_future(folder: Path, monkeypatch: pytest.MonkeyPatch, *, watch_s: float) -> Driver:
    """A lock of another machine, of tomorrow."""
    monkeypatch.setattr(run_lock, "STALE_S", watch_s)
    return leave_lock(folder, host="other", age_s=-86_400)


def test_a_lock_from_the_future_that_nobody_renews_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock was set back: the age says nothing, so it is watched for as long as a lock may be silent."""
    in_the_future(tmp_path, monkeypatch, watch_s=0.3)
    said: list[str] = []
    began = time.monotonic()
    take(tmp_path, say=said.append)
    assert time.monotonic() - began >= 0.3
    assert holder(tmp_path) == this_process()
    (text,) = said
    assert text.startswith(f"{tmp_path / LOCK_NAME} lies 86")
    assert "a clock was changed" in text


def test_a_lock_from_the_future_that_is_renewed_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its renewed lock lies in the future, too: the sign of life is that it changes."""
    in_the_future(tmp_path, monkeypatch, watch_s=60)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            leave_lock(tmp_path, host="other", age_s=-86_400)

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(RunBusyError, match=r"on other at work, its last sign of life 0 s old"):
        require_free(tmp_path, say=lambda _: None)
    assert looks == [run_lock._LOOK_S] * 3
    assert found_driver(tmp_path).host == "other"


def test_a_lock_from_the_future_that_is_given_back_meanwhile_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_future(tmp_path, monkeypatch, watch_s=60)
    monkeypatch.setattr(time, "sleep", lambda _: (tmp_path / LOCK_NAME).unlink())
    take(tmp_path, say=lambda _: None)
    assert holder(tmp_path) == this_process()


def test_a_lock_some_seconds_ahead_is_no_clock_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines of one store differ that much; nobody waits for it."""
    leave_lock(tmp_path, host="other", age_s=-3)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it was watched"))
    with pytest.raises(RunBusyError, match="on other at work"):
        take(tmp_path, say=lambda _: pytest.fail("it was watched"))


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
    assert names(tmp_path) == []
    assert "run.lock" not in [thread.name for thread in threading.enumerate()]


def test_what_goes_wrong_after_a_takeover_is_told_as_one(tmp_path: Path) -> None:
    """The successor removes intermediate tables: a driver that wakes misses them."""

    def work(*, taken_over: bool) -> None:
        with alone_in(tmp_path):
            take(tmp_path)
            if taken_over:
                leave_lock(tmp_path)
            raise ValueError("need at least one array")

    with pytest.raises(IncompleteRunError, match="taken over") as raised:
        work(taken_over=True)
    assert isinstance(raised.value.__context__, ValueError)
    (tmp_path / LOCK_NAME).unlink()
    with pytest.raises(ValueError, match="one array"):
        work(taken_over=False)


def test_a_lock_is_lost_when_another_has_it_or_nobody(tmp_path: Path) -> None:
    require_not_lost(tmp_path)  # it took none
    take(tmp_path)
    require_not_lost(tmp_path)
    leave_lock(tmp_path)
    with pytest.raises(IncompleteRunError, match="at work"):
        require_not_lost(tmp_path)
    (tmp_path / LOCK_NAME).unlink()
    with pytest.raises(IncompleteRunError, match="its lock is gone"):
        require_not_lost(tmp_path)
    take(tmp_path)
    give_back(tmp_path)
    require_not_lost(tmp_path)


def test_a_guard_asks_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "BEAT_S", 1000.0)
    take(tmp_path)
    guard = guard_of(tmp_path)
    guard()
    leave_lock(tmp_path)
    guard()  # a lock that was held a moment ago is not stale
    monkeypatch.setattr(run_lock, "BEAT_S", 0.0001)
    with pytest.raises(IncompleteRunError, match="taken over"):
        guard()


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    def work() -> None:
        with alone_in(tmp_path):
            take(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert names(tmp_path) == []


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
        assert found_driver(tmp_path) == rival
    assert found_driver(tmp_path) == rival


class TestInABucket:
    """The same rules where there is no file system: conditional writes, and the server's clock."""

    @pytest.fixture
    def folder(self, bucket: str) -> StorePath:
        return store_path(f"{bucket}/{uuid.uuid4()}")

    def left(self, folder: StorePath, **changes: str) -> Driver:
        """The lock of another driver."""
        driver = replace(run_lock.this_driver(), token="of-another", **changes)  # type: ignore[arg-type]
        (folder / LOCK_NAME).write_bytes(json.dumps(asdict(driver)).encode())
        return driver

    def holder(self, folder: StorePath) -> Driver:
        entry = json.loads((folder / LOCK_NAME).read_bytes())
        entry.pop("renewed", None)
        return Driver(**entry)

    def test_a_lock_lives_in_the_body_and_goes_at_its_end(self, folder: StorePath) -> None:
        lock = folder / LOCK_NAME
        with alone_in(folder) as require_still_alone:
            assert not lock.exists()
            take(folder)
            assert self.holder(folder) == this_process()
            first = lock.read_stored().version
            deadline = time.monotonic() + 30
            while lock.read_stored().version == first and time.monotonic() < deadline:
                time.sleep(0.02)
            assert lock.read_stored().version != first, "signs of life"
            assert self.holder(folder) == this_process()
            require_still_alone()
        assert folder.children() == []

    def test_a_live_driver_is_named(self, folder: StorePath) -> None:
        left = self.left(folder, host="other")
        with pytest.raises(RunBusyError, match=r"on other at work, its last sign of life \d s old") as caught:
            take(folder)
        assert f"delete {folder}/{LOCK_NAME}" in str(caught.value)
        assert self.holder(folder) == left

    def test_a_silent_one_is_taken_over_by_the_clock_of_the_server(
        self, folder: StorePath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server tells whole seconds."""
        self.left(folder, host="other")
        monkeypatch.setattr(run_lock, "STALE_S", 1.0)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                take(folder)
                break
            except RunBusyError:
                time.sleep(0.2)
        assert self.holder(folder) == this_process()

    def test_a_driver_that_was_taken_over_learns_of_it_and_leaves_the_new_lock(
        self, folder: StorePath
    ) -> None:
        with alone_in(folder) as require_still_alone:
            take(folder)
            rival = self.left(folder, host="rival")
            with pytest.raises(IncompleteRunError, match=r"taken over; what it committed is kept.*on rival"):
                require_still_alone()
            time.sleep(0.2)  # some beats
        assert self.holder(folder) == rival

    def test_of_many_that_start_together_one_works(
        self, folder: StorePath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Threads, each with a name of its own."""
        drivers = [replace(run_lock.this_driver(), host=f"host {n}", token=f"{n}") for n in range(6)]
        here = threading.local()
        monkeypatch.setattr(run_lock, "this_driver", lambda: here.driver)

        def start(driver: Driver) -> bool:
            here.driver = driver
            try:
                take(folder)
            except RunBusyError:
                return False
            return True

        with ThreadPoolExecutor(len(drivers)) as pool:
            took = list(pool.map(start, drivers))
        (winner,) = [driver for driver, won in zip(drivers, took, strict=True) if won]
        assert self.holder(folder) == winner

    def test_of_many_that_take_over_a_stale_lock_one_works(
        self, folder: StorePath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drivers = [replace(run_lock.this_driver(), host=f"host {n}", token=f"{n}") for n in range(6)]
        stale = self.left(folder, host="gone")
        here = threading.local()
        together = threading.Barrier(len(drivers))

        def only_the_old_one(path: StorePath, held: run_lock._Held, say: object) -> None:
            if held.holder != stale:
                raise RunBusyError("one driver at a time", came="another", remedy="wait")
            together.wait(30)

        monkeypatch.setattr(run_lock, "this_driver", lambda: here.driver)
        monkeypatch.setattr(run_lock, "_require_stale", only_the_old_one)

        def start(driver: Driver) -> bool:
            here.driver = driver
            try:
                take(folder)
            except RunBusyError:
                return False
            return True

        with ThreadPoolExecutor(len(drivers)) as pool:
            took = list(pool.map(start, drivers))
        (winner,) = [driver for driver, won in zip(drivers, took, strict=True) if won]
        assert self.holder(folder) == winner
