"""Stopping all jobs of a head, against a job server of the test that wants a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.run.pods.stop_jobs import JobServer, main, stop_jobs, token_of


class Jobs(ThreadingHTTPServer):
    """Jobs by their ids; a job that is asked to stop still answers twice that it runs."""

    states: dict[str, str]
    stubborn: frozenset[str] = frozenset()
    looks_left: dict[str, int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Jobs

    def _reply(self, document: object) -> None:
        if self.headers["Authorization"] != "Bearer of-the-cluster":
            self.send_error(401)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def do_GET(self) -> None:
        for job in self.server.looks_left:
            self.server.looks_left[job] -= 1
            if self.server.looks_left[job] == 0:
                self.server.states[job] = "STOPPED"
        jobs = [{"submission_id": job, "status": state} for job, state in self.server.states.items()]
        self._reply([*jobs, {"submission_id": None, "status": "RUNNING"}])  # a driver that nobody submitted

    def do_POST(self) -> None:
        job = self.path.split("/")[3]
        if self.server.states[job] not in ("RUNNING", "PENDING"):
            self.send_error(500)
            return
        if job not in self.server.stubborn:
            self.server.looks_left[job] = 2
        self._reply({"stopped": True})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    server = Jobs(("127.0.0.1", 0), Answers)
    server.states = {"night": "RUNNING", "second": "PENDING", "old": "SUCCEEDED"}
    server.looks_left = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


ENVIRON = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-cluster"}


def test_every_job_at_work_is_stopped_and_waited_for(jobs: Jobs) -> None:
    assert stop_jobs(JobServer(jobs.url, ENVIRON), wait_s=30) == []
    assert jobs.states == {"night": "STOPPED", "second": "STOPPED", "old": "SUCCEEDED"}


def test_a_job_that_does_not_end_is_named(jobs: Jobs) -> None:
    jobs.stubborn = frozenset({"night"})
    assert stop_jobs(JobServer(jobs.url, ENVIRON), wait_s=1.2) == ["night"]


def test_without_the_token_it_fails_and_says_so(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert main(["--server", jobs.url]) == 1
    assert "401" in capsys.readouterr().err
    assert jobs.states["night"] == "RUNNING"


def test_the_token_is_the_one_that_ray_would_send(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of a file\n")
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}) == "of a file"
    assert token_of({"RAY_AUTH_TOKEN_PATH": "/none", "RAY_AUTH_TOKEN": "given"}) == "given"
    assert token_of({}) == ""
