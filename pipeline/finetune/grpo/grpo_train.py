"""Train with mask-only GRPO. TRL's GRPOTrainer is neither subclassed, patched nor copied.

1. `build_trainer` resumes from the newest complete checkpoint, or starts from the preset's.
2. In each step the trainer draws `questions_per_step` queries and samples `generations` replies to each: with
   vLLM on a GPU, with transformers on a CPU.
3. `reward_engine` scores the replies. Rewards are normalised within the group of one query (equation 1).
4. The loss is the clipped ratio plus the divergence from the starting checkpoint, averaged over the tokens of
   a reply, then over replies (equation 2).
5. `finish` exports the checkpoint for inference.

For several GPUs, start the job with accelerate and `pipeline/presets/training/zero3.yaml`.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.errors import ModelError
from pipeline.finetune.grpo.frozen_vision import remember_images
from pipeline.finetune.grpo.grpo_data import as_dataset
from pipeline.finetune.grpo.grpo_log import make_callback
from pipeline.finetune.grpo.grpo_model import export_prompter, load_policy, lora_config
from pipeline.finetune.grpo.grpo_options import TrainingPreset, uses_vllm
from pipeline.finetune.grpo.grpo_run import TrainingRun, checkpoint_step, is_last, newest_checkpoint
from pipeline.finetune.grpo.reward_engine import RewardEngine, reward_functions
from pipeline.finetune.grpo.sampling import stop_ids
from pipeline.finetune.grpo.training_models import weights_folder
from pipeline.prompt.prompter_checkpoint import load_processor
from pipeline.prompt.template import chat_messages
from pipeline.run.stop_signals import stopped_by, unbroken

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import ProcessorMixin, Trainer, TrainerCallback, TrainerControl

SPARE_TOKENS = 16
"""Tokens added to the longest sequence: inside a prompt, a query may take a token more than it does alone.
"""


def import_trl(*, with_vllm: bool) -> ModuleType:
    """Import trl, and hide vLLM from it unless `with_vllm`. Raises ModelError when trl is not installed.

    TRL imports vLLM whenever it is installed, which takes seconds. TRL 1.16 supports vLLM 0.22 to 0.31 and
    warns about 0.32, which this project uses.
    """
    hidden = not with_vllm and "vllm" not in sys.modules
    if hidden:
        sys.modules["vllm"] = None  # type: ignore[assignment]  # None: import and find_spec find nothing
    try:
        trl = importlib.import_module("trl")
        for name in ("GRPOConfig", "GRPOTrainer", "SFTConfig", "SFTTrainer"):
            getattr(trl, name)  # loads the module behind the lazy name
    except ImportError as error:
        raise ModelError(f"training needs trl ({error}); install the extra `train`") from error
    finally:
        if hidden:
            del sys.modules["vllm"]
    return trl


def common_arguments(run: TrainingRun) -> dict[str, object]:
    """List the arguments that both stages give to their trainer's configuration."""
    import torch

    model = run.preset.model
    return {
        "output_dir": str(run.checkpoints),
        "seed": run.seed,
        "bf16": model.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": model.gradient_checkpointing,
        "optim": "adamw_torch",
        "save_strategy": "steps",
        "save_steps": run.save_every,
        "save_total_limit": 2,
        "logging_steps": run.log_every,
        "report_to": "none",
        "disable_tqdm": True,
    }


