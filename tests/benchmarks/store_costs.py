"""What committing costs: the share of a run's time on a local disk, and requests per block in a bucket.

python tests/benchmarks/store_costs.py

1. A drawn region is run with oracle models, in this process. The time in `write_block_record` and in the
   journal of attempts is divided by the time of the whole run. Runs are repeated; the median counts.
2. The same region is run into a bucket of a server on this machine (moto). Requests are counted by that
   server: those per block, which are divided by the number of blocks, and those of each publication.
3. The same once more as several machines do it (`--machines several`): tables lie in the bucket, and every
   task copies the records that it reads. All tasks run in this process, which shares nothing between them.
   `--squares` has blocks painted in squares of 4 x 4, as in regions of at least 1,024 blocks.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from werkzeug.serving import WSGIRequestHandler

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from job_files import load_job  # noqa: E402
from label_worlds import blobs, write_label_world  # noqa: E402

from pipeline.files.store.s3_store import S3Store  # noqa: E402
from pipeline.run import flow  # noqa: E402
from pipeline.run.infer import steps  # noqa: E402
from pipeline.run.infer.attempts import AttemptJournal  # noqa: E402
from pipeline.run.merge import merge_job  # noqa: E402
from tests.s3_server import BUCKET, serving_s3  # noqa: E402

TILES = "[tiles]\npx = 256\nhalo_px = 32\nblock_tiles = 4\n"


def main() -> int:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--side", type=int, default=3072, help="pixels a side of the region")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--machines", choices=["one", "several"], default="one")
    options.add_argument("--squares", action="store_true", help="paint as a large region is painted")
    args = options.parse_args()
    if args.squares:
        merge_job.LEAST_GROUPS = 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = write_label_world(
            folder / "world", blobs(np.random.default_rng(7), args.side, args.side, grain=24)
        )
        (folder / "options.toml").write_text(TILES)
        words = [
            *("--source", str(world.scene), "--whole-scene", "--query", "anything", "--runner", "local"),
            *("--models", f"oracle:{world.labels}", "--config", str(folder / "options.toml")),
        ]
        run = load_job("segment_region").main
        shares = [commit_share(run, words, folder / f"out{number}") for number in range(args.repeats)]
        if shares:
            print(
                f"commits: {100 * statistics.median(shares):.2f} % of the run's time "
                f"({100 * min(shares):.2f} to {100 * max(shares):.2f}, {args.repeats} runs)"
            )
        requests, n_blocks = requests_of(run, words, one_machine=args.machines == "one")
    for kind, count in sorted(requests.items(), key=lambda item: -item[1]):
        print(f"{count:8d} requests, {count / n_blocks:6.2f} per block  {kind}")
    print(f"{sum(requests.values()):8d} requests in all, {n_blocks} blocks")
    return 0


def commit_share(run: Callable[[list[str]], int], words: list[str], out: Path) -> float:
    """Share of a run's time in commits of block records and in the journal."""
    spent = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[0] += time.perf_counter() - start

        return call

    with (
        mock.patch.object(steps, "write_block_record", timed(steps.write_block_record)),
        mock.patch.object(AttemptJournal, "begin", timed(AttemptJournal.begin)),
        redirect_stdout(sys.stderr),
    ):
        start = time.perf_counter()
        assert run([*words, "--out", str(out)]) == 0
        return spent[0] / (time.perf_counter() - start)


def requests_of(
    run: Callable[[list[str]], int], words: list[str], *, one_machine: bool
) -> tuple[Counter[str], int]:
    """Requests of a run into a bucket by what they are for, and the number of its blocks."""
    with (
        serving_s3(),
        mock.patch.object(flow, "is_one_machine", return_value=one_machine),
        redirect_stdout(sys.stderr),
        counted() as requests,
    ):
        assert run([*words, "--out", f"s3://{BUCKET}/run"]) == 0
        counts = Counter(requests)
        n_blocks = len(list(S3Store(f"s3://{BUCKET}/run").entries("blocks")))
    return counts, n_blocks


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the requests that a server of `serving_s3` answers; a page of a listing is one."""
    found: Counter[str] = Counter()

    def counting(self: WSGIRequestHandler, *_: object) -> None:
        found[kind_of(self.command, self.path)] += 1

    with mock.patch.object(WSGIRequestHandler, "log_request", counting):
        yield found


def kind_of(method: str, path: str) -> str:
    """What a request is for."""
    if method == "GET" and "list-type=" in path:
        return "listings"
    if "/blocks/" in path:
        return "block records: " + {"PUT": "written", "GET": "read"}.get(method, method)
    if "/merge.tmp/" in path:
        return "intermediate tables: " + {"PUT": "written", "GET": "read"}.get(method, method)
    if "/masks.zarr/" in path and "/c/" in path:
        return "shards of masks.zarr"
    return "everything else: fixed per run and per part file"


if __name__ == "__main__":
    raise SystemExit(main())
