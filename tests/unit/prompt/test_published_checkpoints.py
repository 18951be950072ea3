"""Published configs have the published number of parameters, and cut ones keep what makes their prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_checkpoints import SHAPES, TOKENIZERS, cut_config, model_of, write_published

from pipeline.prompt.checkpoint_memory import shape_of
from pipeline.prompt.profile import load_profile
from pipeline.prompt.prompter_checkpoint import check_checkpoint, check_context
from pipeline.run.models.published_models import published_models

PARAMETERS = {
    "qwen2.5-vl-3b": 3_754_622_976,
    "qwen2.5-vl-7b": 8_292_166_656,
    "qwen3-vl-4b": 4_437_815_808,
    "internvl3-2b": 2_088_957_440,
    "internvl3-8b": 7_944_373_760,
    "llava-1.5-7b": 7_063_427_072,
}
"""Those of the Qwens are half of `total_size` in their published indices. The cards of the others say 2.09,
7.94 and 7.06 thousand million, which these round to."""
PROFILES = {
    "qwen2.5-vl-3b": "think2seg",
    "qwen3-vl-4b": "qwen3-vl",
    "internvl3-2b": "internvl3",
    "llava-1.5-7b": "llava-1.5",
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_config_makes_the_published_model(name: str) -> None:
    import torch

    with torch.device("meta"):
        model = model_of(SHAPES[name].config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("repo_id", "name"),
    [
        ("RicardoString/Think2Seg-RS-3B", "qwen2.5-vl-3b"),
        ("RicardoString/Think2Seg-RS-7B", "qwen2.5-vl-7b"),
    ],
)
def test_published_facts_are_those_of_the_config(repo_id: str, name: str) -> None:
    facts = published_models()[repo_id]
    assert facts.parameters == PARAMETERS[name]
    assert facts.shape == shape_of(SHAPES[name].config)


def test_cutting_leaves_the_rest_as_published() -> None:
    whole = SHAPES["qwen2.5-vl-3b"].config
    cut = cut_config("qwen2.5-vl-3b", layers=2, vision_layers=4, narrow=False)
    assert (cut["num_hidden_layers"], cut["vision_config"]["depth"]) == (2, 4)
    assert cut["vision_config"]["fullatt_block_indexes"] == [0, 1, 2, 3]
    same = whole.keys() - {"num_hidden_layers", "max_window_layers", "vision_config"}
    assert {key: cut[key] for key in same} == {key: whole[key] for key in same}
    narrow = cut_config("qwen3-vl-4b", layers=1, vision_layers=1, narrow=True)
    assert narrow["text_config"]["rope_scaling"]["mrope_section"] == [6, 5, 5]
    assert SHAPES["qwen3-vl-4b"].config["text_config"]["rope_scaling"]["mrope_section"] == [24, 20, 20]


@pytest.mark.skipif(
    not TOKENIZERS.is_dir(), reason="no published tokenizers here: make tokenizers fetches them"
)
@pytest.mark.parametrize("name", sorted(PROFILES))
def test_such_a_checkpoint_passes_every_check_before_loading(name: str, tmp_path: Path) -> None:
    """The real tokenizers: the longest query that fits, to the token, and one token less."""
    folder = write_published(tmp_path / "one", name, layers=1, vision_layers=2, narrow=True)
    check_checkpoint(str(folder))
    written = json.loads((folder / "config.json").read_text())
    assert written["model_type"] == SHAPES[name].config["model_type"]
    check_context(folder, load_profile(PROFILES[name]), ["storage tanks"], max_model_len=4096, max_tokens=64)
