"""The option --prompt-shape of jobs/segment_region.py: a long outline is one box, or a chain of boxes."""

from __future__ import annotations

from argparse import _ActionsContainer

from pipeline.errors import InputError
from pipeline.prompt.build_prompter import PrompterOptions
from pipeline.run.config import MergeMode


def add_shape_option(group: _ActionsContainer) -> None:
    """Add --prompt-shape, None when not given."""
    group.add_argument(
        "--prompt-shape",
        choices=("fixed", "chain"),
        help="how outlines of --prompts are prompted: fixed, by a box and two points each (default); chain, "
        "long and ring-like ones, such as roads and rivers, by a chain of boxes along them. Their masks are "
        "united as connected areas, so a chain needs --semantic",
    )


def check_shape(prompter: PrompterOptions, merge_mode: MergeMode) -> None:
    """Check that the masks of a chain will be united. Raises InputError."""
    if prompter.prompt_shape == "chain" and merge_mode != "semantic":
        raise InputError(
            "a chain of boxes gives an object in pieces, which only connected areas unite",
            came="--prompt-shape chain without --semantic",
            remedy="add --semantic, or leave --prompt-shape out",
        )
