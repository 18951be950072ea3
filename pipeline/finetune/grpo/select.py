"""Select the queries that GRPO can learn from: those whose sampled replies earn different rewards.

1. The starting checkpoint answers every query `replies` times, and `reward_engine` scores the replies.
2. A query is settled when the standard deviation of its rewards is below `least`: it would teach nothing.
3. The unsettled queries and a share of the settled ones go into a table, on which `grpo` trains.

DAPO (arXiv 2503.14476, section 3.2) drops groups of equal rewards during training; here this is done once,
before training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.finetune.grpo.grpo_data import TABLE, TrainingSample
from pipeline.finetune.grpo.grpo_run import TrainingRun
from pipeline.finetune.grpo.grpo_train import build_engine, grpo_max_tokens
from pipeline.finetune.grpo.reward_engine import Candidate, RewardEngine
from pipeline.finetune.grpo.rewards import total_reward
from pipeline.finetune.grpo.sampling import ReplySampler, Sampling

REWARDS = "rewards.jsonl"
"""File with one line per query, in the table's order: the rewards of its replies."""

QUERIES_AT_ONCE = 16
"""Queries of one batch. An interrupted selection loses no more."""


def select_queries(run: TrainingRun) -> Path:
    """Sample and score replies, select queries, and return the folder with the table of selected queries.

    Existing rewards are used again, so another `least` or `settled_share` only rewrites the table. Raises
    ModelError when a model does not load, InputError when there is no query to learn from.
    """
    import torch

    paid = paid_so_far(run.out / REWARDS, len(run.samples))
    if len(paid) < len(run.samples):
        sampler = ReplySampler(run.preset)
        engine = build_engine(run.preset, "cuda" if torch.cuda.is_available() else "cpu")
        for start in range(len(paid), len(run.samples), QUERIES_AT_ONCE):
            torch.manual_seed(_seed_of(run.seed, start))
            new = _rewards(run.samples[start : start + QUERIES_AT_ONCE], run, sampler, engine)
            _append(run.out / REWARDS, new)
            paid += new
            print(_progress(paid, run), flush=True)  # noqa: T201 - long work shows progress
    open_ones = unsettled(paid, run.preset.select.least)
    if not open_ones:
        came = f"{len(paid)} queries whose rewards deviate by less than {run.preset.select.least}"
        remedy = "lower select.least (nothing is asked again), or raise grpo.temperature with another --out"
        raise InputError("a query must be left to learn from", came=came, remedy=remedy)
    return _write_table(run, sorted({*open_ones, *_some_settled(run, open_ones)}))


def unsettled(rewards: Sequence[Sequence[float]], least: float) -> list[int]:
    """List the indices of queries whose rewards have a standard deviation of at least `least`.

    Below it, differences of reward are zero or caused by single pixels.
    """
    return [number for number, group in enumerate(rewards) if float(np.std(group)) >= least]


def _some_settled(run: TrainingRun, open_ones: Sequence[int]) -> list[int]:
    """Draw the settled queries to keep. Each draw depends only on the seed and the query's index.

    With `grpo.scale` none, a settled query adds almost nothing to the gradient. Some are kept so that the
    policy notices when it unlearns one.
    """
    draws = np.random.default_rng(run.seed).random(len(run.samples))
    drawn = np.flatnonzero(draws < run.preset.select.settled_share)
    return [int(number) for number in np.setdiff1d(drawn, open_ones)]


def paid_so_far(path: Path, n_queries: int) -> list[list[float]]:
    """Read the rewards of all complete batches, and cut an interrupted batch off the file.

    Returns an empty list when there is no file.
    """
    if not path.is_file():
        return []
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    if len(lines) < n_queries:  # only the very last batch may be smaller
        lines = lines[: len(lines) - len(lines) % QUERIES_AT_ONCE]
        write_bytes_atomic(path, "".join(lines).encode())
    return [json.loads(line) for line in lines]


def _append(path: Path, rewards: Sequence[Sequence[float]]) -> None:
    with path.open("a", encoding="utf-8") as table:
        table.writelines(json.dumps([round(value, 4) for value in group]) + "\n" for group in rewards)


def _rewards(
    asked: Sequence[TrainingSample], run: TrainingRun, sampler: ReplySampler, engine: RewardEngine
) -> list[list[float]]:
    """Sample and score one batch; returns rewards (queries, replies)."""
    preset = run.preset
    times = run.preset.select.replies
    copies = [sample for sample in asked for _ in range(times)]
    drawn = sampler.replies(
        copies, Sampling.of(preset.grpo), most_tokens=grpo_max_tokens(preset), batch=len(copies)
    )
    answered = zip(copies, drawn, strict=True)
    scores = engine.score(
        [Candidate(sample=sample, reply=text, complete=whole) for sample, (text, whole) in answered]
    )
    values = [total_reward(score, preset.reward) for score in scores]
    return [values[place : place + times] for place in range(0, len(values), times)]


def _seed_of(seed: int, start: int) -> int:
    """Make the seed of the batch that begins at query `start`.

    Each batch has its own, so an interrupted selection gives the same result as an uninterrupted one.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {start}".encode()).digest()[:4], "big")


def _progress(paid: Sequence[Sequence[float]], run: TrainingRun) -> str:
    kept = len(unsettled(paid, run.preset.select.least))
    mean = float(np.mean([value for group in paid for value in group]))
    return f"select {len(paid)}/{len(run.samples)}  reward {mean:.3f}  open {kept} ({kept / len(paid):.0%})"


def _write_table(run: TrainingRun, kept: Sequence[int]) -> Path:
    rows = []
    for number in kept:
        sample = run.samples[number]
        row = {
            "image": str(sample.image.resolve()),
            "mask": sample.mask and str(sample.mask.resolve()),
            "question": sample.query,
        }
        rows.append(json.dumps(row | ({"thought": sample.thought} if sample.thought else {})))
    write_bytes_atomic(run.exported / TABLE, ("\n".join(rows) + "\n").encode())
    return run.exported
