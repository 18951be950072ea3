"""A web server of one folder, in a process of its own, that counts what is asked of it.

    python tests/benchmarks/range_server.py FOLDER --delay 0.03

It prints its address, and waits `--delay` seconds before every answer, as a network would. `/counts` answers
with the requests and bytes since it was asked last. The benchmarks start it by `serve`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass(frozen=True)
class Counts:
    """What was asked since the counts were read last."""

    requests: int
    sent_bytes: int


@dataclass(frozen=True)
class RangeServer:
    """A running server, seen from the process that started it."""

    url: str

    def counts(self) -> Counts:
        """Read the counts; they begin again at 0."""
        with urllib.request.urlopen(f"{self.url}/counts") as answer:
            return Counts(**json.load(answer))


@contextmanager
def serve(folder: Path, delay_s: float) -> Iterator[RangeServer]:
    """Serve a folder from another process, so that it takes no time of this one's interpreter."""
    command = [sys.executable, __file__, str(folder), "--delay", str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield RangeServer(url=process.stdout.readline().strip())
        finally:
            process.terminate()


class _State:
    def __init__(self, folder: Path, delay_s: float) -> None:
        self.folder = folder
        self.delay_s = delay_s
        self.lock = threading.Lock()
        self.requests = 0
        self.sent_bytes = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, *args: object, state: _State) -> None:
        self._state = state
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        if self.path == "/counts":
            self._counts()
        else:
            self._answer(body=True)

    def _counts(self) -> None:
        state = self._state
        with state.lock:
            text = json.dumps({"requests": state.requests, "sent_bytes": state.sent_bytes}).encode()
            state.requests = state.sent_bytes = 0
        self._send(200, text, {}, body=True)

    def _answer(self, *, body: bool) -> None:
        state = self._state
        time.sleep(state.delay_s)
        path = state.folder / unquote(self.path.partition("?")[0]).lstrip("/")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        content = b""
        status = 404
        headers: dict[str, str] = {}
        if path.is_file():
            size = path.stat().st_size
            first = int(found[1]) if found else 0
            last = min(int(found[2] or size - 1), size - 1) if found else size - 1
            with path.open("rb") as file:
                file.seek(first)
                content = file.read(last - first + 1) if body else b""
            status = 206 if found else 200
            headers = {"Accept-Ranges": "bytes", "ETag": f'"{size}"'}
            if found:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            if not body:
                headers["Content-Length"] = str(last - first + 1)
        with state.lock:
            state.requests += 1
            state.sent_bytes += len(content)
        self._send(status, content, headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)
        self.wfile.flush()


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    args = parser.parse_args(argv)
    state = _State(args.folder, args.delay)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, state=state))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
