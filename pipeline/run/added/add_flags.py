"""The option --add-query of jobs/segment_region.py, and what may stand beside it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.run.job_options import cache_table

if TYPE_CHECKING:
    from argparse import _ActionsContainer

BESIDE = frozenset(
    {
        "out",
        "add_query",
        "config",
        "runner",
        "dry_run",
        "grace",
        "max_failed_share",
        "price_per_hour",
        "max_cost",
        "max_hours",
        "cache",
        "cache_gb",
    }
)
"""Names of the options that say how a run is done. All others say what it is, and come from the run."""


def add_query_option(group: _ActionsContainer) -> None:
    """Add --add-query."""
    group.add_argument(
        "--add-query",
        action="append",
        default=[],
        metavar="TEXT",
        help="ask the finished run in --out one query more; repeat for several. Imagery, area, models and "
        "all else come from the run, and only --config with how it is done, --runner, --dry-run, --cache, "
        "--grace and limits of money and failures may stand beside it. Earlier results stay as they are",
    )


def added_request(args: argparse.Namespace, plain: argparse.Namespace) -> Any:
    """The command line as an `AddRequest`. `plain`: what it is with no option but --out. Raises InputError
    for an option that says what the run is.
    """
    from pipeline.run.added.plan_added import AddRequest
    from pipeline.run.budget import SpendingOptions

    given = [
        name
        for name, value in vars(args).items()
        if name not in BESIDE and value != getattr(plain, name, None)
    ]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(
            "--add-query takes imagery, area, models and rules from the run in --out",
            came=f"{options} beside it",
            remedy="drop what comes from the run; what a query is asked of cannot differ from the others",
        )
    if not 0 <= args.max_failed_share <= 1:
        raise InputError(
            "--max-failed-share must be a share, from 0 to 1",
            came=f"{args.max_failed_share:g}",
            remedy="give e.g. 0.01 for one tile in a hundred",
        )
    return AddRequest(
        out=args.out,
        queries=tuple(args.add_query),
        config=args.config,
        runner=args.runner,
        dry_run=args.dry_run,
        max_failed_share=args.max_failed_share,
        cache=cache_table(args.cache, args.cache_gb),
        spending=SpendingOptions(
            price_per_hour=args.price_per_hour, max_cost=args.max_cost, max_hours=args.max_hours
        ),
    )
