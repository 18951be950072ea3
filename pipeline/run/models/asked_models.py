"""Models that are asked by a query and give masks themselves: do they fit the rest, and what do they say?"""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError
from pipeline.run.config import Preset
from pipeline.segment.mask_model.build_mask_model import told_by


def check_asked_by_query(preset: Preset) -> None:
    """Check that a mask model is asked by queries, and that one that hangs is told in time.

    Raises InputError.
    """
    model = preset.segmenter.mask_model
    if (preset.prompter.kind == "whole") != (model is not None):
        raise InputError(
            "a mask model is asked by queries, without a prompter",
            came=f"a prompter of kind {preset.prompter.kind!r}",
            remedy="leave [mask_model], or --prompts and --everything, out",
        )
    if model is None or model.kind != "process":
        return
    if model.load_s + model.limit_s >= preset.limits.tile_s:
        raise InputError(
            "a mask model's limit_s and load_s together must be shorter than tile_s under [limits]",
            came=f"{model.limit_s:g} s and {model.load_s:g} s, and tile_s = {preset.limits.tile_s:g}",
            remedy="a tile may have to wait for a fresh process: give tile_s more, or these less",
        )


def told_by_models(preset: Preset) -> dict[str, Any]:
    """What a mask model in an environment of its own says of itself, for run.json. Empty: there is none."""
    model = preset.segmenter.mask_model
    told = {} if model is None else told_by(model)
    return {"mask_model": told} if told else {}
