"""The whole training with real TRL, transformers and SAM2 on a prompter of 0.4 million parameters, in
seconds.

The warm start teaches contradictory replies about one image (the right box and three wrong ones; that
something absent is there and that it is not), so the policy knows the format and guesses the rest. The masks
then have to teach it which guess is right. The training is cut off on the way and started again, so what is
checked is a resumed training.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, write_data, write_tiny_prompter
from PIL import Image

from pipeline.errors import ModelError
from pipeline.finetune.grpo import grpo_train, sft
from pipeline.finetune.grpo.grpo_options import load_training_preset
from pipeline.finetune.grpo.grpo_run import (
    Stage,
    TrainingRequest,
    TrainingRun,
    newest_checkpoint,
    prepare_run,
)
from pipeline.prompt.prompter_checkpoint import load_processor

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

STEPS = 10
WRONG = ((100, 100, 200, 220), (20, 30, 60, 80), (150, 20, 240, 90))


class PowerCutError(Exception):
    """What ends the first half of the training."""


def request(place: Path, stage: Stage, data: str, *settings: str) -> TrainingRequest:
    model = place / ("tiny" if stage == "sft" else "warm/prompter")
    common = (
        f"model.checkpoint='{model}'",
        f"profile='{place / 'tiny.toml'}'",
        "model.vision=trained",
        "segmenter.image_px=128",
    )
    preset = load_training_preset("embedded", [*common, *settings])
    out = place / ("warm" if stage == "sft" else "trained")
    every = 1000 if stage == "sft" else 4
    return TrainingRequest(stage=stage, out=out, data=place / data, preset=preset, save_every=every)


def cut_off_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reward of the step after `steps` fail."""
    whole = grpo_train.reward_functions

    def failing(*given: Any) -> list[Callable[..., list[float]]]:
        judge_format, judge_iou = whole(*given)

        def format(**columns: Any) -> list[float]:
            if columns["trainer_state"].global_step == steps:
                raise PowerCutError
            return judge_format(**columns)

        return [format, judge_iou]

    monkeypatch.setattr(grpo_train, "reward_functions", failing)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny/, tiny.toml, and warm/prompter after the warm start."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("grpo")
    write_tiny_prompter(out / "tiny")
    lessons = [(PRESENT, mask_of(one)) for one in (TARGET, *WRONG)] + [
        (ABSENT, None),
        (ABSENT, mask_of((90, 90, 200, 200))),
    ]
    write_data(out / "lessons", lessons)
    write_data(out / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None)])
    settings = ("sft.steps=110", "sft.batch=6", "sft.learning_rate=5e-3")
    sft.train_sft(prepare_run(replace(request(out, "sft", "lessons", *settings), log_every=10)))
    return out


@pytest.fixture(scope="module")
def trained(place: Path) -> TrainingRun:
    """A training that was cut off after 6 of its 10 steps and started again."""
    wanted = request(
        place, "grpo", "data", f"grpo.steps={STEPS}", "grpo.learning_rate=1e-3", "grpo.max_tokens=40"
    )
    with pytest.MonkeyPatch.context() as patch:
        cut_off_after(6, patch)
        with pytest.raises(PowerCutError):
            grpo_train.train_grpo(prepare_run(wanted))
    run = prepare_run(wanted)
    left = newest_checkpoint(run.checkpoints)
    assert left is not None
    assert left.name == "checkpoint-4"
    assert not run.done
    grpo_train.train_grpo(run)
    return run


