"""What the prompter's training refuses, before anything is rendered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pipeline.errors import InputError  # noqa: E402
from pipeline.finetune.prompter import checkpoints  # noqa: E402
from pipeline.finetune.prompter.prompter_options import KEPT_IN_WORK, PrompterTrainOptions, check, check_out  # noqa: E402
from tests.unit.finetune.prompter.test_prompter_train import TINY  # noqa: E402


@pytest.fixture
def options(tmp_path: Path) -> PrompterTrainOptions:
    return PrompterTrainOptions(work=tmp_path / "build" / "longer", out=tmp_path / "out", shape=TINY)


def test_the_defaults_can_be_trained(options: PrompterTrainOptions) -> None:
    check(options)
    assert not options.work.exists()
    assert not options.out.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"measured_tiles": 769}, "--measured-tiles must be 1 to 768.*769"),
        ({"measured_tiles": 0}, "--measured-tiles must be 1 to 768"),
        ({"device": "gpu"}, "--device must be cpu or cuda"),
        ({"device": "meta"}, "--device must be cpu or cuda"),
        ({"device": "cuda"}, "--device cuda needs a GPU"),
        ({"tiles": 0}, "--tiles must be at least 1"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"vision_steps": 0}, "--vision-steps must be at least 1"),
        ({"language_steps": 0, "joint_steps": 0}, "--language-steps must be at least 1"),
        ({"language_steps": 0}, "--language-steps must be at least 1"),
        ({"joint_steps": -1}, "--joint-steps must be at least 0"),
        ({"start": Path("/nowhere")}, "starts from an exported prompter"),
    ],
)
def test_bad_input_is_refused(
    options: PrompterTrainOptions, changes: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=said):
        check(replace(options, **changes))  # type: ignore[arg-type]
    assert not options.work.exists()


def test_a_gpu_beyond_the_last_is_refused(
    options: PrompterTrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cuda", "cuda:1"):
        check(replace(options, device=device))
    with pytest.raises(InputError, match=r"cuda:2 needs a GPU.*2 of them"):
        check(replace(options, device="cuda:2"))


def test_a_stage_that_was_trained_can_be_left_out(options: PrompterTrainOptions) -> None:
    """A stage without steps is refused until its checkpoint stands for it."""
    nothing = replace(options, vision_steps=0, language_steps=0, joint_steps=0)
    for stage in ("vision", "language"):
        with pytest.raises(InputError, match=f"--{stage}-steps must be at least 1"):
            check(nothing)
        checkpoints.save_checkpoint(options.place.checkpoints(stage), step=3, modules={}, optimisers={})
    check(nothing)
    assert not options.out.exists()


def test_a_file_is_no_working_directory(options: PrompterTrainOptions) -> None:
    options.work.parent.mkdir()
    options.work.write_text("precious")
    with pytest.raises(InputError, match="--work must be a folder"):
        check(options)


def test_an_export_over_the_training_is_refused(
    options: PrompterTrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while nothing of it exists, by another spelling, and through a link."""
    work = options.work
    places = [
        work,
        work.parent,
        work.parent.parent,
        work / "x" / "..",
        *(work / name for name in KEPT_IN_WORK),
        work / "train" / "deep",
    ]
    for out in places:
        with pytest.raises(InputError, match="replaces its folder as a whole"):
            check_out(replace(options, out=out))
    work.mkdir(parents=True)
    (work.parent.parent / "link").symlink_to(work)
    monkeypatch.chdir(work)
    for out in (Path(), work.parent.parent / "link", Path("vision")):
        with pytest.raises(InputError, match="replaces its folder as a whole"):
            check_out(replace(options, out=out))


def test_an_export_beside_the_training_is_fine(options: PrompterTrainOptions) -> None:
    for out in (
        options.work / "prompter",
        options.work.parent / "longer-prompter",
        options.work.parent / "train",
    ):
        check_out(replace(options, out=out))
