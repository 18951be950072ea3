"""Run the whole training of the embedded prompter: render, three stages, measure, export. Every part resumes.

`jobs/train_embedded.py prompter` calls `train`, or `measure_only` with `--measure-only`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.finetune.prompter import checkpoints
from pipeline.finetune.prompter.carry_on import (
    HEAD_BATCH,
    Begun,
    begun_in,
    check_start,
    hold_to_start,
    start_vision,
    take_over,
)
from pipeline.finetune.prompter.packing import TokenTable
from pipeline.finetune.prompter.prompter_card import measured_again, measured_table, model_card
from pipeline.finetune.prompter.prompter_data import CHUNK, TileStore, render_store
from pipeline.finetune.prompter.prompter_eval import evaluate, greedy_replies
from pipeline.finetune.prompter.prompter_model import build_model, export_checkpoint
from pipeline.finetune.prompter.prompter_options import (
    MEASURED_JSON,
    MEASURED_TABLE,
    VALID_TILES,
    PrompterTrainOptions,
    check,
    check_measuring,
    check_out,
    joint_stage,
    language_stage,
    vision_stage,
)
from pipeline.finetune.prompter.prompter_train import make_tokenizer, train_answers, train_vision
from pipeline.finetune.prompter.tokenizer import load_tokenizer
from pipeline.finetune.prompter.training_place import TrainingPlace
from pipeline.finetune.prompter.training_worlds import FIRST_VALID_SEED, draw_chunk
from pipeline.world.classes import CLASSES

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch.nn import Module


def train(options: PrompterTrainOptions) -> Path:
    """Run or continue everything. Returns the folder of the exported checkpoint.

    Raises InputError, before anything is rendered, for what `check` and `hold_to_start` refuse.
    """
    check(options)
    place = options.place
    hold_to_start(place, tiles=-(-options.tiles // CHUNK) * CHUNK)
    render_store(place.train_tiles, draw_chunk, n_tiles=options.tiles, n_classes=len(CLASSES))
    _render_unseen(place, VALID_TILES)
    if options.start is None:
        train_vision(place, vision_stage(options))
    else:
        start_vision(place, options.start)
    for stage, joint in ((language_stage(options), False), (joint_stage(options), True)):
        if stage.rates.steps:
            train_answers(place, stage, joint=joint)
    return finish(options)


def measure_only(options: PrompterTrainOptions) -> Path:
    """Measure without training.

    Without `start`, the working directory's newest model is measured and exported; returns the exported
    folder. With `start`, that exported prompter is measured and left as it is. Its figures go to the working
    directory; returns the path of their table.
    """
    check_measuring(options)
    if options.start is None:
        check_out(options)
        return finish(options)
    check_start(options.start, options.shape)
    tokenizer = load_tokenizer(options.start)
    model = build_model(options.shape, tokenizer, seed=0).to(options.device)
    take_over(options.start, model, tokenizer)
    table = options.work / MEASURED_TABLE
    text = _measured(options, model, tokenizer)
    table.write_text(text)
    print(text, flush=True)  # noqa: T201
    return table


def finish(options: PrompterTrainOptions) -> Path:
    """Measure the newest model on unseen worlds and export it with its card."""
    model, tokenizer = newest_model(options.place)
    card = model_card(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=tokenizer.get_vocab_size(),
        classes=", ".join(name.replace("_", " ") for name in CLASSES),
        begun=begun_in(options.work) or Begun(),
        stages=stages_of(options),
        measured=f"{measured_again(options.measured_tiles)}\n\n{_measured(options, model, tokenizer)}",
    )
    export_checkpoint(model, tokenizer, options.out, card=card)
    return options.out


def newest_model(place: TrainingPlace) -> tuple[Module, Tokenizer]:
    """Load the newest checkpoint of the last stage that has one: returns model and tokenizer.

    Raises InputError when no stage has a checkpoint.
    """
    found = [
        *checkpoints.list_checkpoints(place.checkpoints("language")),
        *checkpoints.list_checkpoints(place.checkpoints("joint")),
    ]
    if not found:
        remedy = "train there first, or name an exported prompter to measure (--start)"
        raise InputError(
            "a checkpoint that answers is needed to measure", came=f"none in {place.work}", remedy=remedy
        )
    tokenizer = make_tokenizer(place)
    model = build_model(place.shape, tokenizer, seed=place.seed + 1).to(place.device)
    checkpoints.load_modules(found[-1], {"model": model})
    return model, tokenizer


def stages_of(options: PrompterTrainOptions) -> dict[str, tuple[int, int]]:
    """Read stage -> (steps done, tiles per step) from the checkpoints, not from the last command."""
    began = begun_in(options.work)
    vision = HEAD_BATCH if began and began.start else vision_stage(options).batch
    batches = {
        "vision": vision,
        "language": language_stage(options).batch,
        "joint": joint_stage(options).batch,
    }
    found = {stage: checkpoints.list_checkpoints(options.place.checkpoints(stage)) for stage in batches}
    return {
        stage: (checkpoints.step_of(paths[-1]), batches[stage]) for stage, paths in found.items() if paths
    }


def measure(
    options: PrompterTrainOptions, model: Module, tokenizer: Tokenizer
) -> dict[str, dict[str, dict[str, float]]]:
    """Tally replies by set of wordings, then by class. Missing tiles are rendered first."""
    _render_unseen(options.place, options.measured_tiles)
    table = TokenTable.of(tokenizer)
    store = TileStore(options.place.valid_tiles)
    answer = partial(greedy_replies, model, table)
    sets = {"wordings seen in training": False, "held-out wordings": True}
    return {
        name: evaluate(answer, store, n_tiles=options.measured_tiles, held_out=held_out)
        for name, held_out in sets.items()
    }


def _render_unseen(place: TrainingPlace, n_tiles: int) -> None:
    unseen = partial(draw_chunk, first_seed=FIRST_VALID_SEED, plain=True)
    render_store(place.valid_tiles, unseen, n_tiles=n_tiles, n_classes=len(CLASSES))


def _measured(options: PrompterTrainOptions, model: Module, tokenizer: Tokenizer) -> str:
    """Measure a model, and write method and figures as Markdown.

    The figures also go to the working directory, as JSON.
    """
    tallies = measure(options, model, tokenizer)
    (options.work / MEASURED_JSON).write_text(json.dumps(tallies, indent=2) + "\n")
    protocol = (
        f"{options.measured_tiles} tiles of unseen worlds (seeds from {FIRST_VALID_SEED}, scale 1, random "
        "places); every tile is asked about every class and one thing that no world has. Boxes match at IoU "
        "0.5, one to one. Rejection: share of absent things answered `[]`; false rejection: share of present "
        "ones answered so."
    )
    return f"{protocol}\n\n{measured_table(tallies)}"
