"""The job's command line: what is wrong ends with 2 before a model is loaded, and what is printed says what
to do.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, write_data
from job_files import load_job

job = load_job("train_prompter")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None)])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--preset", "huge"], "--preset must name a training preset"),
        (["--model", "/nowhere/at/all"], "must be a checkpoint directory"),
        (["--set", "grpo.lr=1"], "has no key 'lr'"),
        (["--combination", "box+points4"], "which reads 1 and 0"),
        (
            ["--profile", "think2seg", "--combination", "box+points2"],
            "pass the checkpoint's processor unchanged",
        ),
        (["--set", "sft.batch=0"], "steps, batch and learning_rate"),
        (["--set", "select.least=0"], "replies must be at least 2, least above 0"),
    ],
)
@pytest.mark.parametrize("stage", ["grpo", "sft", "select"])
def test_bad_input_ends_with_2_and_loads_no_model(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    given: list[str],
    said: str,
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    code = job.main([stage, "--data", str(data), "--out", str(tmp_path / "out"), *given])
    assert code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["grpo", "sft"])
def test_checkpoints_must_be_written_now_and_then(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    assert job.main([stage, "--data", str(data), "--out", str(tmp_path / "out"), "--save-every", "0"]) == 2
    assert "--save-every and --log-every" in capsys.readouterr().err


def test_selected_queries_are_data_for_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two worlds' tiles, asked by the shipped prompter as hot as it takes for replies to differ."""
    out = tmp_path / "select"
    hot = ["--set", "grpo.temperature=1.5", "--set", "select.least=0.001", "--set", "grpo.max_tokens=60"]
    hot += ["--set", "select.settled_share=0"]
    assert job.main(["select", "--data", "world:300000", "--tiles", "6", "--out", str(out), *hot]) == 0
    printed = capsys.readouterr().out
    assert "select 6/6" in printed
    assert f"wrote {out / 'questions'}" in printed
    kept = job.prepare_run(
        job.TrainingRequest(
            stage="grpo", out=tmp_path / "grpo", data=out / "questions", preset=one_query_a_step()
        )
    ).samples
    asked = [
        json.loads(line)
        for line in (tmp_path / "select-world-300000-6/questions.jsonl").read_text().splitlines()
    ]
    rewards = [json.loads(line) for line in (out / "rewards.jsonl").read_text().splitlines()]
    differ = [
        row["question"]
        for row, group in zip(asked, rewards, strict=True)
        if statistics.pstdev(group) >= 0.001
    ]
    assert [sample.query for sample in kept] == differ
    assert differ


def one_query_a_step() -> job.TrainingPreset:
    return job.load_training_preset("embedded", ["grpo.questions_per_step=1"])


def test_vllm_without_a_gpu_ends_with_2_before_a_world_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    given = ["--data", "world", "--out", str(tmp_path / "out"), "--set", "model.generation=vllm"]
    assert job.main(["grpo", *given]) == 2
    assert "model.generation=vllm needs a GPU" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_none_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, said in (
        (str(tmp_path / "none"), "questions.jsonl"),
        ("world:7", "below 1,000"),
        ("world:x", "whole number"),
    ):
        assert job.main(["grpo", "--data", place, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_worlds_are_drawn_beside_the_training(tmp_path: Path) -> None:
    args = job.build_parser().parse_args(
        ["grpo", "--data", "world:300004", "--tiles", "2", "--out", str(tmp_path / "out")]
    )
    folder = job.data_of(args)
    assert folder == tmp_path / "out-world-300004-2"
    assert len((folder / "questions.jsonl").read_text().splitlines()) == 2


def test_the_command_line_lies_over_the_preset() -> None:
    given = ["--data", "d", "--out", "o", "--preset", "think2seg-3b", "--model", "some/model", "--steps", "7"]
    args = job.build_parser().parse_args(
        ["grpo", *given, "--set", "model.lora_rank=8", "--profile", "think2seg-box", "--combination", "box"]
    )
    preset = job.preset_of(args)
    assert (preset.model.checkpoint, preset.grpo.steps, preset.model.lora_rank) == ("some/model", 7, 8)
    assert (preset.profile, preset.combination) == ("think2seg-box", "box")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["grpo", "--help"], ["sft", "--help"], ["select", "--help"]]
)
def test_help_teaches(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        job.main(arguments)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part in (
        "questions.jsonl",
        "examples:",
        "curves.csv",
        "accelerate launch",
        "EXTRA=gpu,deepspeed",
        "--set",
    ):
        assert part in text
