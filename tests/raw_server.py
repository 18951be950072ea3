"""A server on this machine that sends whatever bytes a test wants, however slowly, and counts who asks."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class RawServer:
    """What a test sees of it."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    """Request line and headers of every request."""
    connections: int = 0
    resets: bool = False
    """Whether a connection ends with a reset where it would be closed."""
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"


Answer = Callable[[str], Iterable[bytes]]
"""Request text -> pieces of the answer, after which the connection is closed."""


@contextmanager
def raw_server(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Serve every connection with `answer`, on a port of this machine. `tls`: over https, with it."""
    server = RawServer(tls=tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        ended = threading.Event()
        thread = threading.Thread(target=_listen, args=(listener, server, answer, ended), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            ended.set()
            with suppress(OSError), socket.socket() as last:  # names may lead elsewhere in a test
                last.settimeout(5)
                last.connect(("127.0.0.1", server.port))
            thread.join(timeout=5)


def _listen(listener: socket.socket, server: RawServer, answer: Answer, ended: threading.Event) -> None:
    while True:
        client, _ = listener.accept()
        if ended.is_set():
            client.close()
            return
        server.connections += 1
        threading.Thread(target=_serve, args=(client, server, answer, ended), daemon=True).start()


def _serve(client: socket.socket, server: RawServer, answer: Answer, ended: threading.Event) -> None:
    with (
        suppress(OSError),
        server.tls.wrap_socket(client, server_side=True) if server.tls else client as client,
    ):
        text = b""
        while b"\r\n\r\n" not in text:
            piece = client.recv(65536)
            if not piece:
                return
            text += piece
        server.requests.append(text.decode("latin-1"))
        for piece in answer(server.requests[-1]):
            if ended.is_set():
                return
            client.sendall(piece)
        if server.resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def canary() -> Iterator[RawServer]:
    """A server that nobody may ask: `connections` must stay 0."""
    with raw_server(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere"]) as server:
        yield server


def wanted_range(request: str) -> tuple[int, int]:
    """Read first and last byte of the Range header of a request."""
    found = re.search(r"range: bytes=(\d+)-(\d+)", request, re.IGNORECASE)
    assert found is not None, request
    return int(found[1]), int(found[2])


def range_head(first: int, last: int, total: int | str, **headers: str) -> bytes:
    """Status line and headers of an honest answer to a range request; `headers` add to them."""
    lines = {
        "Content-Range": f"bytes {first}-{last}/{total}",
        "Content-Length": str(last - first + 1),
    } | {key.replace("_", "-"): value for key, value in headers.items()}
    text = "".join(f"{key}: {value}\r\n" for key, value in lines.items() if value)
    return f"HTTP/1.1 206 Partial Content\r\n{text}\r\n".encode("latin-1")


def drip(pieces: Iterable[bytes], pause_s: float) -> Iterator[bytes]:
    """Send piece after piece with pauses."""
    for piece in pieces:
        yield piece
        time.sleep(pause_s)
