"""Which queries are kept: rewards by hand, interruption, and one selection with a real prompter and
segmenter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from grpo_scenes import PRESENT, TARGET, mask_of, write_data, write_tiny_prompter

from pipeline.errors import InputError, RunMismatchError
from pipeline.finetune.grpo import select
from pipeline.finetune.grpo.grpo_data import TrainingSample, read_samples
from pipeline.finetune.grpo.grpo_options import load_training_preset
from pipeline.finetune.grpo.grpo_run import TrainingRequest, TrainingRun, prepare_run
from pipeline.finetune.grpo.sampling import Reply, Sampling

torch = pytest.importorskip("torch")

NOTHING = "<think>No.</think><answer>[]</answer>"
SOMETHING = '<think>Yes.</think><answer>[{"positive_points":[[20,20]],"bbox_2d":[10,10,30,30]}]</answer>'
BROKEN = "<think>No.</think>"

SETTLED = "a pier"
SOMETIMES = "a barn"
RARELY = "a silo"
WRONG = "a kiln"
REPLIES = {
    SETTLED: [NOTHING, NOTHING, NOTHING, NOTHING],  # 3 each
    SOMETIMES: [
        NOTHING,
        SOMETHING,
        NOTHING,
        SOMETHING,
    ],  # 3 and 1: format is paid, there is nothing to overlap with
    RARELY: [NOTHING, NOTHING, NOTHING, BROKEN],  # 3 and 0: deviation 1.299
    WRONG: [SOMETHING, SOMETHING, SOMETHING, SOMETHING],  # 1 each
}


class ScriptedSampler:
    """Answers from REPLIES; holds to what a sampler is asked with."""

    def __init__(self, _preset: object) -> None:
        self.asked = 0

    def replies(
        self, samples: Sequence[TrainingSample], sampling: Sampling, *, most_tokens: int, batch: int
    ) -> Iterator[Reply]:
        assert (sampling.temperature, sampling.top_k, most_tokens, batch) == (0.7, 50, 33, len(samples))
        place: dict[str, int] = {}
        for sample in samples:
            place[sample.query] = place.get(sample.query, -1) + 1
            yield REPLIES[sample.query][place[sample.query] % 4], True


class RandomSampler:
    """Rejects or does not, as torch's generator says; goes out with the power after `batches`."""

    batches = 99

    def __init__(self, _preset: object) -> None:
        self.left = self.batches

    def replies(self, samples: Sequence[TrainingSample], _sampling: Sampling, **_: int) -> Iterator[Reply]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        for _sample in samples:
            yield (NOTHING if torch.rand(1).item() < 0.5 else BROKEN), True


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_tiny_prompter(tmp_path_factory.mktemp("select") / "tiny")


def request(tiny: Path, data: Path, out: Path, *settings: str) -> TrainingRequest:
    given = (
        f"model.checkpoint='{tiny}'",
        f"profile='{tiny.parent / 'tiny.toml'}'",
        "segmenter.image_px=128",
        "grpo.max_tokens=33",
    )
    preset = load_training_preset(
        "embedded", [*given, "grpo.temperature=0.7", "select.settled_share=0", *settings]
    )
    return TrainingRequest(stage="select", out=out, data=data, preset=preset)


def asked(
    tiny: Path, tmp_path: Path, queries: Sequence[str], *settings: str, name: str = "out"
) -> TrainingRun:
    data = tmp_path / f"data-{len(queries)}"
    if not data.is_dir():
        write_data(data, [(query, None) for query in queries])
    return prepare_run(request(tiny, data, tmp_path / name, *settings))


def test_queries_whose_replies_earn_the_same_are_left_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "ReplySampler", ScriptedSampler)
    run = asked(tiny, tmp_path, [SETTLED, SOMETIMES, RARELY, WRONG])
    assert not run.done
    folder = select.select_queries(run)
    assert run.done
    assert folder == tmp_path / "out/questions"
    rewards = [json.loads(line) for line in (tmp_path / "out" / select.REWARDS).read_text().splitlines()]
    assert rewards == [[3, 3, 3, 3], [3, 1, 3, 1], [3, 3, 3, 0], [1, 1, 1, 1]]
    kept = read_samples(folder)
    assert [sample.query for sample in kept] == [SOMETIMES, RARELY]
    assert kept[0].image.samefile(run.samples[1].image)
    assert kept[0].thought == "No."
    assert select.select_queries(run) == folder


