"""The commits of an evaluation's models that come from the hub, settled before one is loaded.

1. `pin_evaluation` asks the hub once, for the models that answer: prompts from the truth need no prompter.
2. An evaluation that goes on keeps the commits of its evaluation.json (`commits_before`).
3. What cannot be had is an error now, as in a run (`run.models`).
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.evaluate.benchmark.sample_steps import ModelSource
from pipeline.run.choose_runner import cluster_named
from pipeline.run.config import Preset, Runner
from pipeline.run.models.hub_pins import (
    HubModel,
    ModelRole,
    PinnedModel,
    commits_said,
    fetch_small,
    pin_models,
    require_models,
)


def pin_evaluation(
    preset: Preset, document: Path, sources: tuple[ModelSource, ModelSource], runner: Runner
) -> tuple[Preset, tuple[PinnedModel, ...]]:
    """Put commits in place of branches, and check that the models can be had.

    Args:
        preset: names the models.
        document: evaluation.json of an earlier start, if there is one.
        sources: where prompts and masks come from.
        runner: who loads the models.

    Raises:
        InputError: the hub does not have a model or does not give it, or neither hub nor cache has it.
    """
    roles: list[ModelRole] = ["prompter", "grounding"] if sources[0] == "preset" else []
    roles += ["segmenter", "clip", "sam3"] if sources[1] == "preset" else []
    preset, models = pin_models(preset, commits_before(document), roles)
    require_models(models, elsewhere=runner == "ray" and cluster_named())
    fetch_small(models)
    return preset, models


def commits_before(document: Path) -> dict[HubModel, str]:
    """Read the commits that an evaluation began with. Empty: there is none, or it asked no hub."""
    try:
        return commits_said(json.loads(document.read_bytes())["hub"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
