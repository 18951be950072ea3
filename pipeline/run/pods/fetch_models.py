"""Copy the weights of a hub from a bucket to this machine, before anything loads them.

python -m pipeline.run.pods.fetch_models --from s3://bucket/models/hub --to /opt/terraquery/hub

The bucket holds a folder of the hub's cache as it is on a disk: `models--OWNER--NAME/snapshots/COMMIT/FILE`
and `refs/main`. Links are files there. It is filled once, with
`jobs/fetch_models.py` and `aws s3 sync`.

A file of a commit that is here in its full size is not fetched again; `refs`, which say what commit counts,
are. No file is left in part. With --largest-mb larger files are left where they are: a driver checks commit,
settings and tokenizer, and other machines load the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.atomic_file import atomic_path
from pipeline.files.public_text import public_text
from pipeline.files.store.store import ObjectEntry
from pipeline.files.store.store_path import StorePath, store_path

PART_BYTES = 32 * 1024**2
"""What is held in memory of one file."""

AT_ONCE = 4
"""Files that are fetched at a time."""


def fetch_models(source: StorePath, to: Path, largest: int | None = None) -> tuple[int, int]:
    """Fetch what is not here; returns the number of files that there are, and the bytes that were fetched.

    largest: bytes of the largest file that is wanted; None: all are.

    Raises InputError when there is nothing to fetch or it changes, and OSError when the store fails.
    """
    entries = [
        entry for entry in source.store.entries(source.key) if largest is None or entry.size <= largest
    ]
    if not entries:
        raise InputError(
            "--from must hold the weights of the models",
            came=f"nothing in {source}",
            remedy="fill it: jobs/fetch_models.py --preset NAME --to hub, then aws s3 sync hub ADDRESS",
        )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = list(pool.map(lambda entry: _fetch(source, entry, to), entries))
    return len(entries), sum(sizes)


def _fetch(source: StorePath, entry: ObjectEntry, to: Path) -> int:
    """Fetch one file; returns its bytes, and 0 for one that is here. Raises InputError, OSError."""
    path = to / StorePath(source.root, entry.key).below(source)
    if not path.resolve().is_relative_to(to.resolve()):
        raise InputError(
            "--from must hold files of one folder",
            came=f"the key {entry.key}",
            remedy="remove that object",
        )
    if "snapshots" in path.parts and path.is_file() and path.stat().st_size == entry.size:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in _parts(source, entry):
            file.write(part)
    return entry.size


def _parts(source: StorePath, entry: ObjectEntry) -> Iterator[bytes]:
    for start in range(0, entry.size, PART_BYTES):
        wanted = min(PART_BYTES, entry.size - start)
        part = source.store.get_range(entry.key, start, wanted)
        if len(part) != wanted:
            raise InputError(
                "--from must stay as it is while it is fetched",
                came=f"another length of {entry.key}",
                remedy="wait until the bucket is filled, and start again",
            )
        yield part


def main(argv: list[str] | None = None) -> int:
    """Fetch the weights; returns the exit code."""
    top = argparse.ArgumentParser("fetch_models", description=(__doc__ or "").partition("\n")[0])
    top.add_argument(
        "--from", required=True, dest="source", metavar="PLACE", help="folder or s3://bucket/prefix"
    )
    top.add_argument("--to", required=True, type=Path, metavar="DIR", help="what HF_HUB_CACHE names")
    top.add_argument("--largest-mb", type=float, metavar="MB", help="leave larger files where they are")
    args = top.parse_args(argv)
    largest = None if args.largest_mb is None else int(args.largest_mb * 1e6)
    try:
        files, fetched = fetch_models(store_path(args.source, "--from"), args.to, largest)
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {public_text(str(error), most_chars=600)}\n")
        return error.exit_code if isinstance(error, InputError) else 1
    sys.stdout.write(f"{files} files, {fetched:,} bytes fetched\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
