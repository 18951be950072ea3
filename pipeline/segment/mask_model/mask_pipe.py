"""The parent's side of the pipe to a mask model's process. `child/mask_child.py` says what the bytes mean.

1. `MaskPipe` starts the process in a session of its own. A guard ends it when this process ends, however.
2. `ask` writes a request and reads its reply, and gives up at a time. A child that hangs need not read, so
   writing has the limit, too.
3. Standard error of the child goes line by line to this process's, and the last lines are kept: they say why
   it ended.

After an `EndedError` or `LateError` the pipe is of no use any more.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.files.public_text import public_text
from pipeline.process_guard import ProcessGuard
from pipeline.segment.mask_model.child.mask_child import FrameError, pack_frame, read_frame

LAST_LINES = 6
"""Lines of the child's standard error that are kept."""

_LINE_CHARS = 300
_CHUNK_BYTES = 1 << 20
_DYING_S = 5.0
"""Seconds that a killed child has to be gone, and one that ended to close its standard error."""

_NOT_PASSED = ("PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX")
"""Beginnings of variables that belong to this process's environment, not to the child's."""


class EndedError(Exception):
    """The child ended, or what it wrote is no reply."""


class LateError(Exception):
    """The child did not answer in time."""


class MaskPipe:
    """One child process. It answers one request at a time."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: str,
        environ: Mapping[str, str] = os.environ,
        passes_on: bool = True,
    ) -> None:
        """Start the child. Raises OSError where there is no such program.

        `passes_on`: whether what it writes to standard error goes to ours as well.
        """
        self._passes_on = passes_on
        self._child = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={name: value for name, value in environ.items() if not name.startswith(_NOT_PASSED)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._to_child = self._child.stdin.fileno()
        self._from_child = self._child.stdout.fileno()
        os.set_blocking(self._to_child, False)
        os.set_blocking(self._from_child, False)
        self._guard: ProcessGuard | None = ProcessGuard()
        self._guard.name(self._child.pid)
        self._lines = deque[str](maxlen=LAST_LINES)
        self._listener = threading.Thread(target=self._listen, name="mask model", daemon=True)
        self._listener.start()
        self._asked = 0

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    @property
    def last_words(self) -> str:
        """The last lines that the child wrote to standard error, as one."""
        return " | ".join(self._lines)

    def ask(
        self, op: str, fields: Mapping[str, Any], payload: bytes = b"", *, limit_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and return its reply. Raises EndedError, LateError."""
        until = time.monotonic() + limit_s
        self._asked += 1
        try:
            self._write(pack_frame({"op": op, "id": self._asked, **fields}, payload), until)
            header, masks = read_frame(lambda size: self._read(size, until))
        except FrameError as error:
            raise EndedError(f"it wrote what is no reply: {error}") from error
        if header.get("id") != self._asked:
            raise EndedError(f"it answered request {header.get('id')!r}, and {self._asked} was asked")
        return header, masks

    def close(self) -> None:
        """Kill the child and what it started. May be called twice."""
        if self._guard is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_DYING_S)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        self._listener.join(_DYING_S)
        self._guard.let_go()
        self._guard = None

    def _write(self, data: bytes, until: float) -> None:
        waiting = memoryview(data)
        while waiting:
            self._wait(self._to_child, select.POLLOUT, until)
            try:
                waiting = waiting[os.write(self._to_child, waiting[:_CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise EndedError(self._how_it_ended()) from error

    def _read(self, size: int, until: float) -> bytes:
        parts = []
        while size:
            self._wait(self._from_child, select.POLLIN, until)
            part = os.read(self._from_child, min(size, _CHUNK_BYTES))
            if not part:
                raise EndedError(self._how_it_ended())
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, fd: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise LateError

    def _how_it_ended(self) -> str:
        try:
            code = self._child.wait(_DYING_S)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        self._listener.join(_DYING_S)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"it ended with {how}" + (f", after: {self.last_words}" if self._lines else "")

    def _listen(self) -> None:
        """Pass on what the child says, until it closes its standard error."""
        assert self._child.stderr is not None
        with self._child.stderr as stream:
            for raw in iter(lambda: stream.readline(_CHUNK_BYTES), b""):
                line = public_text(raw.decode("utf-8", "replace")).strip()
                if line:
                    self._lines.append(line[:_LINE_CHARS])
                    if not self._passes_on:
                        continue
                    with suppress(OSError, ValueError):
                        print(line, file=sys.stderr)  # noqa: T201
