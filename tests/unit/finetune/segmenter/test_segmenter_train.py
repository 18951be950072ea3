"""A few steps of the real training on a tiny SAM2: loss falls, a resumed run equals an uninterrupted one,
given weights are gone on from, and what cannot be trained is refused before a window is rendered.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from job_files import load_job
from stopped_steps import stop_in_step

from pipeline.errors import InputError
from pipeline.finetune.segmenter import segmenter_train
from pipeline.finetune.segmenter.segmenter_options import MEAN_FILE, SegmenterTrainOptions
from pipeline.finetune.segmenter.segmenter_train import (
    Training,
    batch,
    rate_at,
    train,
    visible_prefix,
)
from pipeline.finetune.segmenter.training_windows import PoolOptions, WindowPool
from pipeline.segment.sam2_model import EMBEDDED_DIR, build_architecture, load_weights, read_state

torch = pytest.importorskip("torch")

job = load_job("train_embedded")

SHRINK = {
    "embed_dim: 32": "embed_dim: 8",
    "[1, 2, 6]": "[1, 1, 2]",
    "[6, 8]": "[3]",
    "[128, 64, 32]": "[32, 16, 8]",
    "128": "32",
    "384": "128",
}
"""Makes the embedded config tiny."""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SegmenterTrainOptions:
    directory = tmp_path_factory.mktemp("train")
    text = (EMBEDDED_DIR / "config.yaml").read_text()
    for old, new in SHRINK.items():
        text = text.replace(old, new)
    (directory / "config.yaml").write_text(text)
    pool = PoolOptions(n_windows=6, tile_px=128, seed=1)
    WindowPool(directory / "pool", pool).fill()
    return SegmenterTrainOptions(
        work_dir=directory,
        out=directory / "model.safetensors",
        config=directory / "config.yaml",
        pool=pool,
        steps=6,
        windows_per_step=2,
        prompts_per_window=3,
        box_steps=4,
        coarse_image_px=64,
        loss_px=64,
        warmup_steps=2,
        save_every=3,
        renderers=0,
    )


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def elsewhere(options: SegmenterTrainOptions, directory: Path, **changes: object) -> SegmenterTrainOptions:
    (directory / "pool").symlink_to(options.work_dir / "pool")
    return dataclasses.replace(options, work_dir=directory, out=directory / "model.safetensors", **changes)  # type: ignore[arg-type]


def test_training_lowers_the_loss(options: SegmenterTrainOptions, tmp_path: Path) -> None:
    here = elsewhere(options, tmp_path, steps=40, rate=3e-3, coarse_share=1.0)
    training = Training(here)
    pool = WindowPool(here.work_dir / "pool", here.pool)
    training.warm_up(lambda _line: None)
    same = batch(here, pool, 0)
    losses = [training.advance(same)[0] for _ in range(25)]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.parametrize("done", [0, 3])
def test_resumed_equals_uninterrupted(options: SegmenterTrainOptions, tmp_path: Path, done: int) -> None:
    """After `done` steps; 0 is the state that is saved when the warm-up ends."""
    lines: list[str] = []
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = elsewhere(options, tmp_path / "whole")
    parts = elsewhere(options, tmp_path / "parts")
    train(whole, lines.append)
    assert any("6/6" in line and "min left" in line for line in lines)
    first = Training(parts)
    pool = WindowPool(parts.work_dir / "pool", parts.pool)
    first.warm_up(lambda _line: None)
    for step in range(done):
        first.advance(batch(parts, pool, step))
    first.save()
    train(parts, lines.append)
    ours = read_state(parts.out)
    theirs = read_state(whole.out)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert [path.name for path in parts.work_dir.glob("weights-*")] == ["weights-6.safetensors"]


def test_a_stop_leaves_the_state_of_the_step_at_hand(
    options: SegmenterTrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = elsewhere(options, tmp_path)
    with monkeypatch.context() as patched:
        stop_in_step(patched, segmenter_train, 2)
        with pytest.raises(KeyboardInterrupt):
            train(here, lambda _line: None)
    assert Training(here).step == 2
    assert not here.out.exists()


@pytest.fixture
def given(options: SegmenterTrainOptions, tmp_path: Path) -> Path:
    """Weights of the tiny architecture, unlike any fresh start."""
    from safetensors.torch import save_file

    state = build_architecture(options.config).state_dict()
    noise = torch.Generator().manual_seed(8)
    path = tmp_path / "given.safetensors"
    save_file(
        {name: torch.randn(tensor.shape, generator=noise).mul(0.05).half() for name, tensor in state.items()},
        path,
    )
    return path


def test_a_start_is_taken_over_and_the_rest_is_fresh(
    options: SegmenterTrainOptions, given: Path, tmp_path: Path
) -> None:
    training = Training(elsewhere(options, tmp_path, start=given))
    state = read_state(given)
    for model in (training.model, training.mean):
        assert all(torch.equal(value, state[name].float()) for name, value in model.state_dict().items())
    assert training.step == 0
    assert training.optimiser.state_dict()["state"] == {}
    assert all(parameter.requires_grad for parameter in training.model.parameters())


def test_a_start_is_trained_without_warm_up_and_resumes(
    options: SegmenterTrainOptions, given: Path, tmp_path: Path
) -> None:
    """The shortest rates change little: what comes out is close to what was given, and far from a training
    from nothing.
    """
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = (
        elsewhere(options, tmp_path / name, start=given, rate=1e-5) for name in ("whole", "parts")
    )
    lines: list[str] = []
    ours = read_state(train(whole, lines.append))
    assert not any("warm-up" in line for line in lines)
    state = read_state(given)
    moved = [(ours[name].float() - state[name].float()).abs().max() for name in state]
    assert 0 < max(moved) < 1e-3
    first = Training(parts)
    pool = WindowPool(parts.work_dir / "pool", parts.pool)
    for step in range(2):
        first.advance(batch(parts, pool, step))
    first.save()
    given.write_bytes(b"no longer needed")
    theirs = read_state(train(parts, lines.append))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_published_weights_load(options: SegmenterTrainOptions, tmp_path: Path) -> None:
    here = elsewhere(options, tmp_path, steps=1)
    out = train(here, lambda _line: None)
    state = read_state(out)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    model = build_architecture(here.config)
    load_weights(model, out)
    assert out.stat().st_mode & 0o044


def test_the_weights_in_place_stay_until_the_last_step(
    options: SegmenterTrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = elsewhere(options, tmp_path, steps=3, save_every=1)
    here.out.write_bytes(b"shipped")
    published: list[bytes] = []
    advance = Training.advance

    def watched(training: Training, inputs: object) -> tuple[float, float]:
        published.append(here.out.read_bytes())
        load_weights(build_architecture(here.config), here.work_dir / MEAN_FILE)
        return advance(training, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "advance", watched)
    train(here, lambda _line: None)
    assert published == [b"shipped"] * 3
    assert here.out.read_bytes() == (tmp_path / MEAN_FILE).read_bytes()


def test_a_finished_training_writes_the_weights_again(options: SegmenterTrainOptions, tmp_path: Path) -> None:
    """As after a kill between the last state and the weights, or when the command names another file."""
    here = elsewhere(options, tmp_path, steps=1)
    written = train(here, lambda _line: None).read_bytes()
    here.out.unlink()
    assert train(here, lambda _line: None).read_bytes() == written
    other = tmp_path / "other" / "model.safetensors"
    assert train(dataclasses.replace(here, out=other), lambda _line: None) == other
    assert other.read_bytes() == written


def test_batches_are_reproducible_and_consistent(options: SegmenterTrainOptions) -> None:
    pool = WindowPool(options.work_dir / "pool", options.pool)
    one = batch(options, pool, 5)
    again = batch(options, pool, 5)
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(again, field.name))
    for box, mask in zip(one.boxes_xyxy.astype(int), one.masks, strict=True):
        assert mask[box[1] : box[3], box[0] : box[2]].sum() == mask.sum()
    assert one.coords_xy.shape[:2] == one.labels.shape
    assert len(one.masks) == options.windows_per_step * options.prompts_per_window
    assert not np.array_equal(one.rgb, batch(options, pool, 6).rgb)


def test_rate_rises_stays_and_falls() -> None:
    options = SegmenterTrainOptions(steps=100, warmup_steps=10, decay_share=0.4, rate=1.0)
    rates = [rate_at(options, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:60] == pytest.approx([1.0] * 50)
    assert all(a > b for a, b in itertools.pairwise(rates[60:]))
    assert rates[-1] == pytest.approx(1 / 40)


def test_prefix_grows_with_the_steps_alone() -> None:
    options = SegmenterTrainOptions(pool=PoolOptions(n_windows=1000), windows_per_step=8, reuse=2.0)
    assert visible_prefix(options, 0) == 128
    assert visible_prefix(options, 10) == 168
    assert visible_prefix(options, 10_000) == 1000


def test_a_work_directory_keeps_its_start_and_architecture(
    options: SegmenterTrainOptions, given: Path, tmp_path: Path
) -> None:
    Training(elsewhere(options, tmp_path)).save()
    begun = dataclasses.replace(options, work_dir=tmp_path, out=tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="holds a training from nothing"):
        Training(dataclasses.replace(begun, start=given))
    with pytest.raises(InputError, match=r"holds a training of seed 0, and --seed 4"):
        Training(dataclasses.replace(begun, seed=4))
    config = tmp_path / "deeper.yaml"
    config.write_text(options.config.read_text().replace("[1, 1, 2]", "[1, 1, 3]"))
    with pytest.raises(InputError, match=r"training of another one than .*deeper\.yaml"):
        Training(dataclasses.replace(begun, config=config))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--config", "{config}", "--start", "{shipped}"],
            "holds weights of another architecture than the config",
        ),
        (["--config", "{config}", "--start", "{config}"], "could not be read as weights"),
        (["--start", "{out}"], "the weights to start from must be a file"),
        (["--config", "{world}"], "the config must describe a SAM2"),
        (["--config", "{out}"], "the architecture's config must be a file"),
        (["--config", "{config}", "--out", "{shipped}"], "must belong together"),
        (["--steps", "0"], "at least one step"),
        (["--windows", "0"], "--windows must be at least 1"),
        (["--seed", "-1"], "seed must be 0 or more"),
        (["--warm-up", "-1"], "warm-up's steps must be 0 or more"),
        (["--out", "{folder}"], "the weights go to a file in a folder"),
        (["--out", "{world}/model.safetensors"], "the weights go to a file in a folder"),
        (["--work", "{world}"], "--work must be a folder"),
        (["--out", "{work}/weights-best.safetensors"], "which the training uses itself"),
        (["--out", "{work}/mean.safetensors"], "which the training uses itself"),
        (["--out", "{work}/pool/rgb.u8"], "which the training uses itself"),
    ],
)
def test_bad_input_of_the_job_ends_with_2_and_renders_nothing(
    options: SegmenterTrainOptions,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    out = tmp_path / "weights.safetensors"
    shipped = EMBEDDED_DIR / "model.safetensors"
    places = {"config": options.config, "shipped": shipped, "out": out, "world": Path(__file__)}
    places |= {"folder": Path(__file__).parent, "work": tmp_path / "work"}
    before = shipped.stat().st_mtime_ns
    given = [argument.format(**places) for argument in arguments]
    assert job.main(["segmenter", "--work", str(tmp_path / "work"), "--out", str(out), *given]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert shipped.stat().st_mtime_ns == before


def test_the_job_says_what_is_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[SegmenterTrainOptions] = []

    def spy(options: SegmenterTrainOptions) -> Path:
        seen.append(options)
        return options.out

    monkeypatch.setattr(segmenter_train, "train", spy)
    assert job.main(["segmenter"]) == 0
    places = {name: tmp_path / name for name in ("work", "out", "config", "start")}
    numbers = {"steps": 5, "warm-up": 6, "windows": 7, "seed": 8}
    given = [part for name, value in (places | numbers).items() for part in (f"--{name}", str(value))]
    assert job.main(["segmenter", *given]) == 0
    work_dir = places.pop("work")
    expected = SegmenterTrainOptions(
        work_dir=work_dir, steps=5, box_steps=6, pool=PoolOptions(n_windows=7), seed=8, **places
    )
    assert seen == [SegmenterTrainOptions(), expected]
    assert f"wrote {tmp_path / 'out'}" in capsys.readouterr().out


def test_the_job_s_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, parts in (
        (["--help"], ("examples:", "--start", "--config", "small.yaml")),
        (
            ["segmenter", "--help"],
            ("go on from", "no warm-up", "default 6000", "default 700", "default 20000"),
        ),
    ):
        with pytest.raises(SystemExit) as stop:
            job.main(arguments)
        assert stop.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert all(part in text for part in parts)
