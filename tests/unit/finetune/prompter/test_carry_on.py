"""Going on from an exported prompter: what is taken over, what starts fresh, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pipeline.errors import InputError  # noqa: E402
from pipeline.finetune.prompter import carry_on, checkpoints, prompter_data, prompter_train  # noqa: E402
from pipeline.finetune.prompter.prompter_model import build_model, export_checkpoint  # noqa: E402
from pipeline.finetune.prompter.tokenizer import train_tokenizer  # noqa: E402
from pipeline.finetune.prompter.training_place import TrainingPlace  # noqa: E402
from tests.unit.finetune.prompter.test_prompter_train import STAGE, TINY, draw  # noqa: E402

OLD_WORDS = ["where are the quokkas?", "all quokkas", "quokkas by the sea"] * 20
NEW_WORDS = ["where are the wombats?", "all wombats", "wombats by the sea"] * 20


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny prompter that knows quokkas, with weights unlike any fresh start."""
    folder = tmp_path_factory.mktemp("start") / "prompter"
    tokenizer = train_tokenizer(OLD_WORDS)
    model = build_model(TINY, tokenizer, seed=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
                * 0.05
            )
    export_checkpoint(model, tokenizer, folder, card="# tiny\n")
    return folder


def test_rows_of_the_embedding_follow_the_text_of_their_token(exported: Path) -> None:
    old = train_tokenizer(OLD_WORDS).get_vocab()
    new = train_tokenizer(NEW_WORDS).get_vocab()
    shared = sorted(set(old) & set(new))
    only_new = sorted(set(new) - set(old))
    assert any(old[text] != new[text] for text in shared), (
        "the vocabularies number their tokens alike: nothing is tested"
    )
    assert any("wombats" in text for text in only_new)
    model = build_model(TINY, train_tokenizer(NEW_WORDS), seed=1)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    kept = carry_on.take_over(exported, model, train_tokenizer(NEW_WORDS))
    assert kept == len(shared)
    given = carry_on.exported_weights(exported)
    state = model.state_dict()
    rows = state[carry_on.EMBEDDING]
    for text in shared:
        assert torch.equal(rows[new[text]], given[carry_on.EMBEDDING][old[text]]), text
    for text in only_new:
        assert torch.equal(rows[new[text]], fresh[carry_on.EMBEDDING][new[text]]), text
    for name, value in given.items():
        assert name == carry_on.EMBEDDING or torch.equal(state[name], value), name


