"""Log a training: a line per logged step, curves.csv and .png, and TensorBoard events.

The table comes from the trainer's own history, which its checkpoints contain. So after a resumed run it holds
every step once, and no step that was lost in a crash.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files.atomic_file import atomic_path, write_bytes_atomic

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback, TrainerState

COLUMNS: Mapping[str, str] = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "equal_groups": "frac_reward_zero_std",
    "format": "rewards/format/mean",
    "iou": "rewards/iou/mean",
    "iou_present": "iou_present",
    "rejection": "rejection",
    "rejection_of_absent": "rejection_of_absent",
    "rejection_of_present": "rejection_of_present",
    "malformed": "malformed",
    "items": "items",
    "reply_tokens": "completions/mean_length",
    "replies_cut": "completions/clipped_ratio",
    "kl": "kl",
    "entropy": "entropy",
    "loss": "loss",
    "token_accuracy": "mean_token_accuracy",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "embeddings": "embeddings",
    "step_s": "step_time",
}
"""Column of curves.csv -> key of the trainer's log. A column that has no value in any step is left out.
`equal_groups` is the share of queries whose replies all earned the same; these teach nothing.
"""

PANELS = (
    ("reward", ("reward",)),
    ("reward parts", ("format", "iou", "iou_present")),
    ("rejection", ("rejection", "rejection_of_absent", "rejection_of_present", "malformed")),
    ("reply length, tokens", ("reply_tokens",)),
    ("divergence", ("kl",)),
    ("loss", ("loss",)),
)
"""Titles of the panels of curves.png, and the columns that they show."""

_AVERAGED = 0.1
"""Share of the steps over which the thick line in a panel averages."""


def table_of(history: Sequence[Mapping[str, object]]) -> list[dict[str, float]]:
    """Make the rows of curves.csv from the trainer's history: one per step, with finite values only."""
    rows = []
    for entry in history:
        numbers = _finite({column: entry.get(key) for column, key in COLUMNS.items()})
        if len(numbers.keys() - {"step"}) > 2:  # the last entry of a training holds times only
            rows.append(numbers)
    return rows


def _finite(values: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def write_table(history: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write curves.csv, whole or not at all."""
    rows = table_of(history)
    used = [column for column in COLUMNS if any(column in row for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, used, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: f"{value:.6g}" for column, value in row.items()})
    write_bytes_atomic(path, text.getvalue().encode())


def write_curves(history: Sequence[Mapping[str, object]], path: Path) -> None:
    """Draw curves.png: thin line = every logged step, thick line = running mean."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import numpy as np
    from matplotlib.figure import Figure

    rows = table_of(history)
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, (title, columns) in zip(axes, PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        for column in columns:
            points = np.array(
                [(row["step"], row[column]) for row in rows if column in row and "step" in row]
            ).reshape(-1, 2)
            if not len(points):
                continue
            span = max(1, round(len(points) * _AVERAGED))
            mean = np.array([points[max(0, i - span + 1) : i + 1, 1].mean() for i in range(len(points))])
            (line,) = axis.plot(points[:, 0], points[:, 1], linewidth=0.6, alpha=0.4)
            axis.plot(
                points[:, 0], mean, linewidth=1.8, color=line.get_color(), label=column.replace("_", " ")
            )
        if axis.lines:
            axis.legend(fontsize=7)
    for axis in axes[3:]:
        axis.set_xlabel("optimiser step")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def log_line(stage: str, entry: Mapping[str, object], max_steps: int) -> str:
    """Write one step on one line."""
    shown = ("reward", "format", "iou", "rejection", "reply_tokens", "kl", "loss", "step_s")
    figures = {column: entry.get(COLUMNS[column]) for column in shown}
    parts = [f"{column} {value:.4g}" for column, value in figures.items() if isinstance(value, int | float)]
    return f"{stage} step {entry.get('step', 0)}/{max_steps}  " + "  ".join(parts)


def _add_events(events: SummaryWriter | None, values: Mapping[str, float], step: int) -> None:
    if events is not None:
        for name, value in values.items():
            events.add_scalar(name, value, step)


def make_callback(stage: str, out: Path, resumed_step: int) -> TrainerCallback:
    """Make the callback that logs a training.

    It prints a line and writes curves.csv at every log, and draws curves.png at every checkpoint and at the
    end.
    """
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import rewrite_logs

    class CurvesCallback(TrainerCallback):
        """Logs in the main process only; see `make_callback`."""

        def __init__(self) -> None:
            self._events: SummaryWriter | None = None

        def on_train_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
            if state.is_world_process_zero:
                self._events = SummaryWriter(
                    log_dir=str(out / "tensorboard"), purge_step=resumed_step + 1 if resumed_step else None
                )

        def on_log(
            self,
            _args: object,
            state: TrainerState,
            _control: object,
            logs: Mapping[str, object] | None = None,
            **_: object,
        ) -> None:
            if not state.is_world_process_zero or not logs:
                return
            print(log_line(stage, {**logs, "step": state.global_step}, state.max_steps), flush=True)  # noqa: T201
            write_table(state.log_history, out / "curves.csv")
            _add_events(self._events, _finite(rewrite_logs(dict(logs))), state.global_step)

        def on_save(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
            if state.is_world_process_zero:
                write_curves(state.log_history, out / "curves.png")

        def on_train_end(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
            if state.is_world_process_zero and self._events is not None:
                write_table(state.log_history, out / "curves.csv")
                write_curves(state.log_history, out / "curves.png")
                self._events.close()

    return CurvesCallback()
