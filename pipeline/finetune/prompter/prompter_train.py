"""Train the embedded prompter, stage by stage.

1. `train_vision`: the vision tower learns dense targets (vision.py).
2. `train_answers` with `joint=False`: the language model learns to answer from frozen vision tokens
   (packing.py, language.py).
3. `train_answers` with `joint=True`: everything is trained together, dense targets included.

Every stage resumes from its own newest checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import InputError
from pipeline.finetune.prompter import checkpoints
from pipeline.finetune.prompter.carry_on import take_over
from pipeline.finetune.prompter.forward import encode, to_device
from pipeline.finetune.prompter.language import LanguageObjective, make_language_heads
from pipeline.finetune.prompter.optimisers import Rates, apply_gradients, make_optimisers, set_rates
from pipeline.finetune.prompter.packing import TEXT_BUDGET, TokenTable, collate, pack_tile
from pipeline.finetune.prompter.prompter_data import TileStore, batch_of
from pipeline.finetune.prompter.prompter_model import build_model, build_vision
from pipeline.finetune.prompter.samples import UNKNOWN_SUBJECT, prompt_text, rationale
from pipeline.finetune.prompter.tokenizer import load_tokenizer, train_tokenizer, write_tokenizer
from pipeline.finetune.prompter.training_place import TrainingPlace
from pipeline.finetune.prompter.training_queries import SUBJECTS, QuerySampler
from pipeline.finetune.prompter.vision import dense_loss, dense_targets, make_dense_heads
from pipeline.run.stop_signals import stopped_by, unbroken_each
from pipeline.world.classes import CLASSES

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch.nn import Module, ModuleDict

N_CLASSES = len(CLASSES)
BYTE_PAIRS = 2048
"""Number of text tokens that the tokenizer learns. Numbers, cells and marks are added to these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions:
    """One stage of the training."""

    rates: Rates
    batch: int
    """Tiles per step."""
    save_every: int = 100
    log_every: int = 10
    text_budget: int = TEXT_BUDGET
    """Text tokens per tile; unused in the vision stage."""


class StepLog:
    """Prints a line every `every` steps: step, share of the rate, means of losses, pace and time left."""

    def __init__(self, stage: str, *, steps: int, every: int) -> None:
        self._stage = stage
        self._steps = steps
        self._every = every
        self._sums: dict[str, float] = {}
        self._count = 0
        self._samples = 0
        self._since = time.monotonic()

    def add(self, step: int, parts: dict[str, float], *, samples: int, share: float) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._samples += samples
        if (step + 1) % self._every and step + 1 < self._steps:
            return
        took = time.monotonic() - self._since
        means = "  ".join(f"{name} {total / self._count:.3f}" for name, total in self._sums.items())
        left = took / self._count * (self._steps - step - 1)
        rate = self._samples / max(took, 1e-9)
        where = f"{self._stage} {step + 1}/{self._steps}  rate x{share:.2f}"
        print(f"{where}  {means}  {rate:.1f} tiles/s  {left / 60:.0f} min left", flush=True)  # noqa: T201
        self._sums = {}
        self._count = 0
        self._samples = 0
        self._since = time.monotonic()


def train_vision(
    place: TrainingPlace,
    options: StageOptions,
    *,
    on_save: Callable[[int, Module, ModuleDict], None] | None = None,
) -> tuple[Module, ModuleDict]:
    """Run stage 1, the vision tower with dense heads; returns (tower, heads).

    `on_save(step, tower, heads)` is called after each checkpoint.
    """
    import torch

    store = TileStore(place.train_tiles)
    vision = build_vision(place.shape, seed=place.seed).to(place.device)
    heads = make_dense_heads(place.shape.text_width, N_CLASSES).to(place.device)
    named = [*vision.named_parameters(), *heads.named_parameters()]
    optimisers = make_optimisers(named, options.rates)
    folder = place.checkpoints("vision")
    modules = {"vision": vision, "heads": heads}
    first = checkpoints.resume(folder, modules=modules, optimisers=optimisers)
    progress = StepLog("vision", steps=options.rates.steps, every=options.log_every)
    for step in unbroken_each(range(first, options.rates.steps)):
        share = set_rates(optimisers, options.rates, step)
        batch = batch_of(store, seed=place.seed, step=step, size=options.batch, n_tiles=len(store))
        targets = to_device(dense_targets(batch.truths, n_classes=N_CLASSES), place.device)
        tokens = encode(vision, torch.from_numpy(batch.rgb).to(place.device))
        loss, parts = dense_loss(heads, tokens, targets)
        loss.backward()
        apply_gradients(optimisers, [parameter for _, parameter in named])
        progress.add(step, {"loss": float(loss.detach()), **parts}, samples=options.batch, share=share)
        if (step + 1) % options.save_every == 0 or step + 1 == options.rates.steps or stopped_by():
            checkpoints.save_checkpoint(folder, step=step + 1, modules=modules, optimisers=optimisers)
            store.reload()
            if on_save:
                on_save(step + 1, vision, heads)
    return vision, heads


