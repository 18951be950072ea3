"""A training's folder: claimed once, resumed with equal parameters only, and never from half a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, write_data

from pipeline.errors import InputError, RunMismatchError
from pipeline.finetune.grpo_options import load_training_preset
from pipeline.finetune.grpo_run import RunRequest, newest_checkpoint, prepare_run


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    data = write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None)])
    return RunRequest(stage="grpo", out=tmp_path / "out", data=data, preset=load_training_preset("embedded"))


def test_a_prepared_run_knows_its_samples_and_writes_what_it_was_asked(request_: RunRequest) -> None:
    run = prepare_run(request_)
    assert [sample.question for sample in run.samples] == [PRESENT, ABSENT]
    asked = json.loads((run.out / "options.json").read_text())
    assert (asked["stage"], asked["grpo.generations"], asked["seed"]) == ("grpo", 16, 0)
    assert not run.done


def test_the_same_parameters_resume_and_others_are_named(request_: RunRequest) -> None:
    prepare_run(request_)
    prepare_run(replace(request_, save_every=7, log_every=3))
    with pytest.raises(RunMismatchError, match=r"grpo\.learning_rate was 2e-05 and is 1e-06"):
        prepare_run(replace(request_, preset=load_training_preset("embedded", ["grpo.learning_rate=1e-6"])))
    with pytest.raises(RunMismatchError, match="stage was 'grpo' and is 'sft'"):
        prepare_run(replace(request_, stage="sft"))
    with (request_.data / "questions.jsonl").open("a") as table:
        table.write(json.dumps({"image": "images/a.png", "mask": None, "question": "lakes"}) + "\n")
    with pytest.raises(RunMismatchError, match="data was"):
        prepare_run(request_)


def test_a_foreign_folder_is_left_alone(request_: RunRequest) -> None:
    request_.out.mkdir()
    (request_.out / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="holds other files"):
        prepare_run(request_)
    assert [path.name for path in request_.out.iterdir()] == ["letters.txt"]
    with pytest.raises(InputError, match="at least 1"):
        prepare_run(replace(request_, save_every=0))


def test_what_another_process_of_the_same_training_is_writing_is_not_foreign(request_: RunRequest) -> None:
    request_.out.mkdir()
    (request_.out / ".options.json.1.tmp").write_text("{")
    assert prepare_run(request_).out == request_.out


def test_bad_data_leaves_no_folder_behind(request_: RunRequest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"questions\.jsonl"):
        prepare_run(replace(request_, data=tmp_path / "none"))
    with pytest.raises(InputError, match=r"at least the questions of one step.*2 of 3"):
        prepare_run(replace(request_, preset=load_training_preset("embedded", ["grpo.questions_per_step=3"])))
    assert not request_.out.exists()


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_only_whole_checkpoints_count_and_steps_are_numbers(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") is None
    checkpoint(tmp_path, 9, json.dumps({"global_step": 9}))
    whole = checkpoint(tmp_path, 100, json.dumps({"global_step": 100}))
    checkpoint(tmp_path, 150, json.dumps({"global_step": 150})[:-3])
    checkpoint(tmp_path, 200, None)
    (tmp_path / "checkpoint-last").mkdir()
    assert newest_checkpoint(tmp_path) == whole