def curves(run: TrainingRun) -> list[dict[str, float]]:
    with (run.out / "curves.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_the_warm_start_learns_its_lessons(place: Path) -> None:
    with (place / "warm/curves.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.2 * losses[0]


def test_the_reward_rises_on_one_image_and_so_does_the_overlap(trained: TrainingRun) -> None:
    rows = curves(trained)
    before = rows[:2]
    after = rows[-3:]
    assert np.mean([row["reward"] for row in after]) > np.mean([row["reward"] for row in before]) + 0.2
    assert np.mean([row["iou"] for row in after]) > np.mean([row["iou"] for row in before]) + 0.1


def test_a_resumed_training_has_every_step_once(trained: TrainingRun) -> None:
    rows = curves(trained)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert trained.done
    assert grpo_train.train_grpo(trained) == trained.exported


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_training_that_lost_its_export_takes_no_step_more(
    place: Path, stage: Literal["sft", "grpo"]
) -> None:
    """Three queries, one a step: the last of four steps lies inside the second pass over the data."""
    if not (place / "three").is_dir():
        write_data(place / "three", [(PRESENT, mask_of(one)) for one in (TARGET, *WRONG[:2])])
    short = (
        "grpo.steps=4",
        "grpo.generations=2",
        "grpo.questions_per_step=1",
        "grpo.replies_per_pass=2",
        "grpo.max_tokens=20",
    )
    wanted = replace(
        request(place, stage, "three", *short, "sft.steps=4", "sft.batch=1"),
        out=place / f"lost-{stage}",
        save_every=2,
    )
    train = {"sft": sft.train_sft, "grpo": grpo_train.train_grpo}[stage]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo_train, "export_prompter", lambda *_, **__: (_ for _ in ()).throw(PowerCutError))
        with pytest.raises(PowerCutError):
            train(prepare_run(wanted))
    run = prepare_run(wanted)
    assert not run.done
    exported = train(run)
    assert run.done
    last = newest_checkpoint(run.checkpoints)
    assert last is not None
    assert last.name == "checkpoint-4"
    assert [row["step"] for row in curves(run)] == [1, 2, 3, 4]
    assert "loss: " in (exported / "MODEL_CARD.md").read_text()


def test_every_step_encodes_its_one_image_once(trained: TrainingRun) -> None:
    assert {row["embeddings"] for row in curves(trained)} == {1.0}


def test_weights_of_both_halves_moved(place: Path, trained: TrainingRun) -> None:
    before = weights(place / "warm/prompter")
    after = weights(trained.exported)
    assert before.keys() == after.keys()
    for half in ("model.visual.", "model.language_model."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(half)), (
            half
        )


def test_the_export_is_a_checkpoint_like_the_one_it_started_from(place: Path, trained: TrainingRun) -> None:
    assert {path.name for path in trained.exported.iterdir()} == {
        path.name for path in (place / "tiny").iterdir()
    }
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "preprocessor_config.json",
        "generation_config.json",
    ):
        assert (trained.exported / name).read_bytes() == (place / "tiny" / name).read_bytes(), name
    assert {str(tensor.dtype) for tensor in weights(trained.exported).values()} == {"torch.bfloat16"}
    assert json.loads((trained.exported / "config.json").read_text()) == json.loads(
        (place / "tiny/config.json").read_text()
    )
    assert "mask-only GRPO" in (trained.exported / "MODEL_CARD.md").read_text()


