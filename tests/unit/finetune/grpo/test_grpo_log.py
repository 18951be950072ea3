"""The table and the picture of a training, from a history as the trainer keeps it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.finetune.grpo.grpo_log import log_line, table_of, write_curves, write_table

HISTORY = [
    {
        "step": 1,
        "reward": 1.0,
        "rewards/format/mean": 0.5,
        "rewards/iou/mean": 0.25,
        "rejection": 0.0,
        "kl": 0.0,
        "loss": math.nan,
    },
    {
        "step": 2,
        "reward": 2.5,
        "rewards/format/mean": 1.0,
        "rewards/iou/mean": 0.75,
        "rejection_of_absent": 1.0,
        "completions/mean_length": 20,
    },
    {"step": 2, "train_runtime": 12.0, "train_loss": 0.1},
]


def test_rows_hold_finite_values_and_the_closing_summary_is_none() -> None:
    rows = table_of(HISTORY)
    assert [row["step"] for row in rows] == [1, 2]
    assert "loss" not in rows[0]
    assert rows[1]["reply_tokens"] == 20


def test_the_table_has_a_column_per_value_that_occurs(tmp_path: Path) -> None:
    write_table(HISTORY, tmp_path / "curves.csv")
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "step",
        "reward",
        "format",
        "iou",
        "rejection",
        "rejection_of_absent",
        "reply_tokens",
        "kl",
    ]
    assert (rows[0]["iou"], rows[0]["rejection_of_absent"], rows[1]["rejection_of_absent"]) == (
        "0.25",
        "",
        "1",
    )


def test_the_picture_shows_curves(tmp_path: Path) -> None:
    history = [
        {"step": n, "reward": n / 10, "rewards/iou/mean": n / 30, "rewards/format/mean": 1.0, "kl": 0.0}
        for n in range(1, 31)
    ]
    write_curves(history, tmp_path / "curves.png")
    write_curves([], tmp_path / "none.png")
    drawn, empty = (
        np.asarray(Image.open(tmp_path / name).convert("L")).astype(int)
        for name in ("curves.png", "none.png")
    )
    assert drawn.shape == empty.shape
    assert (drawn != empty).mean() > 0.01


def test_a_line_says_the_step_and_what_there_is() -> None:
    assert (
        log_line("grpo", {**HISTORY[0], "loss": 0.5}, 20)
        == "grpo step 1/20  reward 1  format 0.5  iou 0.25  rejection 0  kl 0  loss 0.5"
    )
