"""Train the supervised warm start. TRL's SFTTrainer is neither subclassed, patched nor copied.

Replies are made from the masks (`taught_replies`), and only the reply enters the loss. The warm start is
short: it teaches the format and the prompt combination. `grpo_train` then starts from the exported folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.finetune.grpo.frozen_vision import remember_images
from pipeline.finetune.grpo.grpo_data import TrainingSample
from pipeline.finetune.grpo.grpo_log import make_callback
from pipeline.finetune.grpo.grpo_model import load_policy, lora_config
from pipeline.finetune.grpo.grpo_options import TrainingPreset
from pipeline.finetune.grpo.grpo_run import TrainingRun, checkpoint_step, newest_checkpoint
from pipeline.finetune.grpo.grpo_train import (
    common_arguments,
    finish,
    import_trl,
    processes,
    silence,
    train_on,
)
from pipeline.finetune.grpo.taught_replies import default_thought, taught_items, taught_reply
from pipeline.finetune.grpo.training_models import weights_folder
from pipeline.prompt.prompter_checkpoint import load_processor
from pipeline.prompt.template import chat_messages, squash

if TYPE_CHECKING:
    from datasets import Dataset


def reply_for(sample: TrainingSample, preset: TrainingPreset) -> str | None:
    """Make the reply to teach. None: there is a target, but none of its pieces can be taught."""
    contract = preset.contract
    truth = sample.truth(sample.rgb().shape[:2])
    items = taught_items(truth, contract.combination, contract.profile.frame_wh)
    if truth.any() and not items:
        return None
    thought = sample.thought or default_thought(sample.query, found=bool(items))
    return taught_reply(thought, items, contract.profile, preset.sft.style)


def as_lessons(samples: Sequence[TrainingSample], preset: TrainingPreset) -> Dataset:
    """Make TRL's dataset with the columns prompt, completion and image, computed when a row is read.

    Raises InputError when no sample can be taught.
    """
    from datasets import Dataset

    profile = preset.contract.profile
    replies = {
        number: reply
        for number, sample in enumerate(samples)
        if (reply := reply_for(sample, preset)) is not None
    }
    if not replies:
        came = f"{len(samples)} queries whose targets are all too small or fill their images"
        raise InputError(
            "the warm start needs a target it can write a reply for",
            came=came,
            remedy="add larger targets or empty ones",
        )

    def rows(batch: Mapping[str, list[int]]) -> dict[str, Sequence[object]]:
        chosen = [(samples[number], replies[number]) for number in batch["sample"]]
        said = [[{"role": "assistant", "content": [{"type": "text", "text": reply}]}] for _, reply in chosen]
        return {
            "prompt": [chat_messages(profile, sample.query) for sample, _ in chosen],
            "completion": said,
            "image": [squash(sample.rgb(), profile) for sample, _ in chosen],
        }

    return Dataset.from_dict({"sample": list(replies)}).with_transform(rows)


def sft_arguments(run: TrainingRun) -> dict[str, object]:
    """List keyword arguments of TRL's SFTConfig."""
    sft = run.preset.sft
    return {
        **common_arguments(run),
        "max_steps": sft.steps,
        "per_device_train_batch_size": sft.batch,
        "learning_rate": sft.learning_rate,
        "weight_decay": sft.weight_decay,
        "lr_scheduler_type": sft.schedule,
        "max_length": None,
        "completion_only_loss": True,
        "remove_unused_columns": False,
    }


def train_sft(run: TrainingRun) -> Path:
    """Train to the preset's last step, export, and return the exported folder.

    A finished training returns at once. Raises InputError when there is nothing to teach, ModelError when a
    model does not load or a library is missing.
    """
    if run.done:
        return run.exported
    lessons = as_lessons(run.samples, run.preset)
    trl = import_trl(with_vllm=False)
    checkpoint = weights_folder(run.preset.model)
    resumed = newest_checkpoint(run.checkpoints)
    arguments = trl.SFTConfig(
        **sft_arguments(run)
    )  # before the model: ZeRO-3 only partitions what is loaded after it
    policy = load_policy(checkpoint, run.preset.model)
    if run.preset.model.vision == "frozen" and processes() == 1:
        remember_images(policy.model.visual)
    trainer = trl.SFTTrainer(
        model=policy,
        args=arguments,
        train_dataset=lessons,
        processing_class=load_processor(checkpoint, None),
        peft_config=lora_config(run.preset.model),
        callbacks=[make_callback(run.stage, run.out, checkpoint_step(resumed) if resumed else 0)],
    )
    silence(trainer)
    train_on(trainer, resumed)
    return finish(run, trainer)
