"""What a card says about its model's origin: what was recorded, and nothing that was not."""

from __future__ import annotations

from pathlib import Path

from pipeline.finetune.prompter.carry_on import Begun
from pipeline.finetune.prompter.prompter_card import measured_again, model_card, recipe_of

ROOT = Path(__file__).parents[4]
STAGES = {"vision": (1000, 24), "language": (150, 12), "joint": (600, 16)}


def card(begun: Begun, stages: dict[str, tuple[int, int]]) -> str:
    return model_card(
        parameters=7_800_000,
        vocabulary=2408,
        classes="lake, pool",
        begun=begun,
        stages=stages,
        measured="figures",
    )


def test_a_training_from_nothing_on_a_cpu() -> None:
    assert recipe_of(Begun(seed=3, devices=("cpu",), tiles=7680), STAGES) == (
        "From nothing, by `python jobs/train_embedded.py prompter`, on a CPU, seed 3. "
        "7680 rendered tiles; steps of tiles: 1000 x 24 (vision), 150 x 12 (language), 600 x 16 (joint)."
    )


def test_a_training_from_an_export_on_a_gpu_and_a_cpu() -> None:
    begun = Begun(
        start=str(ROOT / "pipeline/models/embedded-prompter"),
        seed=0,
        devices=("cuda:0", "cuda", "cpu"),
        tiles=128,
    )
    assert recipe_of(begun, {"vision": (90, 16), "language": (40, 12)}) == (
        "From the exported prompter `pipeline/models/embedded-prompter`, by "
        "`python jobs/train_embedded.py prompter`, on a GPU and a CPU, seed 0. "
        "128 rendered tiles; steps of tiles: 90 x 16 (vision), 40 x 12 (language)."
    )
    assert recipe_of(Begun(start="/elsewhere/prompter"), {}).startswith(
        "From the exported prompter `/elsewhere/prompter`, by "
    )


def test_what_was_not_recorded_is_not_said() -> None:
    said = recipe_of(Begun(), {"language": (5, 12)})
    assert (
        said
        == "From nothing, by `python jobs/train_embedded.py prompter`. Steps of tiles: 5 x 12 (language)."
    )


def test_the_card_lists_the_stages_that_were_trained() -> None:
    text = card(Begun(seed=0, devices=("cpu",), tiles=128), STAGES)
    assert "1. Vision tower on dense targets" in text
    assert "2. Language model" in text
    assert "3. Both together" in text
    text = card(Begun(start="/elsewhere", seed=0), {"vision": (90, 16), "language": (40, 12)})
    assert "1. Heads alone, on that prompter's frozen tower, learn dense targets" in text
    assert "Both together" not in text
    assert "From nothing" not in text
    assert "on a CPU, seed" not in text
    assert "7.8 million" in text


def test_the_command_for_measuring_again_names_its_tiles() -> None:
    assert (
        "prompter --measure-only --start DIR --measured-tiles 192 --work build/measured`"
        in measured_again(192)
    )
