"""Sample replies of a checkpoint to training queries with transformers, in batches.

Decoding is greedy as in inference, or random as in training. The frozen vision tower reads every image once
(`frozen_vision`), however many replies are sampled for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.finetune.grpo.frozen_vision import remember_images
from pipeline.finetune.grpo.grpo_data import TrainingSample
from pipeline.finetune.grpo.grpo_model import load_weights
from pipeline.finetune.grpo.grpo_options import GrpoOptions, TrainingPreset
from pipeline.finetune.grpo.training_models import weights_folder
from pipeline.prompt.profile import Profile
from pipeline.prompt.prompter_checkpoint import load_processor
from pipeline.prompt.template import chat_messages, squash

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from transformers import PreTrainedModel, ProcessorMixin

Reply = tuple[str, bool]
"""Text of a reply, and whether it ended by itself."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the tokens of a reply are chosen."""

    temperature: float = 0.0
    """Temperature of the draws. 0: always the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """Number of most likely tokens from which one is drawn. 0: no limit."""

    @classmethod
    def of(cls, options: GrpoOptions) -> Sampling:
        """Sample as a training with these options does."""
        return cls(temperature=options.temperature, top_p=options.top_p, top_k=options.top_k)

    def arguments(self) -> dict[str, object]:
        """List keyword arguments of transformers' `generate`."""
        if self.temperature == 0:
            return {"do_sample": False}
        return {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}


class ReplySampler:
    """Holds a checkpoint's model and answers queries. Raises ModelError when the model does not load."""

    def __init__(self, preset: TrainingPreset) -> None:
        import torch

        checkpoint = weights_folder(preset.model)
        self._profile: Profile = preset.contract.profile
        self._processor = load_processor(checkpoint, None)
        self._processor.tokenizer.padding_side = "left"
        self._model = load_weights(checkpoint, torch.float32).eval().requires_grad_(False).to(_device())
        self._model.set_attn_implementation(preset.model.attention)
        self._precision = preset.model.precision
        remember_images(self._model.model.visual)
        self._ends = stop_ids(self._model, self._processor)

    def replies(
        self, samples: Sequence[TrainingSample], sampling: Sampling, *, most_tokens: int, batch: int = 64
    ) -> Iterator[Reply]:
        """Yield one reply per sample, in order, each of at most `most_tokens` tokens.

        `batch` samples are decoded at once. Draws come from torch's global generator.
        """
        for start in range(0, len(samples), batch):
            yield from self._batch(samples[start : start + batch], sampling, most_tokens)

    def _batch(
        self, samples: Sequence[TrainingSample], sampling: Sampling, most_tokens: int
    ) -> Iterator[Reply]:
        import torch

        queries = [chat_messages(self._profile, sample.query) for sample in samples]
        texts = [
            self._processor.apply_chat_template(query, add_generation_prompt=True, tokenize=False)
            for query in queries
        ]
        pictures = {sample.image: squash(sample.rgb(), self._profile) for sample in samples}
        given = self._processor(
            text=texts, images=[pictures[s.image] for s in samples], padding=True, return_tensors="pt"
        )
        device = self._model.device
        with torch.inference_mode(), _arithmetic(device.type, self._precision):
            made = self._model.generate(
                **given.to(device), **sampling.arguments(), max_new_tokens=most_tokens
            )
        for ids in made[:, given["input_ids"].shape[1] :].tolist():
            length = next((place for place, token in enumerate(ids) if token in self._ends), None)
            yield self._processor.tokenizer.decode(ids[:length], skip_special_tokens=True), length is not None


def stop_ids(model: PreTrainedModel, processor: ProcessorMixin) -> frozenset[int]:
    """Collect the ids of the tokens that end a reply."""
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [named]
    return frozenset(
        int(token) for token in (*several, processor.tokenizer.eos_token_id) if token is not None
    )


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _arithmetic(device: str, precision: str) -> AbstractContextManager[object]:
    """Context with the arithmetic of training: bfloat16 products, or float32."""
    import torch

    context: AbstractContextManager[object] = torch.autocast(
        device, torch.bfloat16, enabled=precision == "bf16"
    )
    return context
