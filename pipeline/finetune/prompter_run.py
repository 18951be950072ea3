"""The whole training of the embedded prompter: render, three stages, measure, export. Every part resumes.

`train(options)` is what `jobs/train_embedded.py prompter` calls.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.finetune import checkpoints
from pipeline.finetune.prompter_card import measured_table, model_card
from pipeline.finetune.prompter_data import TileStore, render_store
from pipeline.finetune.prompter_eval import evaluate, greedy_replies
from pipeline.finetune.prompter_language import TokenTable
from pipeline.finetune.prompter_model import build_model, export_checkpoint
from pipeline.finetune.prompter_optim import Rates
from pipeline.finetune.prompter_start import exported_weights, hold_to_start, start_vision
from pipeline.finetune.prompter_train import Place, StageOptions, make_tokenizer, train_answers, train_vision
from pipeline.finetune.prompter_world import FIRST_VALID_SEED, draw_chunk
from pipeline.world.classes import CLASSES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VALID_TILES = 768


@dataclass(frozen=True, kw_only=True, slots=True)
class PrompterOptions:
    """What the job can set. The defaults take about an hour and a half on one CPU core."""

    work: Path
    out: Path
    tiles: int = 7680
    vision_steps: int = 1000
    language_steps: int = 150
    joint_steps: int = 600
    seed: int = 0
    device: str = "cpu"
    measured_tiles: int = 256
    start: Path | None = None
    """Exported prompter to go on from; its tower replaces the vision stage."""
    compiled: bool = False

    @property
    def place(self) -> Place:
        return Place(work=self.work, device=self.device, seed=self.seed, start=self.start, compiled=self.compiled)


def vision_stage(options: PrompterOptions) -> StageOptions:
    """Warm start of the tower."""
    return StageOptions(rates=Rates(steps=options.vision_steps, matrix_lr=2.5e-3, decay_from=0.6), batch=24)


def language_stage(options: PrompterOptions) -> StageOptions:
    """Answers from the frozen tower."""
    return StageOptions(rates=Rates(steps=options.language_steps, warmup=20, decay_from=0.8), batch=12, save_every=50)


def joint_stage(options: PrompterOptions) -> StageOptions:
    """Everything together."""
    rates = Rates(steps=options.joint_steps, matrix_lr=2e-3, other_lr=1.5e-3, warmup=20, decay_from=0.25)
    return StageOptions(rates=rates, batch=16, save_every=40, text_budget=160)


def train(options: PrompterOptions) -> Path:
    """Run or continue everything; returns the folder of the exported checkpoint."""
    place = options.place
    if options.start is not None:
        exported_weights(options.start)  # refuses what is no prompter before anything is rendered
    hold_to_start(place)
    render_store(place.train_tiles, draw_chunk, n_tiles=options.tiles, n_classes=len(CLASSES))
    held = partial(draw_chunk, first_seed=FIRST_VALID_SEED, plain=True)
    render_store(place.valid_tiles, held, n_tiles=VALID_TILES, n_classes=len(CLASSES))
    if options.start is None:
        train_vision(place, vision_stage(options))
    else:
        start_vision(place, options.start)
    for stage, joint in ((language_stage(options), False), (joint_stage(options), True)):
        if stage.rates.steps:
            train_answers(place, stage, joint=joint)
    return finish(options, recipe=recipe_of(options))


def newest_model(place: Place) -> tuple[Any, Tokenizer]:
    """The model of the newest checkpoint of the last stage that has one, and its tokenizer."""
    tokenizer = make_tokenizer(place)
    model = build_model(place.shape, tokenizer, seed=place.seed + 1).to(place.device)
    found = [*checkpoints.list_checkpoints(place.checkpoints("language")), *checkpoints.list_checkpoints(place.checkpoints("joint"))]
    checkpoints.load_modules(found[-1], {"model": model})
    return model, tokenizer


def finish(options: PrompterOptions, *, recipe: str) -> Path:
    """Measure the newest model on unseen worlds and export it with its card."""
    model, tokenizer = newest_model(options.place)
    tallies = measure(options, model, tokenizer)
    (options.work / "measured.json").write_text(json.dumps(tallies, indent=2) + "\n")
    card = model_card(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=tokenizer.get_vocab_size(),
        classes=", ".join(name.replace("_", " ") for name in CLASSES),
        seed=options.seed,
        recipe=recipe,
        measured=f"{_protocol(options)}\n\n{measured_table(tallies)}",
    )
    export_checkpoint(model, tokenizer, options.out, card=card)
    return options.out


def measure(options: PrompterOptions, model: Any, tokenizer: Tokenizer) -> dict[str, dict[str, dict[str, float]]]:
    """Tallies by set of wordings, then by class."""
    table, store = TokenTable.of(tokenizer), TileStore(options.place.valid_tiles)
    answer = partial(greedy_replies, model, table)
    sets = {"wordings seen in training": False, "held-out wordings": True}
    return {name: evaluate(answer, store, n_tiles=options.measured_tiles, held_out=held_out) for name, held_out in sets.items()}


def recipe_of(options: PrompterOptions) -> str:
    """One sentence for the card."""
    first = f"from `{options.start}`" if options.start else f"{options.vision_steps} x {vision_stage(options).batch} (vision)"
    tiles = f"{options.tiles} rendered tiles; steps of tiles: {first}"
    language, joint = language_stage(options), joint_stage(options)
    return f"{tiles}, {options.language_steps} x {language.batch} (language), {options.joint_steps} x {joint.batch} (joint)."


def _protocol(options: PrompterOptions) -> str:
    return (
        f"{options.measured_tiles} tiles of unseen worlds (seeds from {FIRST_VALID_SEED}, scale 1, random places); every tile is asked "
        "about every class and one thing that no world has. Boxes match at IoU 0.5, one to one. Rejection: share of absent things answered "
        "`[]`; false rejection: share of present ones answered so. Measured at the end of the training job, or again by "
        "`python jobs/train_embedded.py prompter --measure-only`."
    )
