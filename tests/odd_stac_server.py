"""A STAC API that misbehaves as a test wishes, and a web server of JSON files, on a port of this machine."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONFORMANCE = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
SORT = "https://api.stacspec.org/v1.0.0/item-search#sort"
FILTER = "https://api.stacspec.org/v1.0.0/item-search#filter"


@dataclass(kw_only=True)
class OddServer:
    """What a test sees and steers."""

    url: str = ""
    items: Sequence[Mapping[str, Any]] = ()
    page_items: int = 2
    """Items of one page, whatever is asked for."""
    matched: int | None = None
    """numberMatched; None: not said."""
    fault: str = ""
    """`repeat`: a page begins with the item that the last one ended with. `lose`: no page but the first two
    has a next link. `lose_once`: the same, on the first walk only. `loop`: the third page leads to the first.
    `endless`: new links to the same page, for ever. `empty`: the same with empty pages. `elsewhere`: the next
    link leads to another host. `text`, `list`, `bomb`, `huge`, `cut`, `drip`: bodies that are no page."""
    get_only: bool = False
    merge: bool = False
    """Whether next links leave the body of the first request to the client."""
    conforms_to: tuple[str, ...] = ()
    statuses: list[int] = field(default_factory=list)
    """Answered first, one per request to /search or a file."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with these."""
    files: dict[str, Any] = field(default_factory=dict)
    """Path -> JSON of static files; bytes are sent as they are."""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    """(method, path with query string, body) of every request."""
    headers_seen: list[dict[str, str]] = field(default_factory=list)

    def searches(self) -> list[Any]:
        """Bodies or query strings of the searches so far."""
        return [body or path for _, path, body in self.requests if path.startswith("/search")]


@contextmanager
def odd_server(**wishes: Any) -> Iterator[OddServer]:
    """Serve until the caller is done."""
    server = OddServer(**wishes)
    http = _QuietServer(("127.0.0.1", 0), partial(_OddHandler, told=server))
    thread = threading.Thread(target=partial(http.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what tests are about."""


class _OddHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, told: OddServer) -> None:
        self._told = told
        super().__init__(*args)

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._respond(json.loads(content) if content else {})

    def do_GET(self) -> None:
        self._respond(None)

    def _respond(self, body: Any) -> None:
        told = self._told
        told.requests.append((self.command, self.path, body))
        told.headers_seen.append(dict(self.headers))
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(self._landing())
        elif path.startswith("/collections"):
            self._send_collection(path)
        elif told.statuses:
            self._send({"detail": "as you wish"}, told.statuses.pop(0), told.headers)
        elif path == "/search":
            self._search(body)
        elif path in told.files:
            self._send(told.files[path])
        else:
            self._send({"detail": "no such file"}, 404)

    def _landing(self) -> dict[str, Any]:
        methods = ("GET",) if self._told.get_only else ("GET", "POST")
        links = [{"rel": "search", "href": "./search", "method": method} for method in methods]
        return {
            "type": "Catalog",
            "id": "odd",
            "description": "misbehaves",
            "stac_version": "1.0.0",
            "conformsTo": [*CONFORMANCE, *self._told.conforms_to],
            "links": [*links, {"rel": "data", "href": "./collections"}],
        }

    def _send_collection(self, path: str) -> None:
        names = sorted({str(item.get("collection")) for item in self._told.items})
        name = urllib.parse.unquote(path.removeprefix("/collections").strip("/"))
        if not name:
            self._send({"collections": [{"id": known} for known in names]})
        elif name in names:
            self._send({"type": "Collection", "id": name})
        else:
            self._send({"detail": "no such collection"}, 404)

    def _search(self, body: Any) -> None:
        told = self._told
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        number = int((body if body is not None else query).get("page", 0))
        if told.fault in ("text", "list", "bomb", "huge", "cut", "drip"):
            self._send_no_page(told.fault)
            return
        start = 0 if told.fault == "endless" else number * told.page_items
        chosen = list(told.items[start : start + told.page_items])
        more = start + told.page_items < len(told.items)
        if told.fault == "repeat" and number:
            chosen = [told.items[start - 1], *chosen]
        page: dict[str, Any] = {"type": "FeatureCollection", "features": chosen, "links": []}
        if told.matched is not None:
            page["numberMatched"] = told.matched
        following: int | None = number + 1 if more else None
        if told.fault in ("lose", "lose_once") and number == 1:
            following = None
            told.fault = "" if told.fault == "lose_once" else told.fault
        elif told.fault == "loop" and number == 2:
            following = 0
        elif told.fault in ("endless", "empty"):
            following = number + 1
        if told.fault == "empty":
            page["features"] = []
        if following is not None:
            page["links"].append(self._next(body, query, following))
        self._send(page)

    def _next(self, body: Any, query: dict[str, str], number: int) -> dict[str, Any]:
        host = "http://other.example" if self._told.fault == "elsewhere" else self._told.url
        if body is None:
            return {
                "rel": "next",
                "href": f"{host}/search?{urllib.parse.urlencode({**query, 'page': number})}",
            }
        sent = {"page": number} if self._told.merge else {**body, "page": number}
        return {
            "rel": "next",
            "href": f"{host}/search",
            "method": "POST",
            "merge": self._told.merge,
            "body": sent,
        }

    def _send_no_page(self, fault: str) -> None:
        if fault == "huge":
            self._send(b'{"features": "' + b"x" * 2_000_000 + b'"}')
        elif fault == "bomb":
            self._send(b"[" * 200_000)
        elif fault == "list":
            self._send([1, 2])
        elif fault == "text":
            self._send(b"<html>busy</html>")
        else:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"features": [')
            self.wfile.flush()
            for _ in range(50 if fault == "drip" else 0):
                time.sleep(0.05)
                self.wfile.write(b" ")
                self.wfile.flush()
            self.close_connection = True

    def _send(self, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
