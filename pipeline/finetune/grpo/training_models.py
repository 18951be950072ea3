"""The commits of a training's models that come from the hub, and the folder that its weights are loaded from.

1. `pin_training` asks the hub once, when a training is prepared, and puts the commits into the preset. A
   training that goes on keeps those of its options.json (`commits_before`).
2. `weights_folder` brings what the cache lacks of that commit, when the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.finetune.grpo.grpo_options import ModelOptions, TrainingPreset
from pipeline.prompt.prompter_checkpoint import bring_checkpoint, is_hub_model, resolve_model
from pipeline.run.models.hub_pins import (
    HubModel,
    PinnedModel,
    commits_said,
    fetch_small,
    pinned_model,
    require_models,
)
from pipeline.segment.sam2_model import is_hub_weights

HUB = "hub"
"""Entry of options.json that says what was asked of the hub, and which commits count."""


def pin_training(
    preset: TrainingPreset, before: Mapping[str, Any], *, draws: bool
) -> tuple[TrainingPreset, tuple[PinnedModel, ...]]:
    """Put commits in place of branches.

    Args:
        preset: names the models.
        before: options.json of an earlier start; empty: there is none.
        draws: whether the segmenter is used.

    Raises:
        InputError: the hub does not have a model or does not give it, or neither hub nor cache has it.
    """
    kept = commits_before(before)
    models = []
    model = preset.model
    if is_hub_model(resolve_model(model.checkpoint)):
        asked = HubModel(role="prompter", repo_id=model.checkpoint, revision=model.revision)
        models.append(pinned_model(asked, kept.get(asked)))
        model = replace(model, revision=models[-1].repository.commit)
    segmenter = preset.segmenter
    if draws and is_hub_weights(segmenter.checkpoint):
        asked = HubModel(role="segmenter", repo_id=segmenter.checkpoint, revision=segmenter.revision)
        models.append(pinned_model(asked, kept.get(asked)))
        segmenter = replace(segmenter, revision=models[-1].repository.commit)
    require_models(tuple(models), elsewhere=False)
    fetch_small(tuple(models))
    return replace(preset, model=model, segmenter=segmenter), tuple(models)


def commits_before(options: Mapping[str, Any]) -> dict[HubModel, str]:
    """Read the commits that a training began with. Empty: it asked no hub."""
    try:
        return commits_said(options[HUB])
    except (TypeError, KeyError, AttributeError):
        return {}


def weights_folder(model: ModelOptions) -> str:
    """Find the folder of the checkpoint that is trained. Of a hub id, what the cache lacks is fetched first.

    Raises ModelError.
    """
    return bring_checkpoint(resolve_model(model.checkpoint), model.revision)