def test_the_tower_is_the_checkpoints_own_and_only_the_heads_learn(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompter_data.render_store(
        tmp_path / "train", draw, n_tiles=prompter_data.CHUNK, n_classes=prompter_train.N_CLASSES
    )
    place = TrainingPlace(work=tmp_path, shape=TINY, start=exported)
    carry_on.start_vision(place, exported, steps=12)
    losses = [
        float(line.split("loss ")[1].split()[0])
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("heads")
    ]
    assert losses[-1] < losses[0]
    found = checkpoints.list_checkpoints(place.checkpoints("vision"))
    carry_on.start_vision(place, exported, steps=12)
    assert checkpoints.list_checkpoints(place.checkpoints("vision")) == found
    assert capsys.readouterr().out == "", "a finished stage was trained again"
    tower = {
        key: value
        for key, value in carry_on.exported_weights(exported).items()
        if key.startswith(carry_on.TOWER)
    }
    language = prompter_train.train_answers(
        place, replace(STAGE, rates=replace(STAGE.rates, steps=2)), joint=False
    )
    assert "tokens go on from" in capsys.readouterr().out
    state = language.state_dict()
    assert tower
    for name, value in tower.items():
        assert torch.equal(state[name], value), name
    joint = prompter_train.train_answers(
        place, replace(STAGE, rates=replace(STAGE.rates, steps=2)), joint=True
    )
    assert any(not torch.equal(joint.state_dict()[name], value) for name, value in tower.items()), (
        "the joint stage left the tower alone"
    )


def test_another_shape_is_refused(exported: Path) -> None:
    tokenizer = train_tokenizer(NEW_WORDS)
    for other in (replace(TINY, text_width=96), replace(TINY, text_mlp=128)):
        with pytest.raises(InputError, match="prompter of the shape that is trained"):
            carry_on.take_over(exported, build_model(other, tokenizer, seed=0), tokenizer)


def test_another_tower_is_refused_before_training(exported: Path, tmp_path: Path) -> None:
    place = TrainingPlace(work=tmp_path, shape=replace(TINY, vision_mlp=128))
    with pytest.raises(InputError, match="prompter of the shape that is trained"):
        carry_on.start_vision(place, exported)
    assert not (tmp_path / "vision").exists()


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without model\.safetensors and tokenizer\.json"):
        carry_on.exported_weights(tmp_path)


def test_a_working_directory_goes_on_only_from_what_it_began_with(tmp_path: Path, exported: Path) -> None:
    from_exported = TrainingPlace(work=tmp_path / "work", shape=TINY, start=exported)
    carry_on.hold_to_start(from_exported)
    carry_on.hold_to_start(from_exported)
    with pytest.raises(InputError, match=r"holds a training of seed 0, and --seed 3"):
        carry_on.hold_to_start(replace(from_exported, seed=3))
    for start, began in ((None, str(exported.resolve())), (tmp_path / "another", str(exported.resolve()))):
        with pytest.raises(InputError, match="goes on from what it began with") as caught:
            carry_on.hold_to_start(TrainingPlace(work=tmp_path / "work", shape=TINY, start=start))
        assert began in str(caught.value)


def test_checkpoints_of_unknown_start_began_with_nothing(tmp_path: Path, exported: Path) -> None:
    place = TrainingPlace(work=tmp_path, shape=TINY)
    checkpoints.save_checkpoint(place.checkpoints("vision"), step=3, modules={}, optimisers={})
    with pytest.raises(InputError, match="holds a training from nothing"):
        carry_on.hold_to_start(TrainingPlace(work=tmp_path, shape=TINY, start=exported))
    carry_on.hold_to_start(place, tiles=128)
    assert carry_on.begun_in(tmp_path) == carry_on.Begun(), "what nobody knows was made up"


def test_a_directory_tells_all_devices_and_the_most_tiles_of_its_training(tmp_path: Path) -> None:
    place = TrainingPlace(work=tmp_path / "work", seed=5)
    assert carry_on.begun_in(place.work) is None
    for device, tiles in (("cuda", 256), ("cpu", 128), ("cuda", 128)):
        carry_on.hold_to_start(replace(place, device=device), tiles=tiles)
    assert carry_on.begun_in(place.work) == carry_on.Begun(
        start="", seed=5, devices=("cuda", "cpu"), tiles=256
    )


def test_a_directory_of_an_earlier_version_goes_on_with_any_seed(tmp_path: Path, exported: Path) -> None:
    """Its file names the start alone."""
    (tmp_path / "start.json").write_text(json.dumps({"start": str(exported.resolve())}))
    for seed in (3, 4):
        carry_on.hold_to_start(TrainingPlace(work=tmp_path, start=exported, seed=seed), tiles=128)
    assert carry_on.begun_in(tmp_path) == carry_on.Begun(start=str(exported.resolve()))


def test_what_could_not_be_taken_over_is_found_by_the_check(exported: Path, tmp_path: Path) -> None:
    carry_on.check_start(exported, TINY)
    with pytest.raises(InputError, match="prompter of the shape that is trained"):
        carry_on.check_start(exported, replace(TINY, vision_mlp=128))
    for name in ("model.safetensors", "tokenizer.json"):
        broken = tmp_path / name
        shutil.copytree(exported, broken)
        (broken / name).write_bytes((exported / name).read_bytes()[:100])
        with pytest.raises(InputError, match=rf"a whole prompter.*{name}"):
            carry_on.check_start(broken, TINY)


def test_fewer_rows_than_tokens_are_refused(exported: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(exported, other)
    state = load_file(other / "model.safetensors")
    state[carry_on.EMBEDDING] = state[carry_on.EMBEDDING][:100].clone()
    save_file(state, other / "model.safetensors")
    with pytest.raises(InputError, match="embed_tokens"):
        carry_on.check_start(other, TINY)
