"""Counts requests that reach a bucket of `s3_server`, with their bytes, beside what a run tells of them."""

from __future__ import annotations

import urllib.parse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files.store.store_path import StorePath
from pipeline.run.events.event_log import read_events
from pipeline.write.run_dir import RunDir

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request."""

    kind: str
    """puts, gets, heads, lists or deletes, as a bill of Amazon's would group them."""
    key: str
    n_bytes: int
    """Of the object, as far as they were sent."""


class CountedS3:
    """Notes every request that passes through `watch`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def watch(self, app: WSGIApplication) -> WSGIApplication:
        """Put the notes around a server."""

        def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            kind = kind_of(environ["REQUEST_METHOD"], environ["QUERY_STRING"])
            statuses: list[str] = []

            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
                statuses.append(status)
                return start_response(status, headers, *rest)

            sent = int(environ.get("CONTENT_LENGTH") or 0) if environ["REQUEST_METHOD"] == "PUT" else 0
            body = list(app(environ, start))
            if kind == "gets" and statuses[0].startswith("2"):
                sent = sum(map(len, body))
            key = environ["PATH_INFO"].removeprefix("/").partition("/")[2]
            self.asked.append(Asked(kind=kind, key=key, n_bytes=sent))
            return body

        return serve

    def until(self, key_start: str, kind: str) -> list[Asked]:
        """Requests before the last one of a kind for a key that begins so."""
        found = [n for n, one in enumerate(self.asked) if one.kind == kind and one.key.startswith(key_start)]
        return self.asked[: found[-1]]


def kind_of(method: str, query: str) -> str:
    words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    if method == "GET":
        return "lists" if "list-type" in words or "uploads" in words else "gets"
    if method == "POST":
        return "deletes" if "delete" in words else "puts"
    return {"PUT": "puts", "HEAD": "heads", "DELETE": "deletes"}[method]


def told_traffic(place: StorePath | Path) -> Counter[str]:
    """All that the log of a run tells of requests, by the names of `pipeline.files.traffic`."""
    found = Counter[str]()
    for event in read_events(RunDir(place)):
        if event.event == "traffic":
            found.update(event.values["counts"])
        if event.event == "block":
            for reading in event.values["times"]:
                found.update(reading["traffic"])
    return found


def store_counts(asked: Sequence[Asked]) -> dict[str, int]:
    """Count them in the words of `pipeline.files.traffic`."""
    found = Counter(f"store_{one.kind}" for one in asked)
    found["store_written_bytes"] = sum(one.n_bytes for one in asked if one.kind == "puts")
    found["store_read_bytes"] = sum(one.n_bytes for one in asked if one.kind == "gets")
    return {name: n for name, n in found.items() if n}
