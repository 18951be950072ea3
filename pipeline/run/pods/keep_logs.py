"""Copy the Ray logs of a pod into a bucket, where they outlive the pod.

python -m pipeline.run.pods.keep_logs --to s3://bucket/runs/_clusters/NAME/POD

1. `LogKeeper.copy` writes every log file that has changed since the last time, whole, under its own name.
2. A long file keeps its first and its last part: how it began, and how it ended.
3. `main` does so every minute until SIGTERM comes, and then once more. A pod that is killed outright has lost
   a minute. `--once` is for the hook that runs before a pod stops.

Texts go through `public_text`: a log may hold signed URLs. A bucket that does not answer is told on stderr,
and asked again later: what keeps logs must never end a pod.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.public_text import public_text
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.run.pods.cluster_events import ApiServer, ClusterEvents

SESSION = Path("/tmp/ray/session_latest/logs")
"""Where Ray writes the logs of the newest session of a machine."""

FIRST_BYTES = 1_000_000
LAST_BYTES = 3_000_000
"""What is kept of a longer file: its beginning and its end."""

PERIOD_S = 60.0
"""Seconds between two copies."""


@dataclass
class LogKeeper:
    """The logs of one pod. Remembers what it has copied."""

    folder: Path
    to: StorePath
    _copied: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """File -> size in bytes and time of change in ns, as they were copied."""

    def copy(self) -> int:
        """Copy the files that have changed; returns how many. Raises OSError where the store fails, and
        begins there again at the next call.
        """
        count = 0
        for path in sorted(self.folder.rglob("*")):
            try:
                state = path.stat()
                if not path.is_file():
                    continue
                mark = (state.st_size, state.st_mtime_ns)
                if self._copied.get(path) == mark:
                    continue
                text = shortened(path)
            except OSError:
                continue  # rotated away, or a socket
            name = path.relative_to(self.folder).as_posix()
            (self.to / name).write_bytes(public_text(text).encode())
            self._copied[path] = mark
            count += 1
        return count


def shortened(path: Path) -> str:
    """Read a log. Of a long one the middle is left out, and it says so."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= FIRST_BYTES + LAST_BYTES:
            return file.read().decode(errors="replace")
        first = file.read(FIRST_BYTES)
        file.seek(-LAST_BYTES, os.SEEK_END)
        last = file.read()
    left = size - len(first) - len(last)
    return "\n".join(
        (first.decode(errors="replace"), f"[{left:,} bytes are left out here]", last.decode(errors="replace"))
    )


def keep_once(keeper: LogKeeper, events: ClusterEvents | None) -> None:
    """Copy logs and events. What fails is told, and the other is done all the same."""
    jobs = [("logs", keeper.copy)]
    if events is not None:
        jobs.append(("events", lambda: events.copy(keeper.to)))
    for what, copy in jobs:
        try:
            copy()
        except OSError as error:
            sys.stderr.write(f"{what} were not copied: {public_text(str(error), most_chars=300)}\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("keep_logs", description=(__doc__ or "").partition("\n")[0])
    top.add_argument("--to", required=True, metavar="PLACE", help="folder or s3://bucket/prefix of this pod")
    top.add_argument(
        "--session", type=Path, default=SESSION, metavar="DIR", help=f"Ray's logs (default: {SESSION})"
    )
    top.add_argument(
        "--events-of", default="", metavar="CLUSTER", help="also keep Kubernetes' events of this RayCluster"
    )
    top.add_argument("--once", action="store_true", help="copy once and end")
    return top


def main(argv: list[str] | None = None) -> int:
    """Keep the logs of this pod until it goes; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        to = store_path(args.to, "--to")
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    keeper = LogKeeper(args.session, to)
    api = ApiServer.of_pod() if args.events_of else None
    events = None if api is None else ClusterEvents(api, args.events_of)
    if args.once:
        keep_once(keeper, events)
        return 0
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.wait(PERIOD_S):
        keep_once(keeper, events)
    keep_once(keeper, events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
