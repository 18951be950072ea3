"""The options --judge and --judge-config of jobs/evaluate.py."""

from __future__ import annotations

from argparse import _ActionsContainer


def add_judge_options(group: _ActionsContainer) -> None:
    """Add --judge and --judge-config, None when not given."""
    group.add_argument(
        "--judge",
        metavar="MODEL",
        help="afterwards let this vision-language checkpoint (folder or hub id) rate every answer for "
        "faithfulness, localization and robustness; it runs in this process (default: no judge)",
    )
    group.add_argument(
        "--judge-config",
        metavar="FILE",
        help="TOML with keys of [prompter.vllm] for the judge's engine, such as dtype and max_model_len",
    )