def test_the_deviation_that_is_asked_for_decides(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "ReplySampler", ScriptedSampler)
    run = asked(tiny, tmp_path, [SETTLED, SOMETIMES, RARELY, WRONG], "select.least=1.2")
    assert [sample.query for sample in read_samples(select.select_queries(run))] == [RARELY]
    assert select.unsettled([[0.0, 2.0]], 1.0) == [0]
    assert select.unsettled([[0.0, 2.0]], 1.01) == []


def test_a_share_of_the_settled_queries_is_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "ReplySampler", ScriptedSampler)
    queries = [SETTLED, SOMETIMES, *[SETTLED] * 198]
    counts = {}
    for share in (0.0, 0.25, 1.0):
        run = asked(tiny, tmp_path, queries, f"select.settled_share={share}", name=f"out-{share}")
        kept = [sample.query for sample in read_samples(select.select_queries(run))]
        assert kept.count(SOMETIMES) == 1
        counts[share] = kept.count(SETTLED)
    assert (counts[0.0], counts[1.0]) == (0, 199)
    assert 25 < counts[0.25] < 75  # 50 expected; four standard deviations are 24


def test_an_interrupted_selection_goes_on_as_if_it_had_not_been(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "ReplySampler", RandomSampler)
    queries = [f"thing {number}" for number in range(40)]
    whole = select.select_queries(asked(tiny, tmp_path, queries, name="whole"))
    monkeypatch.setattr(RandomSampler, "batches", 1)
    with pytest.raises(KeyboardInterrupt):
        select.select_queries(asked(tiny, tmp_path, queries, name="cut"))
    rewards = tmp_path / "cut" / select.REWARDS
    assert len(rewards.read_text().splitlines()) == 16
    with rewards.open("a") as table:
        table.write("[3.0, 3.0, 3.0, 3.0]\n[3.0, ")  # of the batch in which the power went
    monkeypatch.setattr(RandomSampler, "batches", 2)
    cut = select.select_queries(asked(tiny, tmp_path, queries, name="cut"))
    assert rewards.read_text() == (tmp_path / "whole" / select.REWARDS).read_text()
    assert (cut / "questions.jsonl").read_text() == (whole / "questions.jsonl").read_text()
    assert 0 < len(read_samples(cut)) < 40


def test_nothing_to_learn_from_and_another_selection_are_said(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "ReplySampler", ScriptedSampler)
    run = asked(tiny, tmp_path, [SETTLED, WRONG])
    with pytest.raises(InputError, match="must be left to learn from"):
        select.select_queries(run)
    assert not run.done
    with pytest.raises(RunMismatchError, match=r"select\.replies"):
        asked(tiny, tmp_path, [SETTLED, WRONG], "select.replies=8")


def test_what_was_paid_serves_another_cut_of_the_same_rewards(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sampler may be asked a second time; deviations are 0, 1, 1.299 and 0."""
    monkeypatch.setattr(select, "ReplySampler", ScriptedSampler)
    queries = [SETTLED, SOMETIMES, RARELY, WRONG]
    with pytest.raises(InputError, match=r"lower select\.least \(nothing is asked again\)"):
        select.select_queries(asked(tiny, tmp_path, queries, "select.least=2"))
    monkeypatch.delattr(select, "ReplySampler")
    for settings, kept in (
        (["select.least=1.2"], [RARELY]),
        (["select.least=0.5"], [SOMETIMES, RARELY]),
        (["select.least=1.2", "select.settled_share=1"], queries),
    ):
        folder = select.select_queries(asked(tiny, tmp_path, queries, *settings))
        assert [sample.query for sample in read_samples(folder)] == kept


def test_a_real_prompter_is_asked_and_paid(tiny: Path, tmp_path: Path) -> None:
    """Random weights write nothing readable: every reply earns 0, and there is nothing to learn from."""
    data = write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET)), (SETTLED, None)])
    run = prepare_run(request(tiny, data, tmp_path / "out"))
    with pytest.raises(InputError, match="2 queries whose rewards deviate by less"):
        select.select_queries(run)
    rewards = [json.loads(line) for line in (tmp_path / "out" / select.REWARDS).read_text().splitlines()]
    assert rewards == [[0, 0, 0, 0], [0, 0, 0, 0]]
