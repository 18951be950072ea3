"""Events of one cluster, from an API server of the test that speaks TLS and wants its token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from certificates import Authority

from pipeline.files.store.store_path import store_path
from pipeline.run.pods.cluster_events import ApiServer, ClusterEvents

TOKEN = "of-the-account"


def event(uid: str, about: str, *, last: str, message: str = "") -> dict[str, Any]:
    kind, _, name = about.partition("/")
    return {
        "metadata": {"uid": uid},
        "involvedObject": {"kind": kind, "name": name},
        "lastTimestamp": last,
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": message,
    }


PENDING = event("1", "Pod/night-x7k2-gpu-worker-a", last="2026-11-29T01:00:00Z", message="0/3 nodes")
OF_JOB = event("2", "RayJob/night", last="2026-11-29T00:59:00Z", message="token=hush-hush-hush")
OF_CLUSTER = event("3", "RayCluster/night-x7k2", last="2026-11-29T01:01:00Z")
OF_OTHERS = [
    event("4", "Pod/night-x7k2b-head", last="2026-11-29T01:00:00Z"),
    event("5", "RayJob/nigh", last="2026-11-29T01:00:00Z"),
]


class Api(ThreadingHTTPServer):
    """Two events to a page."""

    events: list[dict[str, Any]]


class Answers(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        if not allowed or asked.path != "/api/v1/namespaces/terraquery/events":
            self.send_error(403)
            return
        start = int(parse_qs(asked.query).get("continue", ["0"])[0])
        items = self.server.events[start : start + 2]
        more = str(start + 2) if start + 2 < len(self.server.events) else ""
        body = json.dumps({"metadata": {"continue": more}, "items": items}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Api, ApiServer]]:
    """A server, and how a pod sees it."""
    account = tmp_path / "account"
    account.mkdir()
    authority = Authority(tmp_path)
    (account / "ca.crt").write_bytes(authority.file.read_bytes())
    (account / "token").write_text(TOKEN + "\n")
    (account / "namespace").write_text("terraquery")
    api = Api(("127.0.0.1", 0), Answers)
    api.socket = authority.server(["127.0.0.1"]).wrap_socket(api.socket, server_side=True)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    try:
        yield api, ApiServer(url=f"https://127.0.0.1:{api.server_port}", account=account)
    finally:
        api.shutdown()
        api.server_close()


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_the_events_of_a_cluster_stay_when_kubernetes_forgets_them(
    server: tuple[Api, ApiServer], tmp_path: Path
) -> None:
    api, pod = server
    api.events = [PENDING, *OF_OTHERS, OF_JOB]
    assert ClusterEvents(pod, "night-x7k2").copy(store_path(tmp_path / "kept")) == 2
    api.events = [OF_CLUSTER]
    events = ClusterEvents(pod, "night-x7k2")  # of a sidecar that was started again
    assert events.copy(store_path(tmp_path / "kept")) == 3
    lines = written(tmp_path / "kept")
    assert [line["about"] for line in lines] == [
        "RayJob/night",
        "Pod/night-x7k2-gpu-worker-a",
        "RayCluster/night-x7k2",
    ]
    assert lines[0]["message"] == "token=***"
    assert lines[1]["message"] == "0/3 nodes"


def test_an_event_that_comes_again_is_one_line(server: tuple[Api, ApiServer], tmp_path: Path) -> None:
    api, pod = server
    events = ClusterEvents(pod, "night-x7k2")
    api.events = [PENDING]
    events.copy(store_path(tmp_path / "kept"))
    api.events = [PENDING | {"count": 7, "lastTimestamp": "2026-11-29T02:00:00Z"}]
    events.copy(store_path(tmp_path / "kept"))
    assert [(line["count"], line["last"]) for line in written(tmp_path / "kept")] == [
        (7, "2026-11-29T02:00:00Z")
    ]


def test_a_refusal_is_an_os_error(server: tuple[Api, ApiServer], tmp_path: Path) -> None:
    _, pod = server
    (pod.account / "token").write_text("of somebody else")
    with pytest.raises(OSError, match="403"):
        ClusterEvents(pod, "night-x7k2").copy(store_path(tmp_path / "kept"))