def test_curves_are_a_picture_and_events(trained: TrainingRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert Image.open(trained.out / "curves.png").size[0] > 500
    events = EventAccumulator(str(trained.out / "tensorboard")).Reload()
    rewards = events.Scalars("train/reward")
    assert [event.step for event in rewards] == list(range(1, STEPS + 1))
    assert [event.value for event in rewards] == pytest.approx(
        [row["reward"] for row in curves(trained)], rel=1e-4
    )


def test_adapters_on_a_frozen_vision_tower_change_the_language_model_alone(place: Path) -> None:
    settings = (
        "grpo.steps=1",
        "grpo.generations=4",
        "grpo.replies_per_pass=8",
        "grpo.learning_rate=0.05",
        "model.lora_rank=2",
    )
    wanted = request(place, "grpo", "data", *settings, "model.vision=frozen", "grpo.max_tokens=24")
    run = prepare_run(replace(wanted, out=place / "adapted"))
    grpo_train.train_grpo(run)
    before = weights(place / "warm/prompter")
    after = weights(run.exported)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert moved
    assert all(name.startswith("model.language_model.layers") for name in moved)


def test_the_configuration_says_what_the_paper_says(place: Path) -> None:
    preset = load_training_preset("think2seg-3b", [f"model.checkpoint='{place / 'tiny'}'"])
    run = TrainingRun(stage="grpo", out=place / "never", data=place / "data", samples=(), preset=preset)
    given = grpo_train.grpo_arguments(run, world_size=1)
    config = grpo_train.import_trl(with_vllm=False).GRPOConfig(**{**given, "use_vllm": False, "bf16": False})
    assert (config.learning_rate, config.weight_decay, config.num_generations, config.beta) == (
        1e-6,
        0.0,
        16,
        1e-3,
    )
    assert (config.loss_type, config.scale_rewards, config.epsilon, config.temperature, config.top_k) == (
        "grpo",
        "group",
        0.2,
        1.0,
        50,
    )
    assert config.reward_weights == [1.0, 2.0]
    assert (
        config.use_bias_correction_kl,
        config.vllm_importance_sampling_correction,
        config.num_iterations,
    ) == (False, False, 1)
    assert (
        config.steps_per_generation == config.gradient_accumulation_steps
    )  # replies of the newest weights: all ratios are 1
    assert (given["per_device_train_batch_size"], given["gradient_accumulation_steps"], given["bf16"]) == (
        4,
        4,
        True,
    )
    for scale in ("group", "batch", "none"):
        other = replace(run, preset=replace(preset, grpo=replace(preset.grpo, scale=scale)))
        assert grpo_train.grpo_arguments(other, world_size=1)["scale_rewards"] == scale
    shared = grpo_train.grpo_arguments(run, world_size=4)
    assert (shared["per_device_train_batch_size"], shared["gradient_accumulation_steps"]) == (4, 1)
    with pytest.raises(ModelError, match="cannot be shared by 3 processes"):
        grpo_train.grpo_arguments(run, world_size=3)


def test_vllm_is_given_room_for_the_longest_query_and_reply(place: Path) -> None:
    """Against the prompts as TRL makes them."""
    from trl.data_utils import prepare_multimodal_messages

    from pipeline.prompt.template import chat_messages, squash

    run = prepare_run(replace(request(place, "grpo", "data", "grpo.max_tokens=33"), out=place / "lengths"))
    processor = load_processor(str(place / "tiny"), None)
    profile = run.preset.contract.profile
    lengths = []
    for sample in run.samples:
        messages = prepare_multimodal_messages(
            chat_messages(profile, sample.query), images=[squash(sample.rgb(), profile)]
        )
        asked = processor.apply_chat_template(
            conversation=[messages], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        lengths.append(len(asked["input_ids"][0]))
    assert lengths[0] < lengths[1]
    assert grpo_train.longest_sequence(run, processor) == lengths[1] + 33 + grpo_train.SPARE_TOKENS


def test_a_stop_ends_the_training_with_a_checkpoint_of_the_step_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import TrainerControl

    control = TrainerControl()
    callback = grpo_train._ending_with_a_checkpoint()
    callback.on_step_end(None, None, control)
    assert (control.should_save, control.should_training_stop) == (False, False)
    monkeypatch.setattr(grpo_train, "stopped_by", lambda: signal.SIGTERM)
    callback.on_step_end(None, None, control)
    assert (control.should_save, control.should_training_stop) == (True, True)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_processes_train_one_model(place: Path, tmp_path: Path) -> None:
    """The job itself, started twice by torchrun on a CPU: four replies a step in each, one set of files."""
    job = Path(grpo_train.__file__).parents[3] / "jobs/train_prompter.py"
    settings = (
        "model.vision=trained",
        "segmenter.image_px=128",
        "grpo.generations=4",
        "grpo.replies_per_pass=4",
        "grpo.max_tokens=40",
    )
    named = [
        "--data",
        str(place / "data"),
        "--model",
        str(place / "warm/prompter"),
        "--profile",
        str(place / "tiny.toml"),
    ]
    asked = [*named, "--out", str(tmp_path / "out"), "--steps", "2", "--set", "grpo.learning_rate=1e-3"]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(job),
        "grpo",
        *asked,
    ]
    given = [*launch, *(word for setting in settings for word in ("--set", setting))]
    there = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(given, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    out = tmp_path / "out"
    assert done.stdout.count(f"wrote {out / 'prompter'}") == 2
    printed = [line.partition("  ")[0] for line in done.stdout.splitlines() if "  reward " in line]
    assert printed == ["grpo step 1/2", "grpo step 2/2"]
    assert {path.name for path in (out / "trainer/checkpoint-2").glob("rng_state*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }
    with (out / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(float(row["reward"]) > 0 for row in rows)
    before = weights(place / "warm/prompter")
    after = weights(out / "prompter")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_accelerate_file_is_one() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(Path(grpo_train.__file__).parents[2] / "presets/training/zero3.yaml"))
    assert config.deepspeed_config["zero_stage"] == 3
    assert config.mixed_precision == "bf16"
