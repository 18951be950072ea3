"""Helper processes end with the process that started them, however it ends.

vLLM's engine does not notice that its parent was killed: it would keep its memory, also that of a GPU, until
somebody ends it by hand. Two agents of Ray stay in the same way.

1. A process names its helpers to a *guard*: a shell in a session of its own, whose input is a pipe from it.
2. The pipe closes when that process ends. Then the guard kills what was named to it. A process that only has
   the number of an ended one started at another time, and is left alone.
3. `guarded` names the child processes that appear while its body runs, and lets the guard go once they have
   ended by themselves.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

LOOK_S = 0.05
"""Seconds between two looks for new processes."""

_GUARD = """
while read -r pid started; do
  if [ "$pid" = over ]; then exit 0; fi
  named="$named $pid:$started"
done
for each in $named; do
  pid="${each%%:*}"
  started="${each##*:}"
  if [ "$started" != unknown ]; then
    stat="$(cat "/proc/$pid/stat")" || continue
    set -- ${stat##*) }
    shift 19
    if [ "$1" != "$started" ]; then continue; fi
  fi
  kill -9 "$pid"
done
"""
"""Field 22 of /proc/PID/stat is the start of a process, in clock ticks since boot. The name, field 2, may
hold blanks (man page proc_pid_stat).
"""

_AT_WORK: set[ProcessGuard] = set()
"""Those that were not let go: their pipes stay open as long as this process lives."""


class ProcessGuard:
    """Kills named processes when this one ends."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # neither Ctrl-C nor the end of a terminal reaches it
            text=True,
        )
        _AT_WORK.add(self)

    @property
    def pid(self) -> int:
        """Of the guard."""
        return self._shell.pid

    def name(self, pid: int) -> None:
        """Add a process."""
        self._tell(f"{pid} {_started(pid)}")

    def let_go(self) -> None:
        """End the guard; what was named lives on."""
        self._tell("over")
        self._shell.wait()
        _AT_WORK.discard(self)

    def _tell(self, line: str) -> None:
        assert self._shell.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed the guard
            self._shell.stdin.write(f"{line}\n")
            self._shell.stdin.flush()


@contextmanager
def guarded() -> Iterator[None]:
    """Guard the child processes (those of multiprocessing) that are started in the body, to their end."""
    before = set(multiprocessing.active_children())
    started = threading.Event()
    thread = threading.Thread(target=_watch, args=(before, started), name="process guard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        started.set()


def _watch(before: set[BaseProcess], started: threading.Event) -> None:
    named: set[BaseProcess] = set()
    guard = None
    over = False
    while not over:
        over = started.wait(LOOK_S)
        for child in set(multiprocessing.active_children()) - before - named:
            guard = guard or ProcessGuard()
            if child.pid is not None:
                guard.name(child.pid)
            named.add(child)
    for child in named:
        wait([child.sentinel])
    if guard is not None:
        guard.let_go()


def _started(pid: int) -> str:
    """When a process started, as /proc has it; `unknown` on systems without."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "unknown"
    return text.rpartition(") ")[2].split()[19]
