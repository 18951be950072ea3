"""The options that several jobs share, with one wording each. Nothing here imports a heavy library."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.run.args_file import JobParser

if TYPE_CHECKING:
    from argparse import _ActionsContainer


def job_parser(
    name: str, doc: str | None, epilog: str, *, prepare: Callable[[list[str]], list[str]] = list
) -> JobParser:
    """Make the parser of `jobs/<name>`. Its help begins with the job's docstring and ends with `epilog`.
    `prepare`: as `JobParser` takes it.
    """
    return JobParser(
        prepare=prepare,
        prog=name,
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_preset_options(group: _ActionsContainer, what: str) -> None:
    """Add --preset and --config. `what`: help of --preset."""
    group.add_argument("--preset", default="embedded", help=f"{what} (default: %(default)s)")
    group.add_argument("--config", metavar="FILE", help="TOML with the same tables as a preset, laid over it")


def add_runner_option(group: _ActionsContainer) -> None:
    """Add --runner, ray or local, for jobs that always gain from several processes."""
    group.add_argument(
        "--runner",
        choices=("ray", "local"),
        default="ray",
        help="ray (default): several processes, on the cluster of RAY_ADDRESS if that is set; local: this "
        "process",
    )


def add_auto_runner_option(group: _ActionsContainer, what: str) -> None:
    """Add --runner with the choice `auto`. `what` has the tiles that are counted: the plan, the run."""
    group.add_argument(
        "--runner",
        choices=("auto", "ray", "local"),
        default="auto",
        help="ray: many processes or machines (joins RAY_ADDRESS if it is set); local: this process; auto "
        f"(default): ray when RAY_ADDRESS is set or {what} has more than 64 tiles, else local",
    )


def add_cache_options(group: _ActionsContainer) -> None:
    """Add --cache and --cache-gb."""
    group.add_argument(
        "--cache",
        metavar="DIR",
        help="keep image encodings of tiles in this local folder, and take those that are there: a further "
        "query about the same pixels draws its masks without encoding again. It changes no bit of a result: "
        "what another segmenter, device or number of threads encoded is not taken. Where tile_batch is "
        "above 1, encodings follow by rounding from the tiles of their batch, kept ones too. On several "
        "machines each has a folder of its own at this path (default: off)",
    )
    group.add_argument(
        "--cache-gb",
        type=float,
        metavar="N",
        help="size limit of --cache on each machine, in 10^9 bytes; what was not used longest goes first "
        "(default: 50). A tile takes 4 MB with MobileSAM and 17 MB with SAM2 at 1024 px",
    )


def cache_table(folder: str | None, gb: float | None) -> dict[str, object]:
    """The `[cache]` table that --cache and --cache-gb ask for; empty without --cache. Raises InputError."""
    if folder is None:
        if gb is not None:
            raise InputError(
                "--cache-gb limits the folder of --cache",
                came=f"--cache-gb {gb:g} alone",
                remedy="add --cache",
            )
        return {}
    place = folder if "://" in folder else str(Path(folder).absolute())
    return {"folder": place} if gb is None else {"folder": place, "gb": gb}


def add_price_option(group: _ActionsContainer) -> None:
    """Add --price-per-hour, None when not given."""
    group.add_argument(
        "--price-per-hour",
        type=_price,
        metavar="P",
        help="price of an hour of all machines of the run together, in any currency: tells what the run cost",
    )


def add_limits_of_spending(group: _ActionsContainer) -> None:
    """Add --max-cost and --max-hours, None when not given."""
    group.add_argument(
        "--max-cost",
        type=_limit,
        metavar="AMOUNT",
        help="stop, resumably, when all starts of this run together have cost so much, by --price-per-hour "
        "and in its currency",
    )
    group.add_argument(
        "--max-hours",
        type=_limit,
        metavar="H",
        help="stop, resumably, when all starts of this run together have taken so many hours",
    )


def _limit(text: str) -> float:
    limit = float(text)
    if not 0 < limit < math.inf:
        raise argparse.ArgumentTypeError(f"a limit must be above 0, got {text}")
    return limit


def _price(text: str) -> float:
    price = float(text)
    if not 0 <= price < math.inf:
        raise argparse.ArgumentTypeError(f"a price must be 0 or more, got {text}")
    return price


def add_tiling_options(group: _ActionsContainer) -> None:
    """Add --tile, --halo and --block, all None when not given."""
    group.add_argument("--tile", type=int, metavar="PX", help="side of a tile's read window")
    group.add_argument(
        "--halo", type=int, metavar="PX", help="context on each side, smaller than half the tile"
    )
    group.add_argument(
        "--block", type=int, metavar="K", help="K x K tiles are read, committed and written together"
    )


def add_merge_mode_options(group: _ActionsContainer, default: str | None) -> None:
    """Add --instances and --semantic, which exclude each other, as `merge_mode`."""
    mode = group.add_mutually_exclusive_group()
    for name, what in (("instances", "whole objects"), ("semantic", "connected areas instead of objects")):
        mode.add_argument(
            f"--{name}",
            dest="merge_mode",
            action="store_const",
            const=name,
            default=default,
            help=f"{what} (default)" if name == default else what,
        )
