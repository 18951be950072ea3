"""The options of jobs that need no words: a grid of points, and examples in place of a query."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

POINTS_PER_SIDE = 32
"""Points along a side of a tile, as in Segment Anything's own mask generator."""

CROP_SHARE = 0.5
"""Share of a crop's side that a prompt's box takes."""

EVERYTHING = "everything"
"""Name of the one query of such a run: Segment Anything calls the task so."""


def add_everything_options(top: argparse.ArgumentParser) -> None:
    """Add --everything and what belongs to it."""
    every = top.add_argument_group("no query and no prompts")
    every.add_argument(
        "--everything",
        action="store_true",
        help="every object that the segmenter sees, without a language model: it is asked at each point of a "
        "regular grid, and masks that are unsure, unstable, too small or large, or repeated are left out "
        "([everything] in --config). The result is one query, called everything or as --query says",
    )
    every.add_argument(
        "--points-per-side",
        type=int,
        metavar="N",
        help=f"points along a side of a tile (default: {POINTS_PER_SIDE}); time grows with N squared",
    )
    every.add_argument(
        "--point-spacing-m",
        type=float,
        metavar="M",
        help="a point every M metres on the ground instead; half the width of the smallest object is enough",
    )
    some = top.add_argument_group("a few examples instead of words")
    some.add_argument(
        "--examples",
        metavar="FILE",
        help="20 to 50 points or outlines, each marked yes or no in a column `mark`: a classifier learns "
        "from them in seconds, by the segmenter's own features, which masks of --everything or prompts to "
        "keep",
    )
    some.add_argument(
        "--examples-threshold",
        type=float,
        metavar="P",
        help="reject masks whose probability is below P (default: 0.5); they are recorded",
    )


def add_crop_option(models: argparse._ArgumentGroup) -> None:
    """Add --crop-prompts to the group of models."""
    models.add_argument(
        "--crop-prompts",
        nargs="?",
        type=float,
        const=CROP_SHARE,
        metavar="S",
        help="draw each prompt that has a box on a crop of its own, of whose side the box takes the share S "
        f"(default: {CROP_SHARE}): one image encoding per object in place of one per tile",
    )


def crop_share(args: argparse.Namespace) -> float | None:
    """The share of --crop-prompts. None: it is not asked for. Raises InputError."""
    share: float | None = args.crop_prompts
    if share is None:
        return None
    for name in ("everything", "examples", "models"):
        if getattr(args, name):
            raise InputError(
                f"--crop-prompts and --{name} exclude each other: crops are for prompts with boxes, and a "
                "segmenter that looks",
                remedy="drop one of them",
            )
    if not 0 < share <= 1:
        raise InputError(
            "--crop-prompts takes the share of the crop's side that the box fills, above 0 and at most 1",
            came=f"{share:g}",
            remedy=f"{CROP_SHARE} is usual",
        )
    return share


def examples_table(args: argparse.Namespace) -> dict[str, Any] | None:
    """The table of --examples. None: it is not asked for. Raises InputError."""
    if args.examples is None:
        if args.examples_threshold is not None:
            raise InputError("--examples-threshold is for --examples", remedy="add --examples FILE")
        return None
    threshold = args.examples_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(
            "--examples-threshold must be a probability, from 0 to 1",
            came=f"{threshold:g}",
            remedy="0.5 is usual",
        )
    table = {"marks": str(Path(args.examples).absolute())}
    return table if threshold is None else {**table, "threshold": threshold}


def check_everything(args: argparse.Namespace) -> None:
    """Check these options against each other and the rest of the command line. Raises InputError."""
    spacing = {"--points-per-side": args.points_per_side, "--point-spacing-m": args.point_spacing_m}
    given = [name for name, value in spacing.items() if value is not None]
    if not args.everything:
        if given:
            raise InputError(f"{given[0]} is for --everything", remedy="add --everything, or drop it")
        if args.examples and not (args.prompts or args.query or args.add_query):
            raise InputError(
                "--examples chooses among masks, so something must draw them",
                came="neither --everything nor --prompts nor --query",
                remedy="add --everything, or one of the others",
            )
        return
    if args.prompts:
        raise InputError("--prompts and --everything exclude each other", remedy="drop one of them")
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} exclude each other", remedy="drop one of them")
    if args.points_per_side is not None and args.points_per_side < 1:
        raise InputError(
            "--points-per-side must be at least 1",
            came=str(args.points_per_side),
            remedy=f"{POINTS_PER_SIDE} is usual",
        )
    if args.point_spacing_m is not None and not 0 < args.point_spacing_m < math.inf:
        raise InputError(
            "--point-spacing-m must be a positive number of metres",
            came=f"{args.point_spacing_m:g}",
            remedy="give e.g. 2",
        )


def name_of_everything(queries: Sequence[str]) -> tuple[str, ...]:
    """The one query of a run with --everything. Raises InputError for several."""
    if len(queries) > 1:
        raise InputError(
            "--everything reads no query; it has one result, which --query may name",
            came=f"{len(queries)} queries",
            remedy="keep one --query, or none",
        )
    return tuple(queries) or (EVERYTHING,)


def grid_of_points(args: argparse.Namespace, tile_px: int) -> dict[str, Any]:
    """The prompter's table. `tile_px`: side of a tile."""
    if args.point_spacing_m is not None:
        return {"kind": "grid", "model": "", "point_spacing_m": args.point_spacing_m}
    per_side = args.points_per_side or POINTS_PER_SIDE
    return {"kind": "grid", "model": "", "point_spacing_px": tile_px / per_side}