def grpo_arguments(run: TrainingRun, *, world_size: int) -> dict[str, object]:
    """List keyword arguments of TRL's GRPOConfig.

    The loss is the paper's, so two additions of TRL are off. One corrects for differences between vLLM and
    the trainer. It compares likelihoods among the `top_k` sampled tokens with those among all tokens, so
    longer replies would weigh less. The other multiplies the divergence by the ratio of the policies. Its
    gradient differs from that of the plain estimate exp(d) - d - 1, which the paper and its released code
    use. Raises ModelError when the processes cannot share a step evenly.
    """
    preset = run.preset
    grpo = run.preset.grpo
    per_device = min(grpo.replies_per_pass, grpo.replies_per_step // world_size)
    if per_device < 1 or grpo.replies_per_step % (per_device * world_size):
        raise ModelError(
            f"{grpo.replies_per_step} replies per step cannot be shared by {world_size} processes with "
            f"{grpo.replies_per_pass} a pass; change grpo.questions_per_step or grpo.replies_per_pass"
        )
    return {
        **common_arguments(run),
        "max_steps": grpo.steps if grpo.steps is not None else -1,
        "num_train_epochs": grpo.epochs,
        "learning_rate": grpo.learning_rate,
        "weight_decay": grpo.weight_decay,
        "lr_scheduler_type": grpo.schedule,
        "num_generations": grpo.generations,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": grpo.replies_per_step // (per_device * world_size),
        "max_completion_length": grpo_max_tokens(preset),
        "temperature": grpo.temperature,
        "top_p": grpo.top_p,
        "top_k": grpo.top_k,
        "beta": grpo.kl,
        "use_bias_correction_kl": False,
        "epsilon": grpo.clip,
        "loss_type": "grpo",
        "scale_rewards": grpo.scale,
        "num_iterations": 1,
        "reward_weights": [preset.reward.format_weight, preset.reward.iou_weight],
        "remove_unused_columns": False,
        "use_vllm": uses_vllm(preset.model),
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": preset.model.vllm_memory,
        "vllm_importance_sampling_correction": False,
    }


def longest_sequence(run: TrainingRun, processor: ProcessorMixin) -> int:
    """Compute the most tokens of one sequence: the image, the longest query and the longest reply.

    vLLM's cache is made for this length, not for the model's whole context.
    """
    from PIL import Image

    profile = run.preset.contract.profile
    query = max(
        (sample.query for sample in run.samples), key=lambda text: len(processor.tokenizer(text).input_ids)
    )
    text = processor.apply_chat_template(
        chat_messages(profile, query), add_generation_prompt=True, tokenize=False
    )
    prompt = processor(text=[text], images=[Image.new("RGB", profile.image_px)]).input_ids[0]
    return len(prompt) + grpo_max_tokens(run.preset) + SPARE_TOKENS


def grpo_max_tokens(preset: TrainingPreset) -> int:
    """Longest sampled reply in tokens: the preset's limit, or else the profile's."""
    return preset.grpo.max_tokens or preset.contract.profile.max_tokens


def train_grpo(run: TrainingRun) -> Path:
    """Train to the preset's last step, export, and return the exported folder.

    A finished training returns at once. Raises ModelError: a model does not load, or a library is missing.
    """
    if run.done:
        return run.exported
    trainer, resumed = build_trainer(run)
    train_on(trainer, resumed)
    return finish(run, trainer)


def train_on(trainer: Trainer, resumed: Path | None) -> None:
    """Train to the last step, from `resumed` or from the start. A signal ends it with a checkpoint of the
    step at hand; on several GPUs, whose processes stop at different steps, with the last one.

    If the last step is done and only the export is missing, no step is taken. The trainer, resumed there,
    would take one more.
    """
    if resumed is None or not is_last(resumed):
        trainer.add_callback(_ending_with_a_checkpoint())
        with unbroken() if trainer.args.world_size == 1 else nullcontext():
            trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        return
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(resumed / "trainer_state.json"))


def _ending_with_a_checkpoint() -> TrainerCallback:
    from transformers import TrainerCallback

    class EndingWithACheckpoint(TrainerCallback):
        def on_step_end(self, _args: object, _state: object, control: TrainerControl, **_: object) -> None:
            if stopped_by():
                control.should_save = True
                control.should_training_stop = True

    return EndingWithACheckpoint()


