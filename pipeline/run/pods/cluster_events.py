"""What Kubernetes says of a RayCluster: why a pod waits for a machine, was evicted, or was killed.

Kubernetes forgets its events after an hour. `ClusterEvents` reads those of one cluster, and writes them as
JSON lines, oldest first. What is in the file stays there when Kubernetes has forgotten it.

The API is that of the core group, version 1: `GET /api/v1/namespaces/NAME/events`. The pod's service account
needs `list` on `events`, and nothing else.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files.public_text import public_json, public_text
from pipeline.files.store.store_path import StorePath

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, the certificate of the API server, and the name of its namespace."""

NAME = "events.jsonl"

_ANSWER_S = 20.0
_PAGE = 500
"""Events in one answer."""

_MOST_PAGES = 20


@dataclass(frozen=True, kw_only=True)
class ApiServer:
    """The API server as a pod sees it."""

    url: str = "https://kubernetes.default.svc"
    account: Path = ACCOUNT

    @classmethod
    def of_pod(cls) -> ApiServer | None:
        """The one of this pod. None: this is no pod, or one without an account."""
        return cls() if (ACCOUNT / "token").is_file() else None

    def events(self) -> list[dict[str, Any]]:
        """List the events of the pod's own namespace. Raises OSError when the server fails or refuses."""
        namespace = (self.account / "namespace").read_text().strip()
        found: list[dict[str, Any]] = []
        page = ""
        for _ in range(_MOST_PAGES):
            answer = self._get(f"/api/v1/namespaces/{namespace}/events?limit={_PAGE}{page}")
            found += answer.get("items") or []
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                break
            page = f"&continue={urllib.parse.quote(following, safe='')}"
        return found

    def _get(self, path: str) -> dict[str, Any]:
        token = (self.account / "token").read_text().strip()  # it is renewed, so it is read each time
        asked = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        trusted = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        )
        try:
            with opener.open(asked, timeout=_ANSWER_S) as answer:
                read = json.load(answer)
        except (ValueError, http.client.HTTPException) as error:
            raise OSError(f"the API server did not answer with JSON: {error}") from error
        if not isinstance(read, dict):
            raise OSError("the API server did not answer with an object")
        return read


@dataclass
class ClusterEvents:
    """The events of one RayCluster, of its pods, and of the RayJob it was made for."""

    api: ApiServer
    cluster: str
    _seen: dict[str, dict[str, Any]] | None = None
    """Line of the file by the event's unique id. None: the file was not read yet."""

    def copy(self, to: StorePath) -> int:
        """Write all events that were ever seen, if there are new ones; returns how many there are. Raises
        OSError.
        """
        if self._seen is None:
            self._seen = _kept(to / NAME)
        before = dict(self._seen)
        for event in self.api.events():
            about = event.get("involvedObject") or {}
            if self._concerns(str(about.get("kind", "")), str(about.get("name", ""))):
                line = _line(event)
                self._seen[line["uid"]] = line
        if self._seen != before:
            lines = sorted(self._seen.values(), key=lambda line: (line["last"], line["about"]))
            text = "".join(public_json(line, indent=None) + "\n" for line in lines)
            (to / NAME).write_bytes(text.encode())
        return len(self._seen)

    def _concerns(self, kind: str, name: str) -> bool:
        """KubeRay names what belongs to a cluster `CLUSTER-...`, and the cluster of a job `JOB-...`."""
        if kind == "RayJob":
            return self.cluster.startswith(f"{name}-")
        return name == self.cluster or name.startswith(f"{self.cluster}-")


def _kept(file: StorePath) -> dict[str, dict[str, Any]]:
    """What an earlier process of this pod has written."""
    try:
        lines = [json.loads(text) for text in file.read_text().splitlines()]
    except (FileNotFoundError, ValueError):
        return {}
    return {line["uid"]: line for line in lines if isinstance(line, dict) and "uid" in line}


def _line(event: dict[str, Any]) -> dict[str, Any]:
    about = event.get("involvedObject") or {}
    series = event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime") or ""
    return {
        "uid": str((event.get("metadata") or {}).get("uid", "")),
        "first": first,
        "last": event.get("lastTimestamp") or series.get("lastObservedTime") or first,
        "count": event.get("count") or series.get("count") or 1,
        "type": event.get("type", ""),
        "reason": event.get("reason", ""),
        "about": f"{about.get('kind', '')}/{about.get('name', '')}",
        "message": public_text(str(event.get("message", ""))),
    }