def make_tokenizer(place: TrainingPlace) -> Tokenizer:
    """Make the tokenizer of this training from the wordings, or read it if it was made before."""
    folder = place.work / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        asked = QuerySampler().corpus()
        subjects = (*SUBJECTS, UNKNOWN_SUBJECT)
        said = [rationale(subject, found=found) for subject in subjects for found in (True, False)]
        corpus = [*asked, *(prompt_text(text) for text in asked[::7]), *(said * 20)]
        write_tokenizer(train_tokenizer(corpus, vocab_size=BYTE_PAIRS), folder)
    return load_tokenizer(folder)


def train_answers(
    place: TrainingPlace,
    options: StageOptions,
    *,
    joint: bool,
    on_save: Callable[[int, Module], None] | None = None,
) -> Module:
    """Run stage 2, or stage 3 when `joint`, and return the model.

    `on_save(step, model)` is called after each checkpoint.
    """
    import torch

    store = TileStore(place.train_tiles)
    sampler = QuerySampler(absent_share=TAUGHT_ABSENT_SHARE, stranger_share=TAUGHT_STRANGER_SHARE)
    tokenizer = make_tokenizer(place)
    table = TokenTable.of(tokenizer)
    model = build_model(place.shape, tokenizer, seed=place.seed + 1).to(place.device)
    if place.start is not None:
        kept = take_over(place.start, model, tokenizer)
        print(f"{kept} of {tokenizer.get_vocab_size()} tokens go on from {place.start}", flush=True)  # noqa: T201
    heads = make_language_heads(place.shape.text_width).to(place.device)
    dense = make_dense_heads(place.shape.text_width, N_CLASSES).to(place.device)
    _start_from_earlier(
        place, {"model": model, "heads": heads}, {"vision": model.model.visual, "heads": dense}, joint=joint
    )
    vision = model.model.visual
    vision.requires_grad_(joint)
    named = [
        *model.named_parameters(),
        *heads.named_parameters(),
        *(dense.named_parameters() if joint else ()),
    ]
    optimisers = make_optimisers(named, options.rates)
    stage = "joint" if joint else "language"
    modules = {"model": model, "heads": heads, "dense": dense}
    folder = place.checkpoints(stage)
    first = checkpoints.resume(folder, modules=modules, optimisers=optimisers)
    objective = LanguageObjective(model, heads, table, compiled=place.compiled)
    progress = StepLog(stage, steps=options.rates.steps, every=options.log_every)
    for step in unbroken_each(range(first, options.rates.steps)):
        share = set_rates(optimisers, options.rates, step)
        batch = batch_of(
            store, seed=place.seed + 1 + joint, step=step, size=options.batch, n_tiles=len(store)
        )
        rng = np.random.default_rng([place.seed + 1 + joint, step, 1])
        packs = [
            pack_tile(table, sampler, truth, rng=rng, budget=options.text_budget) for truth in batch.truths
        ]
        packed = to_device(
            collate(packs, batch.truths, pad=table.pad, multiple=64 if place.compiled else 16), place.device
        )
        with torch.set_grad_enabled(joint):
            tokens = encode(vision, torch.from_numpy(batch.rgb).to(place.device))
        loss, parts = objective(tokens, packed)
        if joint:
            seen, _ = dense_loss(
                dense, tokens, to_device(dense_targets(batch.truths, n_classes=N_CLASSES), place.device)
            )
            loss, parts = loss + DENSE_SHARE * seen, {**parts, "dense": float(seen.detach())}
        loss.backward()
        apply_gradients(optimisers, [parameter for _, parameter in named if parameter.requires_grad])
        progress.add(step, {"loss": float(loss.detach()), **parts}, samples=options.batch, share=share)
        if (step + 1) % options.save_every == 0 or step + 1 == options.rates.steps or stopped_by():
            checkpoints.save_checkpoint(folder, step=step + 1, modules=modules, optimisers=optimisers)
            if on_save:
                on_save(step + 1, model)
    return model


DENSE_SHARE = 0.5
"""Weight of the dense targets in the joint stage."""

TAUGHT_ABSENT_SHARE = 0.5
"""Share of the queries about a tile with objects that have no answer. It is larger than the sampler's
default: a prompter that is seldom asked in vain finds too much on land where most tiles are empty.
"""

TAUGHT_STRANGER_SHARE = 0.2
"""Share of the queries without an answer that are about things no world has. It is small, as these are
learned soon.
"""


def _start_from_earlier(
    place: TrainingPlace, language: dict[str, Module], vision: dict[str, Module], *, joint: bool
) -> None:
    """Load what earlier stages learned; the tower comes last, since it may have been trained further.

    Raises InputError when an earlier stage has not run.
    """
    for stage, modules in ((("language", language),) if joint else ()) + (("vision", vision),):
        found = checkpoints.list_checkpoints(place.checkpoints(stage))
        if not found:
            came = f"no checkpoint in {place.checkpoints(stage)}"
            raise InputError(f"this stage starts from stage '{stage}'", came=came, remedy="run it first")
        checkpoints.load_modules(found[-1], modules)
