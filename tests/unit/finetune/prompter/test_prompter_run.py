"""The whole training of a very small prompter, its card, and measuring again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from job_files import load_job

torch = pytest.importorskip("torch")

from pipeline.errors import InputError  # noqa: E402
from pipeline.finetune.prompter import prompter_eval, prompter_options, prompter_run  # noqa: E402
from pipeline.finetune.prompter.prompter_data import DrawnTile  # noqa: E402
from pipeline.finetune.prompter.prompter_options import PrompterTrainOptions  # noqa: E402
from tests.unit.finetune.prompter.test_prompter_train import TINY, draw  # noqa: E402

job = load_job("train_embedded")


def drawn(chunk: int, **_how: object) -> Sequence[DrawnTile]:
    return draw(chunk)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares for worlds, and replies that are given up soon."""
    torch.set_num_threads(1)
    monkeypatch.setattr(prompter_run, "draw_chunk", drawn)
    monkeypatch.setattr(prompter_run, "VALID_TILES", 128)
    monkeypatch.setattr(prompter_eval, "MAX_REPLY", 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> PrompterTrainOptions:
    """Two steps of the tower, one of the language model."""
    folder = tmp_path_factory.mktemp("run")
    steps = {"vision_steps": 2, "language_steps": 1, "joint_steps": 0}
    options = PrompterTrainOptions(
        work=folder / "work", out=folder / "out", tiles=100, **steps, seed=4, measured_tiles=2, shape=TINY
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompter_run, "draw_chunk", drawn)
        patch.setattr(prompter_run, "VALID_TILES", 128)
        patch.setattr(prompter_eval, "MAX_REPLY", 4)
        assert prompter_run.train(options) == options.out
    return options


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_card_tells_how_it_was_trained(trained: PrompterTrainOptions) -> None:
    card = (trained.out / "MODEL_CARD.md").read_text()
    assert "on a CPU, seed 4. 128 rendered tiles; steps of tiles: 2 x 24 (vision), 1 x 12 (language)." in card
    assert "--measure-only --start DIR --measured-tiles 2 " in card


def test_the_newest_model_s_card_keeps_to_what_was_trained(
    trained: PrompterTrainOptions, tmp_path: Path
) -> None:
    """A command line that only measures names the defaults of everything else: none of them is the recipe."""
    said = PrompterTrainOptions(work=trained.work, out=tmp_path / "again", measured_tiles=1, shape=TINY)
    assert prompter_run.measure_only(said) == tmp_path / "again"
    card = (tmp_path / "again" / "MODEL_CARD.md").read_text()
    assert "seed 4. 128 rendered tiles; steps of tiles: 2 x 24 (vision), 1 x 12 (language)." in card
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        trained.out / "model.safetensors"
    ).read_bytes()


def test_an_export_is_measured_in_a_fresh_folder_and_left_as_it_is(
    trained: PrompterTrainOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(trained.out)
    options = replace(trained, work=tmp_path / "work", start=trained.out)
    table = prompter_run.measure_only(options)
    assert contents(trained.out) == before
    assert table == tmp_path / "work" / "measured.md"
    printed = capsys.readouterr().out
    assert table.read_text() in printed
    assert "| stranger | 0.000 |" in printed
    tallies = json.loads((tmp_path / "work" / "measured.json").read_text())
    asked = {name: rows["all"]["present"] + rows["all"]["absent"] for name, rows in tallies.items()}
    assert asked == {"wordings seen in training": 20, "held-out wordings": 20}, (
        "two tiles, nine classes and a stranger"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"work"}


def test_a_training_goes_on_from_an_export_and_says_so(
    trained: PrompterTrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.work / "train", tmp_path / "work" / "train")
    monkeypatch.setattr(prompter_run, "start_vision", partial(prompter_run.start_vision, steps=2))
    options = replace(
        trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out, vision_steps=0
    )
    card = (prompter_run.train(options) / "MODEL_CARD.md").read_text()
    assert f"From the exported prompter `{trained.out.resolve()}`" in card
    assert "steps of tiles: 2 x 16 (vision), 1 x 12 (language)." in card
    with pytest.raises(InputError, match="a training keeps its seed"):
        prompter_run.train(replace(options, seed=5))


def test_without_a_checkpoint_nothing_is_rendered_or_exported(tmp_path: Path) -> None:
    options = PrompterTrainOptions(work=tmp_path / "work", out=tmp_path / "out", shape=TINY)
    with pytest.raises(InputError, match="a checkpoint that answers"):
        prompter_run.measure_only(options)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_export_is_not_measured(trained: PrompterTrainOptions, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained.out, broken)
    (broken / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="a whole prompter"):
        prompter_run.measure_only(replace(trained, work=tmp_path / "work", start=broken))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "{work}"], "replaces its folder as a whole"),
        (["--out", "{above}"], "replaces its folder as a whole"),
        (["--measure-only"], "a checkpoint that answers"),
        (["--measure-only", "--measured-tiles", "800"], "--measured-tiles must be 1 to 768"),
        (["--measured-tiles", "800"], "--measured-tiles must be 1 to 768"),
        (["--device", "gpu"], "--device must be cpu or cuda"),
        (["--language-steps", "0", "--joint-steps", "0"], "--language-steps must be at least 1"),
        (["--vision-steps", "0"], "--vision-steps must be at least 1"),
        (["--start", "{above}"], "starts from an exported prompter"),
        (["--start", "{tiny}"], "prompter of the shape that is trained"),
        (["--measure-only", "--start", "{tiny}"], "prompter of the shape that is trained"),
    ],
)
def test_bad_input_of_the_job_ends_with_2_and_writes_nothing(
    trained: PrompterTrainOptions,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    work = tmp_path / "work"
    given = [argument.format(work=work, above=tmp_path, tiny=trained.out) for argument in arguments]
    assert job.main(["prompter", "--work", str(work), "--out", str(tmp_path / "out"), *given]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_job_says_what_is_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, PrompterTrainOptions]] = []
    for name in ("train", "measure_only"):
        monkeypatch.setattr(
            prompter_run, name, lambda options, name=name: seen.append((name, options)) or options.out
        )
    assert job.main(["prompter", "--work", str(tmp_path), "--joint-steps", "7", "--seed", "8"]) == 0
    assert (
        job.main(["prompter", "--work", str(tmp_path), "--measure-only", "--start", str(tmp_path / "s")]) == 0
    )
    shipped = job.ROOT / "pipeline/models/embedded-prompter"
    assert seen == [
        ("train", PrompterTrainOptions(work=tmp_path, out=shipped, joint_steps=7, seed=8)),
        ("measure_only", PrompterTrainOptions(work=tmp_path, out=shipped, start=tmp_path / "s")),
    ]
    assert prompter_options.VALID_TILES == 768
