"""A server that is asked by HTTP with a bearer token: Ray's dashboard, or the API server of Kubernetes.

Nothing here imports Airflow.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

ANSWER_S = 60.0
"""Seconds in which the server must answer. To start a job Ray's makes an actor, which takes some."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request, among those of the job


@dataclass(frozen=True, kw_only=True)
class JobServer:
    """Where jobs are asked for. `url`: empty where it is not known beforehand.

    token, or token_file: who asks. A file is read for every request, because Kubernetes renews what is in it.
    ca_file: who signed the server's certificate, None: those that the system trusts.
    """

    url: str
    token: str = ""
    token_file: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"JobServer({self.url})"

    def client(self) -> httpx.AsyncClient:
        """A client that follows no redirection: the token is for this server."""
        verify = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True
        return httpx.AsyncClient(base_url=self.url, auth=_Bearer(self), verify=verify, timeout=ANSWER_S)


class ServerJobs:
    """Jobs of one server, open while they are used as a context."""

    def __init__(self, server: JobServer) -> None:
        self._client = server.client()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)


class _Bearer(httpx.Auth):
    def __init__(self, server: JobServer) -> None:
        self._server = server

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        token = self._server.token
        if self._server.token_file:
            token = Path(self._server.token_file).read_text().strip()
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer. Raises httpx.HTTPStatusError with what the server said."""
    if answer.is_success:
        return answer
    hint = ""
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        hint = ". The Connection must hold a token that this server takes, of somebody who may do this"
    said = answer.text.strip()[-1000:]
    text = f"{answer.request.url} answered {answer.status_code}{hint}: {said}"
    raise httpx.HTTPStatusError(text, request=answer.request, response=answer)
