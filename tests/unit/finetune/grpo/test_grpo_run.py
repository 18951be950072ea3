"""A training's folder: claimed once, resumed with equal parameters only, and never from half a checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from grpo_scenes import ABSENT, PRESENT, SHIPPED, TARGET, mask_of, write_data

from pipeline.errors import InputError, RunMismatchError
from pipeline.finetune.grpo.grpo_options import load_training_preset
from pipeline.finetune.grpo.grpo_run import TrainingRequest, is_last, newest_checkpoint, prepare_run
from pipeline.prompt.profile import PROFILE_DIR


@pytest.fixture
def request_(tmp_path: Path) -> TrainingRequest:
    data = write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None)])
    return TrainingRequest(
        stage="grpo", out=tmp_path / "out", data=data, preset=load_training_preset("embedded")
    )


def test_a_prepared_run_knows_its_samples_and_writes_what_it_was_asked(request_: TrainingRequest) -> None:
    run = prepare_run(request_)
    assert [sample.query for sample in run.samples] == [PRESENT, ABSENT]
    asked = json.loads((run.out / "options.json").read_text())
    assert (asked["stage"], asked["grpo.generations"], asked["seed"]) == ("grpo", 16, 0)
    assert not run.done


def test_the_same_parameters_resume_and_others_are_named(request_: TrainingRequest) -> None:
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


def test_a_checkpoint_or_profile_replaced_under_its_name_is_another_training(
    request_: TrainingRequest, tmp_path: Path
) -> None:
    model = shutil.copytree(SHIPPED, tmp_path / "model")
    profile = tmp_path / "mine.toml"
    profile.write_text((PROFILE_DIR / "embedded.toml").read_text())
    request_ = replace(
        request_,
        preset=load_training_preset("embedded", [f"model.checkpoint='{model}'", f"profile='{profile}'"]),
    )
    prepare_run(request_)
    prepare_run(request_)
    profile.write_text(profile.read_text().replace('user = "Find: {query}"', 'user = "Where: {query}"'))
    with pytest.raises(RunMismatchError, match="content of profile was"):
        prepare_run(request_)
    profile.write_text((PROFILE_DIR / "embedded.toml").read_text())
    prepare_run(request_)
    with (model / "model.safetensors").open(
        "r+b"
    ) as weights:  # the same size and date, one other byte at the end
        weights.seek(-1, 2)
        last = weights.read(1)
        weights.seek(-1, 2)
        weights.write(bytes([last[0] ^ 1]))
    with pytest.raises(RunMismatchError, match=r"content of model\.checkpoint was 'sha256:"):
        prepare_run(request_)


def test_another_segmenter_under_the_same_name_is_another_training_where_it_pays(
    request_: TrainingRequest, tmp_path: Path
) -> None:
    drawn_by = shutil.copytree(SHIPPED.parent / "embedded-segmenter", tmp_path / "sam")
    request_ = replace(
        request_, preset=load_training_preset("embedded", [f"segmenter.checkpoint='{drawn_by}'"])
    )
    prepare_run(request_)
    taught = replace(request_, stage="sft", out=tmp_path / "taught")
    prepare_run(taught)
    with (drawn_by / "config.yaml").open("a") as config:
        config.write("# a remark\n")
    with pytest.raises(RunMismatchError, match=r"content of segmenter\.config was"):
        prepare_run(request_)
    prepare_run(taught)


def test_files_that_do_not_decode_end_a_new_training_and_are_not_decoded_again(
    request_: TrainingRequest,
) -> None:
    image = request_.data / "images/a.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"1 of 2 files that cannot; the first: .*a\.png"):
        prepare_run(request_)
    assert not request_.out.exists()
    image.write_bytes(whole)
    prepare_run(request_)
    image.write_bytes(whole[: len(whole) // 2])
    assert len(prepare_run(request_).samples) == 2


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_said_first(request_: TrainingRequest, seed: int) -> None:
    with pytest.raises(InputError, match="--seed must be a whole number from 0 to 4294967295"):
        prepare_run(replace(request_, seed=seed))
    assert not request_.out.exists()
    prepare_run(replace(request_, seed=2**32 - 1))


def test_a_foreign_folder_is_left_alone(request_: TrainingRequest) -> None:
    request_.out.mkdir()
    (request_.out / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="holds other files"):
        prepare_run(request_)
    assert [path.name for path in request_.out.iterdir()] == ["letters.txt"]
    with pytest.raises(InputError, match="at least 1"):
        prepare_run(replace(request_, save_every=0))


def test_what_another_process_of_the_same_training_is_writing_is_not_foreign(
    request_: TrainingRequest,
) -> None:
    request_.out.mkdir()
    (request_.out / ".options.json.1.tmp").write_text("{")
    assert prepare_run(request_).out == request_.out


def test_bad_data_leaves_no_folder_behind(request_: TrainingRequest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"questions\.jsonl"):
        prepare_run(replace(request_, data=tmp_path / "none"))
    with pytest.raises(InputError, match=r"at least the queries of one step.*2 of 3"):
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


def test_the_last_step_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    assert not is_last(checkpoint(tmp_path, 9, json.dumps({"global_step": 9, "max_steps": 10})))
    assert is_last(checkpoint(tmp_path, 10, json.dumps({"global_step": 10, "max_steps": 10})))
    assert not is_last(
        checkpoint(tmp_path, 11, json.dumps({"global_step": 11}))
    )  # by a trainer that did not say