def build_trainer(run: TrainingRun) -> tuple[Trainer, Path | None]:
    """Build TRL's GRPOTrainer for a run. Also returns the checkpoint to resume from; None: from the start."""
    with_vllm = uses_vllm(run.preset.model)
    trl = import_trl(with_vllm=with_vllm)
    checkpoint = weights_folder(run.preset.model)
    processor = load_processor(checkpoint, None)
    length = longest_sequence(run, processor) if with_vllm else None
    arguments = trl.GRPOConfig(**grpo_arguments(run, world_size=processes()), vllm_max_model_length=length)
    processor.tokenizer.padding_side = (
        "left"  # TRL pads prompts on the left and takes the processor's own token types beside them
    )
    policy = load_policy(checkpoint, run.preset.model)
    engine = build_engine(run.preset, str(arguments.device))
    resumed = newest_checkpoint(run.checkpoints)
    trainer = trl.GRPOTrainer(
        model=policy,
        reward_funcs=reward_functions(engine, run.samples, stop_ids(policy, processor)),
        args=arguments,
        train_dataset=as_dataset(run.samples, run.preset.contract.profile),
        processing_class=processor,
        peft_config=lora_config(run.preset.model),
        callbacks=[make_callback(run.stage, run.out, checkpoint_step(resumed) if resumed else 0)],
    )
    silence(trainer)
    if (
        run.preset.model.vision == "frozen" and processes() == 1
    ):  # several processes must do the same work in the same order
        _remember_images(policy, trainer.ref_model)
    return trainer, resumed


def _remember_images(policy: Module, reference: Module | None) -> None:
    """Let both models' vision towers read every image once, instead of G copies twice a step.

    `reference` None: there is no divergence term.
    """
    remember_images(policy.model.visual)
    if reference is not None:
        reference.requires_grad_(False)
        remember_images(reference.model.visual)


def processes() -> int:
    """Count the processes that train together, as set by accelerate, torchrun or deepspeed."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def build_engine(preset: TrainingPreset, device: str) -> RewardEngine:
    """Build the reward engine with the preset's segmenter, on `device` unless the preset names one.

    Each process has its own. Raises ModelError.
    """
    from dataclasses import replace

    from pipeline.segment.sam2_segmenter import Sam2Segmenter

    options = preset.segmenter
    segmenter = Sam2Segmenter(replace(options, device=device) if options.device == "auto" else options)
    return RewardEngine(segmenter, preset.contract, image_px=preset.reward_px)


def silence(trainer: Trainer) -> None:
    """Stop the trainer's printing; our callback prints instead."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def finish(run: TrainingRun, trainer: Trainer) -> Path:
    """Export the newest checkpoint in the main process; the others wait."""
    trainer.accelerator.wait_for_everyone()
    newest = newest_checkpoint(run.checkpoints)
    if newest is None:
        raise ModelError(f"the training ended without a checkpoint in {run.checkpoints}")
    if trainer.is_world_process_zero():
        export_prompter(
            newest,
            weights_folder(run.preset.model),
            run.exported,
            card=_card(run, trainer.state.log_history),
        )
    trainer.accelerator.wait_for_everyone()
    return run.exported


def _source(run: TrainingRun) -> str:
    """Name the checkpoint that was trained, with its commit if it came from the hub."""
    model = run.preset.model
    return f"{model.checkpoint}@{model.revision}" if model.revision else model.checkpoint


def _card(run: TrainingRun, history: list[dict[str, object]]) -> str:
    """Write the text of MODEL_CARD.md, which says where the weights come from."""
    from pipeline.finetune.grpo.grpo_log import table_of

    rows = table_of(history)
    named = {
        "grpo": "mask-only GRPO (TRL)",
        "sft": "a supervised warm start on replies made from masks (TRL)",
    }[run.stage]
    head = (
        f"# Prompter\n\nTrained from `{_source(run)}` by {named}, {len(run.samples)} queries, "
        f"seed {run.seed}.\n"
    )
    shown = [
        key
        for key in ("reward", "format", "iou", "rejection", "reply_tokens", "loss")
        if rows and key in rows[-1]
    ]
    tail = rows[-max(1, len(rows) // 10) :]
    means = []
    for key in shown:
        values = [row[key] for row in tail if key in row]
        means.append(f"- {key}: {sum(values) / max(1, len(values)):.4g}")
    note = (
        "\nMean over the last tenth of the training's own steps "
        "(sampled replies on training images; not an evaluation):\n\n"
    )
    return (
        head
        + f"\nProfile `{run.preset.profile}`, prompt combination `{run.preset.combination}`.\n"
        + note
        + "\n".join(means)
        + "\n"
    )
