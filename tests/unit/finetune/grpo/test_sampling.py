"""Replies of a tiny prompter against transformers called by hand, and of the shipped one against what it is
known to say.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, write_data, write_tiny_prompter

from pipeline.finetune.grpo.grpo_data import read_samples
from pipeline.finetune.grpo.grpo_options import GrpoOptions, TrainingPreset, load_training_preset
from pipeline.finetune.grpo.sampling import ReplySampler, Sampling
from pipeline.prompt.template import chat_messages, squash

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TrainingPreset:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("sampling")
    write_data(place / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None), (PRESENT, None)])
    checkpoint = write_tiny_prompter(place / "tiny")
    return load_training_preset(
        "embedded", [f"model.checkpoint='{checkpoint}'", f"profile='{place / 'tiny.toml'}'"]
    )


def by_hand(preset: TrainingPreset, place: Path, most_tokens: int) -> list[str]:
    """One query at a time, without padding and without a memory of images."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(preset.model.checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(preset.model.checkpoint, dtype=torch.float32).eval()
    out = []
    for sample in read_samples(place):
        profile = preset.contract.profile
        text = processor.apply_chat_template(
            chat_messages(profile, sample.query), add_generation_prompt=True, tokenize=False
        )
        given = processor(text=[text], images=[squash(sample.rgb(), profile)], return_tensors="pt")
        made = model.generate(**given, do_sample=False, max_new_tokens=most_tokens)
        out.append(
            processor.tokenizer.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True)
        )
    return out


def test_greedy_replies_are_those_of_one_query_at_a_time(tiny: TrainingPreset) -> None:
    place = Path(tiny.model.checkpoint).parent / "data"
    replies = list(ReplySampler(tiny).replies(read_samples(place), Sampling(), most_tokens=9, batch=2))
    assert [text for text, _ in replies] == by_hand(tiny, place, 9)
    assert [complete for _, complete in replies] == [
        False
    ] * 3  # random weights do not end within nine tokens


def test_sampled_replies_follow_the_generator_and_differ(tiny: TrainingPreset) -> None:
    samples = read_samples(Path(tiny.model.checkpoint).parent / "data")
    sampler = ReplySampler(tiny)
    sampling = Sampling.of(GrpoOptions(temperature=1.5, top_k=0))
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(list(sampler.replies([samples[0]] * 4, sampling, most_tokens=6)))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({text for text, _ in drawn[0]}) == 4


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_shipped_prompter_ends_its_replies(tmp_path: Path, precision: str) -> None:
    samples = read_samples(write_data(tmp_path / "data", [("find unicorns", None)]))
    preset = load_training_preset("embedded", [f"model.precision='{precision}'"])
    ((text, complete),) = ReplySampler(preset).replies(samples, Sampling(), most_tokens=60)
    assert complete
    assert text.endswith("<answer>[]</answer>")
