"""A very small prompter, trained for a few steps: the loss falls, and interrupting changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stopped_steps import stop_in_step

torch = pytest.importorskip("torch")

from pipeline.finetune.prompter import checkpoints, prompter_data, prompter_train  # noqa: E402
from pipeline.finetune.prompter.optimisers import Rates  # noqa: E402
from pipeline.finetune.prompter.prompter_model import PrompterShape, build_model, export_checkpoint  # noqa: E402
from pipeline.finetune.prompter.samples import prompt_text  # noqa: E402
from pipeline.finetune.prompter.training_place import TrainingPlace  # noqa: E402

TINY = PrompterShape(
    vision_width=64, vision_depth=2, vision_mlp=96, text_width=64, text_depth=3, text_mlp=96, text_kv_heads=1
)
STAGE = prompter_train.StageOptions(
    rates=Rates(steps=6, warmup=1, decay_from=0.9), batch=4, save_every=3, text_budget=90
)


def draw(_chunk: int) -> list[prompter_data.DrawnTile]:
    tiles = []
    for index in range(prompter_data.CHUNK):
        labels = np.zeros((252, 252), np.int32)
        x = (37 * index) % 200
        y = (53 * index) % 200
        labels[y : y + 40, x : x + 30] = 1
        rgb = np.full((252, 252, 3), 80, np.uint8)
        rgb[labels > 0] = (220, 40, 40) if index % 2 else (40, 40, 220)
        tiles.append(prompter_data.DrawnTile(rgb=rgb, labels=labels, class_of={1: index % 2}))
    return tiles


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> TrainingPlace:
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("prompter")
    prompter_data.render_store(
        work / "train", draw, n_tiles=prompter_data.CHUNK, n_classes=prompter_train.N_CLASSES
    )
    return TrainingPlace(work=work, shape=TINY)


@pytest.fixture(scope="module")
def trained(place: TrainingPlace):  # type: ignore[no-untyped-def]
    prompter_train.train_vision(place, STAGE)
    prompter_train.train_answers(place, STAGE, joint=False)
    return prompter_train.train_answers(place, STAGE, joint=True)


def losses(text: str, stage: str) -> list[float]:
    return [float(line.split("loss ")[1].split()[0]) for line in text.splitlines() if line.startswith(stage)]


def elsewhere(place: TrainingPlace, folder: Path) -> TrainingPlace:
    """The same data and tokenizer, no checkpoints."""
    folder.mkdir(exist_ok=True)
    (folder / "train").symlink_to(place.train_tiles)
    return replace(place, work=folder)


def test_the_vision_stage_learns(
    place: TrainingPlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(STAGE, rates=Rates(steps=24, warmup=2), log_every=6, save_every=100)
    prompter_train.train_vision(elsewhere(place, tmp_path / "longer"), options)
    seen = losses(capsys.readouterr().out, "vision")
    assert len(seen) == 4
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.usefixtures("trained")
def test_resuming_gives_the_state_of_an_uninterrupted_run(place: TrainingPlace, tmp_path: Path) -> None:
    again = elsewhere(place, tmp_path / "again")
    (again.work / "vision").mkdir()
    first = checkpoints.list_checkpoints(place.checkpoints("vision"))[0]
    assert first.name.endswith("3")
    (again.work / "vision" / first.name).symlink_to(first)
    tower, _ = prompter_train.train_vision(again, STAGE)
    expected = torch.nn.Module.state_dict(tower)
    whole, _ = prompter_train.train_vision(elsewhere(place, tmp_path / "whole"), STAGE)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.usefixtures("trained")
def test_a_stop_leaves_a_checkpoint_of_the_step_at_hand(
    place: TrainingPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = elsewhere(place, tmp_path / "stopped")
    with monkeypatch.context() as patched:
        stop_in_step(patched, prompter_train, 2)
        with pytest.raises(KeyboardInterrupt):
            prompter_train.train_vision(here, STAGE)
    assert [path.name for path in checkpoints.list_checkpoints(here.checkpoints("vision"))] == [
        "step_0000002"
    ]
    stopped, _ = prompter_train.train_vision(here, STAGE)
    whole, _ = prompter_train.train_vision(elsewhere(place, tmp_path / "whole"), STAGE)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, stopped.state_dict()[name]), name


def test_every_stage_leaves_its_checkpoint_and_moves_the_weights(place: TrainingPlace, trained) -> None:  # type: ignore[no-untyped-def]
    for stage in ("vision", "language", "joint"):
        assert [path.name for path in checkpoints.list_checkpoints(place.checkpoints(stage))] == [
            "step_0000003",
            "step_0000006",
        ]
    tokenizer = prompter_train.make_tokenizer(place)
    fresh = build_model(TINY, tokenizer, seed=place.seed + 1)
    moved = [
        name
        for name, value in fresh.named_parameters()
        if not torch.equal(value, trained.get_parameter(name))
    ]
    assert len(moved) == len(list(fresh.named_parameters()))


def test_a_stage_without_the_one_before_it_is_refused(place: TrainingPlace, tmp_path: Path) -> None:
    with pytest.raises(prompter_train.InputError, match="starts from stage 'vision'"):
        prompter_train.train_answers(elsewhere(place, tmp_path / "bare"), STAGE, joint=False)


@pytest.mark.long
def test_vllm_loads_the_export_and_answers_as_transformers_does(
    place: TrainingPlace, trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv(
        "VLLM_ENABLE_V1_MULTIPROCESSING", "1"
    )  # vLLM scans all modules of its process: keep other tests' out
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    vllm = pytest.importorskip("vllm")
    from PIL import Image
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    folder = tmp_path / "export"
    export_checkpoint(trained, prompter_train.make_tokenizer(place), folder, card="# card\n")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (252, 252, 3), dtype=np.uint8))
    text = f"<|im_start|>user\n<|vision_start|><|image_pad|>{prompt_text('storage tanks')}"
    engine = vllm.LLM(
        model=str(folder),
        dtype="float32",
        max_model_len=512,
        enforce_eager=True,
        limit_mm_per_prompt={"image": 1, "video": 0},
    )
    prompts = [{"prompt": text, "multi_modal_data": {"image": image}}]
    reply = engine.generate(prompts, vllm.SamplingParams(temperature=0, max_tokens=24))[0].outputs[0]
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = AutoProcessor.from_pretrained(folder)(text=[text], images=[image], return_tensors="pt")
    theirs = model.generate(**inputs, max_new_tokens=24, do_sample=False)[
        0, inputs["input_ids"].shape[1] :
    ].tolist()
    assert list(reply.token_ids) == theirs
    assert reply.text == engine.get_tokenizer().decode(theirs, skip_special_tokens=True)
