"""A stand-in for the API server of Kubernetes, over HTTP, which knows RayJobs of one namespace.

It answers as the real one does: errors are `Status` documents, a name is taken once (409), unknown fields and
what the CRD's schema forbids are refused, `status` of a new resource is dropped, and a deleted resource stays
until its finalizers are gone. Whoever comes may do what the Role `scheduler` of infra/kubernetes allows.
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from manifests import KUBERNETES, SCHEMAS, Document, schema_errors

PATH = "/apis/ray.io/v1/namespaces/terraquery/rayjobs"
VERBS = {"POST": "create", "GET": "get", "DELETE": "delete"}
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    410: "Expired",
    422: "Invalid",
    500: "InternalError",
}
FINALIZER = "ray.io/rayjob-finalizer"


def allowed_verbs() -> list[str]:
    """What the scheduler of infra/kubernetes may do with RayJobs."""
    documents = yaml.safe_load_all((KUBERNETES / "namespace/scheduler.yaml").read_text())
    (role,) = [one for one in documents if one["kind"] == "Role"]
    (rule,) = role["rules"]
    assert rule["resources"] == ["rayjobs"]
    return list(rule["verbs"])


def small_ray_job() -> Document:
    """A RayJob that the schema allows, with nothing in it that is not required."""
    container = {"name": "ray-head", "image": "terraquery"}
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}
    spec = {"submissionMode": "HTTPMode", "entrypoint": "true", "shutdownAfterJobFinishes": True}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "segment"},
        "spec": {**spec, "rayClusterSpec": {"rayVersion": "2.60.0", "headGroupSpec": head}},
    }


@dataclass
class KubeApi:
    """The server's state.

    failures: codes with which it answers the next requests instead. patience_s: how long a deletion takes;
    one that is not waited for does not happen.
    """

    url: str = ""
    token: str = "the-token"
    resources: dict[str, Document] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    patience_s: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    turn: threading.RLock = field(default_factory=threading.RLock)

    def set_status(self, name: str, **status: Any) -> None:
        """What KubeRay would do."""
        with self.turn:
            self.resources[name].setdefault("status", {}).update(status)

    def finish_deletion(self, name: str) -> None:
        """The finalizer is taken off a resource that is being deleted: it is gone."""
        with self.turn:
            assert self.resources[name]["metadata"]["deletionTimestamp"]
            del self.resources[name]

    def answer(self, method: str, target: str, token: str, body: Document) -> tuple[int, Document]:
        """Answer a request: the code and the document."""
        parts = urlsplit(target)
        with self.turn:
            self.asked.append((method, parts.path))
            if token != f"Bearer {self.token}":
                return failure(401, "Unauthorized")
            if self.failures:
                return failure(self.failures.pop(0), "as the test wants")
            if VERBS.get(method) not in allowed_verbs() or (method == "GET" and parts.path == PATH):
                return failure(403, f"cannot {method} {parts.path}")
            if method == "POST" and parts.path == PATH:
                assert parse_qs(parts.query) == {"fieldValidation": ["Strict"]}
                return self._create(body)
            folder, _, name = parts.path.rpartition("/")
            if folder != PATH or name not in self.resources:
                return failure(404, f'rayjobs.ray.io "{name}" not found')
            return self._delete(name) if method == "DELETE" else (200, self.resources[name])

    def _create(self, body: Document) -> tuple[int, Document]:
        name = body["metadata"]["name"]
        if name in self.resources:
            return failure(409, f'rayjobs.ray.io "{name}" already exists')
        wrong = schema_errors(body) if SCHEMAS.is_dir() else []
        if any("Additional properties" in one for one in wrong):
            return failure(400, f"strict decoding error: {'; '.join(wrong)}")
        if wrong:
            return failure(422, f'RayJob.ray.io "{name}" is invalid: {"; ".join(wrong)}')
        made = {**body, "metadata": {**body["metadata"], "uid": f"uid-{len(self.asked)}", "generation": 1}}
        made.pop("status", None)
        self.resources[name] = made
        return 201, made

    def _delete(self, name: str) -> tuple[int, Document]:
        resource = self.resources[name]
        if not resource["metadata"].get("finalizers"):
            del self.resources[name]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        resource["metadata"]["deletionTimestamp"] = "2026-11-30T06:00:00Z"
        return 200, resource


def failure(code: int, message: str) -> tuple[int, Document]:
    """The Status document of an error."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, {**status, "message": message, "reason": REASONS[code], "code": code}


@contextmanager
def kube_api() -> Iterator[KubeApi]:
    """A server that listens on loopback."""
    api = KubeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            token = self.headers.get("Authorization", "")
            if self.command == "DELETE" and api.patience_s:
                time.sleep(api.patience_s)
                if select.select([self.connection], [], [], 0)[0]:  # nobody waits any more
                    self.close_connection = True
                    return
            code, document = api.answer(self.command, self.path, token, body)
            told = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = do_any  # noqa: N815 - the names of http.server

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
