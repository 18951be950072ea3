"""Stop the jobs of the Ray head on this machine, and wait until they have ended.

python -m pipeline.run.pods.stop_jobs --wait 70

A head that is told to go takes its drivers with it. This asks them first, as `ray job stop` does: every
driver gets SIGTERM, finishes the block at hand, and gives its lock back (`stop_signals`). Ray kills it after
RAY_JOB_STOP_WAIT_TIME_S. The hook that runs before a head's pod stops calls it.

It speaks to the job server by HTTP (Ray's Jobs API) and does not import ray, so it loses no time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.files.public_text import public_text

SERVER = "http://127.0.0.1:8265"
"""Where a head serves its jobs."""

AT_WORK = ("PENDING", "RUNNING")
"""States of a job that has not ended."""

_ANSWER_S = 5.0
_PAUSE_S = 0.5


class JobServer:
    """The jobs of a head. Every method raises OSError when it does not answer or refuses."""

    def __init__(self, url: str = SERVER, environ: Mapping[str, str] = os.environ) -> None:
        self._url = url
        self._token = token_of(environ)

    def at_work(self) -> list[str]:
        """List the submission ids of the jobs that have not ended."""
        jobs = self._ask("GET", "/api/jobs/")
        return sorted(
            str(job["submission_id"])
            for job in jobs
            if job.get("submission_id") and job.get("status") in AT_WORK
        )

    def stop(self, submission_id: str) -> None:
        """Ask a job to stop; returns at once."""
        self._ask("POST", f"/api/jobs/{urllib.parse.quote(submission_id, safe='')}/stop")

    def _ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        asked = urllib.request.Request(self._url + path, method=method, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=_ANSWER_S) as answer:
                return json.load(answer)
        except (ValueError, http.client.HTTPException) as error:
            raise OSError(f"the job server did not answer with JSON: {error}") from error


def token_of(environ: Mapping[str, str]) -> str:
    """The token that Ray's own commands would send. Empty: there is none. Raises OSError for a file that
    cannot be read.
    """
    if environ.get("RAY_AUTH_TOKEN"):
        return environ["RAY_AUTH_TOKEN"]
    path = environ.get("RAY_AUTH_TOKEN_PATH", "")
    return Path(path).read_text().strip() if path else ""


def stop_jobs(server: JobServer, *, wait_s: float) -> list[str]:
    """Stop all jobs and wait for their ends; returns those that have not ended in that time.

    Raises OSError when the server cannot be asked for its jobs at all.
    """
    for job in server.at_work():
        with suppress(urllib.error.HTTPError):  # it has ended by itself
            server.stop(job)
    until = time.monotonic() + wait_s
    while True:
        try:
            left = server.at_work()
        except OSError:  # busy with ending
            left = ["(the job server does not answer)"]
        if not left or time.monotonic() > until:
            return left
        time.sleep(_PAUSE_S)


def main(argv: list[str] | None = None) -> int:
    """Stop the jobs; returns 0 when all have ended, 1 when some have not or nobody answered."""
    top = argparse.ArgumentParser("stop_jobs", description=(__doc__ or "").partition("\n")[0])
    top.add_argument("--server", default=SERVER, metavar="URL", help=f"job server (default: {SERVER})")
    top.add_argument("--wait", type=float, default=70.0, metavar="S", help="seconds to wait (default: 70)")
    args = top.parse_args(argv)
    try:
        left = stop_jobs(JobServer(args.server), wait_s=args.wait)
    except OSError as error:
        sys.stderr.write(f"error: {public_text(str(error), most_chars=300)}\n")
        return 1
    if left:
        sys.stderr.write(f"still at work: {', '.join(left)}\n")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
