"""The supervised warm start: what it teaches and how TRL is told. Its training runs in test_grpo_train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, write_data, write_tiny_prompter

from pipeline.errors import InputError
from pipeline.finetune.grpo.grpo_options import load_training_preset
from pipeline.finetune.grpo.grpo_run import TrainingRequest, TrainingRun, prepare_run
from pipeline.finetune.grpo.sft import as_lessons, reply_for, sft_arguments, train_sft

SPECK = mask_of((3, 3, 8, 8))
"""Too small for a reply."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return write_tiny_prompter(tmp_path_factory.mktemp("sft") / "tiny")


def prepared(
    model: Path, folder: Path, rows: list[tuple[str, np.ndarray | None]], *settings: str
) -> TrainingRun:
    given = (f"model.checkpoint='{model}'", f"profile='{model.parent / 'tiny.toml'}'", *settings)
    return prepare_run(
        TrainingRequest(
            stage="sft",
            out=folder / "out",
            data=write_data(folder / "data", rows),
            preset=load_training_preset("embedded", given),
            seed=3,
            save_every=7,
        )
    )


def test_a_taught_reply_holds_the_box_of_the_mask_and_the_data_s_own_thought(
    model: Path, tmp_path: Path
) -> None:
    """TARGET is (40, 60, 120, 150) of 256 px; the tiny prompter's frame has 56: 8.75, 13.1, 26.25, 32.8."""
    run = prepared(model, tmp_path, [(PRESENT, mask_of(TARGET)), (ABSENT, None)])
    first = reply_for(run.samples[0], run.preset)
    assert first is not None
    assert first.startswith('<think>Yes.</think><answer>[{"cell":"a1","positive_points":[[')
    assert first.endswith('"bbox_2d":[9,13,26,33]}]</answer>')
    assert reply_for(run.samples[1], run.preset) == "<think>No.</think><answer>[]</answer>"


def test_a_target_without_a_reply_is_left_out_of_the_lessons(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    run = prepared(model, tmp_path, [("specks", SPECK), (PRESENT, mask_of(TARGET)), (ABSENT, None)])
    assert reply_for(run.samples[0], run.preset) is None
    lessons = as_lessons(run.samples, run.preset)
    assert len(lessons) == 2
    said = [row["completion"][0]["content"][0]["text"] for row in lessons]
    assert said == [reply_for(sample, run.preset) for sample in run.samples[1:]]
    assert [row["image"].size for row in lessons] == [(56, 56)] * 2
    asked = [row["prompt"][-1]["content"] for row in lessons]
    assert PRESENT in str(asked[0])
    assert ABSENT in str(asked[1])


def test_nothing_to_teach_is_said_before_a_model_is_loaded(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    run = prepared(model, tmp_path, [(PRESENT, SPECK)])
    with pytest.raises(InputError, match="can write a reply for"):
        train_sft(run)
    assert not run.checkpoints.exists()


def test_the_configuration_is_the_preset_s(model: Path, tmp_path: Path) -> None:
    settings = ("sft.steps=5", "sft.batch=3", "sft.learning_rate=0.01", "sft.schedule=linear")
    run = prepared(model, tmp_path, [(ABSENT, None)], *settings)
    given = sft_arguments(run)
    expected = {
        "max_steps": 5,
        "per_device_train_batch_size": 3,
        "learning_rate": 0.01,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "seed": 3,
        "save_steps": 7,
        "bf16": False,
        "completion_only_loss": True,
    }
    assert {key: given[key] for key in expected} == expected


def test_a_finished_training_returns_at_once(model: Path, tmp_path: Path) -> None:
    run = prepared(model, tmp_path, [(PRESENT, SPECK)])
    run.exported.mkdir()
    (run.exported / "config.json").write_text("{}")
    assert train_sft(run) == run.exported
