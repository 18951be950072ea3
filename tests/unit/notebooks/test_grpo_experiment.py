"""The GRPO experiment: its figures against sums by hand, its plan, and one whole run with a tiny prompter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpo_experiment
import grpo_experiment_data
import grpo_experiment_steps
import pytest
from grpo_experiment_report import markdown
from grpo_experiment_score import by_format, difference, figures
from grpo_scenes import ABSENT, PRESENT, PROFILE, TARGET, mask_of, write_data, write_tiny_prompter

from pipeline.evaluate.figures.intervals import BootstrapOptions
from pipeline.finetune.grpo import world_data
from pipeline.finetune.grpo.grpo_run import TrainingRun

DRAWS = BootstrapOptions(draws=400)


def row(
    image: str,
    true: int,
    predicted: int,
    common: int,
    *,
    absent: bool = False,
    failed: bool = False,
    good: float = 1.0,
) -> dict[str, Any]:
    return {
        "image": image,
        "question": "q",
        "reply": "",
        "true_px": true,
        "predicted_px": predicted,
        "common_px": common,
        "total_px": 1000,
        "abstained": absent,
        "failed": failed,
        "format": good,
    }


ROWS = [
    row("a", 100, 100, 50),  # IoU 50 / 150
    row("b", 0, 0, 0, absent=True),  # right rejection: 1
    row("c", 0, 60, 0),  # false alarm: 0
    row("d", 40, 0, 0, failed=True, good=0.0),  # unreadable: 0
]


def test_figures_are_the_sums_by_hand() -> None:
    found = {name: values[0] for name, values in figures(ROWS, DRAWS).items()}
    assert found["giou"] == pytest.approx(100 * (1 / 3 + 1 + 0 + 0) / 4, abs=0.01)
    assert found["giou_present"] == pytest.approx(100 * (1 / 3) / 2, abs=0.01)
    assert found["ciou"] == pytest.approx(100 * 50 / (150 + 60 + 40), abs=0.01)
    assert (found["rejection"], found["false_rejection"], found["format"]) == (50.0, 0.0, 75.0)


def test_a_constant_gain_has_an_interval_without_width_and_a_mixed_one_has_not() -> None:
    before = [row(name, 100, 50, 25) for name in "abcdef"]
    better = [row(name, 100, 100, 100) for name in "abcdef"]
    assert difference(before, better, DRAWS)["giou"] == [80.0, 80.0, 80.0]
    value, low, high = difference(before, [*better[:3], *before[3:]], DRAWS)["giou"]
    assert value == 40.0
    assert low < 40.0 < high


def test_tiles_of_a_world_are_drawn_together_where_there_are_worlds_enough() -> None:
    """40 worlds of 4 equal tiles: the mean of 40 values, not of 160, has twice the standard error. Few
    worlds: tiles are drawn.
    """
    many = [
        row(f"{world}_{tile}", 100, 100, 100 if world % 2 else 0) for world in range(40) for tile in range(4)
    ]
    value, low, high = figures(many, BootstrapOptions(draws=4000))["giou"]
    assert value == 50.0
    assert (high - low) / 2 == pytest.approx(100 * 1.96 * 0.5 / 40**0.5, rel=0.15)
    _, low, high = figures(many[: 20 * 4], BootstrapOptions(draws=4000))["giou"]
    assert (high - low) / 2 == pytest.approx(100 * 1.96 * 0.5 / 80**0.5, rel=0.15)


def test_a_gain_is_told_apart_by_the_first_reply_s_format() -> None:
    """Of four queries, d broke the format and comes from 0 to 1; a comes from 1/3 to 1/2, c stays wrong, b
    right.
    """
    after = [row("a", 100, 50, 50), ROWS[1], ROWS[2], row("d", 40, 40, 40)]
    assert by_format(ROWS, after) == {"broken": (1, 25.0), "kept": (3, 4.17)}
    assert difference(ROWS, after, DRAWS)["giou"][0] == pytest.approx(25.0 + 4.17, abs=0.01)


def test_a_difference_needs_the_same_queries() -> None:
    with pytest.raises(ValueError, match="same samples"):
        difference(ROWS, ROWS[::-1], DRAWS)


def planned(*arguments: str) -> list[grpo_experiment_steps.Step]:
    return grpo_experiment.steps_of(grpo_experiment.build_parser().parse_args([*arguments, "--out", "o"]))


def test_experiments_share_equal_prompters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model", "start"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    place = grpo_experiment_steps.Place(out=tmp_path)
    given = ("--model", str(tmp_path / "model"), "--start", str(tmp_path / "start"))
    steps = {name: planned(name, *given) for name in grpo_experiment.EXPERIMENTS}
    folders = {
        name: [grpo_experiment_steps.folder_of(place, step) for step in chosen]
        for name, chosen in steps.items()
    }
    assert len(set(folders["start-vs-grpo"])) == 4
    assert len(set(folders["combinations"])) == 12
    assert folders["start-vs-grpo"][1] == folders["format-reward"][0] == folders["segmenters"][0]
    assert folders["format-reward"][1] == folders["segmenters"][1] != folders["start-vs-grpo"][2]
    assert folders["format-reward"][1] != folders["format-reward"][2]
    assert folders["segmenters"][0] == folders["segmenters"][2]  # one prompter, measured with two segmenters
    assert folders["segmenters"][1] != folders["segmenters"][3]
    assert [grpo_experiment_steps.checkpoint_of(place, step).name for step in steps["start-vs-grpo"]] == [
        "model",
        "start",
        *["prompter"] * 2,
    ]
    other = grpo_experiment_steps.Place(out=tmp_path, seed=1)
    assert grpo_experiment_steps.folder_of(other, steps["start-vs-grpo"][2]) != folders["start-vs-grpo"][2]
    monkeypatch.setattr(grpo_experiment_steps, "segmenter_hash", lambda: "other weights")
    assert not {grpo_experiment_steps.folder_of(place, step) for step in steps["start-vs-grpo"]} & set(
        folders["start-vs-grpo"]
    )


def test_training_keeps_queries_with_few_pieces_and_those_without_a_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = [(5 + 45 * number, 10, 35 + 45 * number, 40) for number in range(5)]
    few = [
        (PRESENT, mask_of(squares[0])),
        ("two", mask_of(*squares[:2])),
        ("four", mask_of(*squares[:4])),
        ("five", mask_of(*squares)),
        (ABSENT, None),
    ]
    monkeypatch.setattr(grpo_experiment_data, "render_worlds", lambda folder, **_: write_data(folder, few))
    folder = grpo_experiment_data.training_data(tmp_path, n_tiles=5, most_pieces=4)
    asked = [sample.query for sample in grpo_experiment_steps.read_samples(folder)]
    assert asked == [PRESENT, "two", "four", ABSENT]


def test_queries_are_selected_once_for_all_trainings_that_sample_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_tiny_prompter(tmp_path / "model")
    monkeypatch.setattr(grpo_experiment_steps, "PROFILES", {"box+point": str(tmp_path / "tiny.toml")})
    lessons = write_data(
        tmp_path / "data" / "lessons", [(PRESENT, mask_of(TARGET)), (ABSENT, None), ("piers", None)]
    )
    table = lessons / "questions.jsonl"
    table.write_text(
        table.read_text().replace('"images/', '"../lessons/images/').replace('"masks/', '"../lessons/masks/')
    )
    asked: list[TrainingRun] = []

    def select(run: TrainingRun) -> Path:
        asked.append(run)
        return run.exported

    monkeypatch.setattr("pipeline.finetune.grpo.select.select_queries", select)
    place = grpo_experiment_steps.Place(out=tmp_path)
    given = ("start-vs-grpo", "--model", str(model), "--select", "2", "--temperature", "0.7")
    for more in ((), ("--full-rate", "3e-5"), ("--temperature", "0.9")):
        step = planned(*given, *more)[-1]
        assert step.selected == 2
        assert grpo_experiment_steps.folder_of(place, step) != grpo_experiment_steps.folder_of(
            place, replace(step, selected=0)
        )
        grpo_experiment_steps.selected_data(place, step, lessons)
    assert [sample.query for sample in asked[0].samples] == [PRESENT, ABSENT]
    assert asked[0].samples[0].image.samefile(lessons / "images/a.png")
    assert (asked[0].stage, asked[0].preset.grpo.temperature) == ("select", 0.7)
    assert asked[0].out == asked[1].out != asked[2].out


def test_other_numbers_are_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there is not drawn again, so what is in it must stand in its name."""

    def draw(folder: Path, **_: int) -> None:
        if not folder.is_dir():
            write_data(folder, [(PRESENT, mask_of(TARGET))])

    monkeypatch.setattr(grpo_experiment_data, "render_worlds", draw)
    places = [
        grpo_experiment_data.training_data(tmp_path, n_tiles=n, most_pieces=most)
        for n in (4, 8)
        for most in (2, 9)
    ]
    places += [grpo_experiment_data.seen_data(tmp_path, n_tiles=n) for n in (4, 8)]
    assert len(set(places)) == 6
    drawn = {
        sample.image.parent for place in places[:4] for sample in grpo_experiment_steps.read_samples(place)
    }
    assert {path.resolve().parent.name for path in drawn} == {"training-4", "training-8"}


def test_sampled_answers_of_a_given_prompter_are_kept_apart_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is the same for all seeds. Greedy answers depend on none, and those of seed 0 keep the name
    they have always had.
    """
    model = write_tiny_prompter(tmp_path / "model")
    monkeypatch.setattr(grpo_experiment_steps, "PROFILES", {"box+point": str(tmp_path / "tiny.toml")})
    folder = write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET))])
    monkeypatch.setattr(grpo_experiment_data, "seen_data", lambda *_, **__: folder)
    seeds: list[int] = []

    def sampled(*_: object, seed: int, **__: object) -> list[tuple[str, bool]]:
        seeds.append(seed)
        return [(f"reply of seed {seed}", True)]

    monkeypatch.setattr("grpo_experiment_score.sampled_replies", sampled)
    monkeypatch.setattr("grpo_experiment_score.greedy_replies", lambda *_: [("greedy", True)])
    monkeypatch.setattr("pipeline.segment.sam2_segmenter.Sam2Segmenter", lambda *_: None)
    monkeypatch.setattr(
        "grpo_experiment_score.answer_rows",
        lambda _, replies, *__: [{"reply": replies[0][0]}],
    )
    step = grpo_experiment_steps.Step(name="given", combination="box+point", given=model)
    for seed in (0, 1, 0, 1):
        place = grpo_experiment_steps.Place(out=tmp_path / "out", seed=seed)
        assert grpo_experiment_steps.measure(place, step, "seen-sampled") == [
            {"reply": f"reply of seed {seed}"}
        ]
        assert grpo_experiment_steps.measure(place, step, "seen") == [{"reply": "greedy"}]
    assert seeds == [0, 1]
    answered = {path.name for path in (tmp_path / "out/runs").rglob("answers-*.json")}
    assert answered == {
        "answers-data.json",
        "answers-data-sampled-0.5.json",
        "answers-data-sampled-0.5-seed-1.json",
    }


def test_held_out_samples_are_those_of_the_benchmark(tmp_path: Path) -> None:
    from pipeline.evaluate.benchmark.benchmark import choose_samples
    from pipeline.evaluate.benchmark.open_benchmark import ReadOptions, open_benchmark

    folder = grpo_experiment_data.heldout_data(tmp_path, seeds=(3,), size_px=256)
    kept = grpo_experiment_steps.read_samples(folder)
    image = choose_samples(open_benchmark("world:3:256", ReadOptions()), "first")[0]
    assert [sample.query for sample in kept] == [sample.query for sample in image.samples]
    assert [int(sample.truth((256, 256)).sum()) for sample in kept] == [
        int(sample.mask.read().sum()) for sample in image.samples
    ]
    assert (kept[0].rgb() == image.pixels.read()).all()


def test_training_and_measurement_never_meet() -> None:
    assert world_data.FIRST_GRPO_SEED + 2400 < world_data.FIRST_MEASURE_SEED


@pytest.mark.long
def test_a_whole_experiment_with_a_tiny_prompter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("trl")
    torch.set_num_threads(1)
    write_tiny_prompter(tmp_path / "tiny")
    (tmp_path / "tiny2.toml").write_text(PROFILE.replace("n_points = 1", "n_points = 2"))
    profiles = {"box+point": str(tmp_path / "tiny.toml"), "box+points2": str(tmp_path / "tiny2.toml")}
    monkeypatch.setattr(grpo_experiment, "PROFILES", profiles)
    monkeypatch.setattr(grpo_experiment_steps, "PROFILES", profiles)
    lessons = write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None)])
    monkeypatch.setattr(grpo_experiment_data, "training_data", lambda *_, **__: lessons)
    monkeypatch.setattr(grpo_experiment_data, "heldout_data", lambda *_, **__: lessons)
    monkeypatch.setattr(grpo_experiment_data, "seen_data", lambda *_, **__: lessons)
    monkeypatch.setattr("grpo_experiment_score.MOST_TOKENS", 24)
    monkeypatch.setattr("grpo_experiment_score.FEW_TOKENS", 8)
    given = [
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(tmp_path / "tiny"),
        "--measured",
        "heldout",
        "seen-sampled",
        "--max-tokens",
        "16",
    ]
    few = ["--sft-steps", "1", "--brief-steps", "1", "--brief-replies", "4", "--generations", "2"]
    assert grpo_experiment.main(["combinations", *given, *few]) == 0
    document = json.loads((tmp_path / "out/combinations.json").read_text())
    *others, taught, rewarded = document["prompters"]
    assert [entry["name"] for entry in others] == ["taught box+point", "taught box+point + brief GRPO"]
    assert (taught["stage"], rewarded["stage"]) == ("sft", "grpo")
    assert taught["weights_sha256"] != grpo_experiment_steps.weights_hash(tmp_path / "tiny")
    assert document["segmenter_sha256"] == grpo_experiment_steps.segmenter_hash()
    assert document["samples"] == {"heldout": 2, "seen-sampled": 2}
    answered = {path.name for path in (tmp_path / "out/runs").rglob("answers-*.json")}
    assert answered == {"answers-data.json", "answers-data-sampled-0.5.json"}
    assert len(rewarded["curve"]) == 1
    assert list(rewarded["differences"]) == ["taught box+points2"]
    assert sum(count for count, _ in rewarded["by_format"]["heldout"].values()) == 2
    assert taught["by_format"] == {}
    assert (tmp_path / "out/combinations.png").stat().st_size > 1000
    assert (tmp_path / "out/combinations.md").read_text() == markdown(document)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").rglob("*") if path.is_file()}
    assert grpo_experiment.main(["combinations", *given, *few]) == 0
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").rglob("*") if path.is_file()
    } == before
