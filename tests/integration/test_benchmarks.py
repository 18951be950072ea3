"""jobs/evaluate.py --benchmark: every layout, both runners, resuming, bad input, and the shipped models for
real.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from benchmark_layouts import LAYOUTS, write_layout, write_rrsisd
from job_files import load_job

from pipeline.evaluate.benchmark import sample_steps
from pipeline.evaluate.benchmark.prepare_benchmark import EVALUATION_JSON
from pipeline.evaluate.benchmark.readers import world_tiles
from pipeline.evaluate.benchmark.sample_records import unpack_mask
from pipeline.evaluate.benchmark.truth_models import TruthSegmenter, image_number
from pipeline.evaluate.figures.metrics import CONVENTIONS
from pipeline.schema.imagery import TileImage
from pipeline.segment.segmenter import Embedding

ROOT = Path(__file__).parents[2]
FILES = ("results.json", "results.md", "samples.html", "samples.parquet")
TWO_PARTS = ("--benchmark", "world:7:1024", "--models", "truth", "--limit", "10")
"""Ten tiles in parts of 8 images."""

Evaluate = Callable[..., int]


@pytest.fixture(scope="module")
def evaluate() -> Evaluate:
    """Call `main` of jobs/evaluate.py in this process; returns its exit code."""
    main = load_job("evaluate").main
    return lambda *words: main(["--runner", "local", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("layouts")
    return {name: write_layout(name, root / name).root for name in LAYOUTS}


def results(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "results.json").read_text())
    return document


@pytest.mark.parametrize(
    ("name", "size"), [*((name, "preset") for name in LAYOUTS), ("rrsis-d", "native"), ("lasers", "native")]
)
def test_the_truth_scores_one_on_every_layout(
    evaluate: Evaluate, layouts: dict[str, Path], tmp_path: Path, name: str, size: str
) -> None:
    out = tmp_path / "out"
    assert (
        evaluate("--benchmark", f"{name}:{layouts[name]}", "--models", "truth", "--size", size, "--out", out)
        == 0
    )
    document = results(out)
    figures = {figure: entry["value"] for figure, entry in document["figures"].items()}
    assert (figures["giou"], figures["ciou"], figures["p@0.9"], figures["failure"]) == (1.0, 1.0, 1.0, 0.0)
    assert figures["rejection"] in (1.0, None)
    assert all(entry["value"] == 1.0 for entry in document["pixel_metrics"].values())
    assert document["benchmark"]["name"] == name
    rows = pq.read_table(out / "samples.parquet").to_pylist()
    assert len(rows) == document["n_samples"] >= 3
    side = 256 if size == "preset" else 128
    for row in rows:
        assert (row["height"], row["width"]) == (side, side)
        assert row["score"] == 1.0
        assert row["iou"] == (1.0 if row["true_px"] else None)
        assert unpack_mask(row["mask_png"], (side, side)).sum() == row["true_px"] == row["common_px"]
        assert (len(json.loads(row["prompts"])) > 0) == (row["true_px"] > 0)
    assert all((out / file).stat().st_size > 0 for file in FILES)


def test_a_second_start_does_only_what_is_missing(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "whole") == 0
    read: list[int] = []
    plain = sample_steps.SampleReader.read

    def interrupted(self: sample_steps.SampleReader, part: int) -> sample_steps.PartImages:
        if part == 1:
            raise KeyboardInterrupt
        return plain(self, part)

    monkeypatch.setattr(sample_steps.SampleReader, "read", interrupted)
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "cut") == 130
    assert [path.name for path in (tmp_path / "cut" / "parts").iterdir()] == ["p00000.parquet"]
    assert not (tmp_path / "cut" / "results.json").exists()

    def counted(self: sample_steps.SampleReader, part: int) -> sample_steps.PartImages:
        read.append(part)
        return plain(self, part)

    monkeypatch.setattr(sample_steps.SampleReader, "read", counted)
    first = (tmp_path / "cut" / "parts" / "p00000.parquet").stat().st_mtime_ns
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "cut") == 0
    assert read == [1]
    assert (tmp_path / "cut" / "parts" / "p00000.parquet").stat().st_mtime_ns == first
    for file in ("results.json", "results.md", "samples.html", "samples.parquet"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    # another convention is another way to count, not another evaluation
    capsys.readouterr()
    assert evaluate(*TWO_PARTS, "--convention", "vision-reasoner", "--out", tmp_path / "cut") == 0
    assert read == [1]
    assert "resumed: 2 of 2 parts were committed before" in capsys.readouterr().out
    document = results(tmp_path / "cut")
    assert document["protocol"]["convention"] == "vision-reasoner"
    assert document["figures"]["giou"]["value"] == pytest.approx(
        1 - document["rejection"]["n_empty"] / document["n_samples"], abs=1e-6
    )
    # a part that was damaged is done again
    (tmp_path / "cut" / "parts" / "p00001.parquet").write_bytes(b"half a file")
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "cut") == 0
    assert read == [1, 1]
    assert (tmp_path / "cut" / "results.json").read_bytes() == (
        tmp_path / "whole" / "results.json"
    ).read_bytes()


def test_a_query_that_failed_once_can_be_asked_again(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The memory is short the first time that something of the second part is drawn. The first part is never
    done again.
    """
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "whole") == 0
    out = tmp_path / "out"
    plain = TruthSegmenter.embed
    failures = ["out of memory"]
    first, second = (out / "parts" / name for name in ("p00000.parquet", "p00001.parquet"))
    read: list[int] = []

    def short(self: TruthSegmenter, image: TileImage) -> Embedding:
        if failures and image_number(image.tile) >= sample_steps.IMAGES_PER_PART:
            raise RuntimeError(failures.pop())
        return plain(self, image)

    def counted(self: sample_steps.SampleReader, part: int) -> sample_steps.PartImages:
        read.append(part)
        return reader(self, part)

    reader = sample_steps.SampleReader.read
    monkeypatch.setattr(TruthSegmenter, "embed", short)
    monkeypatch.setattr(sample_steps.SampleReader, "read", counted)
    assert evaluate(*TWO_PARTS, "--out", out) == 3
    assert (read, failures) == ([0, 1], [])
    assert results(out)["outcomes"]["failed/model_error"] == 1
    assert (
        "attention: 1 of 2 parts hold queries that failed for a reason that may pass; the same"
        in capsys.readouterr().out
    )
    kept = (first.stat().st_mtime_ns, first.read_bytes())
    failed = second.read_bytes()
    assert evaluate(*TWO_PARTS, "--out", out) == 3, "it stays failed until it is asked again"
    assert read == [0, 1]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample_steps, "write_part", interrupted)
        assert evaluate(*TWO_PARTS, "--out", out, "--retry-failed") == 130
    assert second.read_bytes() == failed, "the old part stays until there is a new one"
    capsys.readouterr()
    assert evaluate(*TWO_PARTS, "--out", out, "--retry-failed") == 0
    said = capsys.readouterr().out
    assert "note: " in said
    assert f"{second} has 1 failed query and is done again" in said
    assert "resumed: 1 of 2 parts were committed before" in said
    assert "attention" not in said
    assert read == [0, 1, 1, 1]
    assert (first.stat().st_mtime_ns, first.read_bytes()) == kept
    for file in FILES:
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert evaluate(*TWO_PARTS, "--out", out, "--retry-failed") == 0
    assert read == [0, 1, 1, 1], "nothing is left to ask again"
    assert [path.name for path in (out / "parts").iterdir() if path.suffix != ".parquet"] == []


def test_query_policies_and_limits(evaluate: Evaluate, layouts: dict[str, Path], tmp_path: Path) -> None:
    place = f"earthreason:{layouts['earthreason']}"

    def asked(*words: str) -> list[str]:
        out = tmp_path / "-".join(words)
        assert evaluate("--benchmark", place, "--models", "truth", *words, "--out", out) == 0
        return [row["sample_id"] for row in pq.read_table(out / "samples.parquet").to_pylist()]

    assert asked("--questions", "first") == ["00000#0", "00001#0", "00002#0", "00003#0"]
    assert len(asked("--questions", "all")) == 11  # three wordings of three targets, two of the absent one
    assert [name[:5] for name in asked("--questions", "random", "--seed", "3")] == [
        "00000",
        "00001",
        "00002",
        "00003",
    ]
    assert asked("--limit", "2") == ["00000#0", "00002#0"]


def test_the_area_of_empty_land_does_not_depend_on_the_size_it_is_scored_at(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    areas = {}
    for size in ("native", "64"):
        words = (
            "--benchmark",
            "world:7:512",
            "--models",
            "truth",
            "--limit",
            3,
            "--size",
            size,
            "--out",
            tmp_path / size,
        )
        assert evaluate(*words) == 0
        areas[size] = results(tmp_path / size)["false_alarms"]["empty_km2"]
    n_empty = results(tmp_path / "64")["rejection"]["n_empty"]
    assert areas["native"] == areas["64"] == pytest.approx(n_empty * (256 * 0.5 / 1000) ** 2, abs=1e-4)


def test_a_damaged_picture_is_a_failure_that_counts_and_shows_in_the_exit_code(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    root = write_layout("earthreason", tmp_path / "e").root
    picture = root / "test" / "images" / "00000.png"
    picture.write_bytes(picture.read_bytes()[:3000])
    out = tmp_path / "out"
    assert evaluate("--benchmark", f"earthreason:{root}", "--models", "truth", "--out", out) == 3
    document = results(out)
    assert document["outcomes"] == {"empty/prompter": 1, "failed/unreadable": 1, "found": 2}
    assert document["figures"]["giou"]["value"] == 0.75
    assert document["figures"]["ciou"]["value"] < 1  # its target is in the union


def test_a_damaged_truth_is_named_before_any_model_and_a_corrected_one_is_another_evaluation(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_layout("earthreason", tmp_path / "e").root
    label = root / "test" / "labels" / "00000.png"
    out = tmp_path / "out"
    words = ("--benchmark", f"earthreason:{root}", "--models", "truth", "--out", out)
    whole = label.read_bytes()
    label.write_bytes(whole[: len(whole) // 2])
    with monkeypatch.context() as patch:
        patch.setattr(sample_steps.SamplePrompter, "__init__", lambda *_: pytest.fail("a model was built"))
        assert evaluate(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: earthreason: every true mask must decode. Got: 1 of 4 do not, e.g. 00000#0: "
    )
    assert f"{label} does not decode: " in error
    assert "To fix: fetch these files" in error
    assert not out.exists()
    label.write_bytes(whole)
    assert evaluate(*words) == 0
    label.write_bytes((root / "test" / "labels" / "00001.png").read_bytes())
    assert evaluate(*words) == 2
    assert "content.masks: " in capsys.readouterr().err
    label.write_bytes(whole)
    assert evaluate(*words) == 0
    assert "resumed: 1 of 1 parts" in capsys.readouterr().out


def test_queries_that_changed_are_another_evaluation(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--benchmark", "world:7:512", "--models", "truth", "--out", tmp_path / "out")
    assert evaluate(*words) == 0
    monkeypatch.setattr(world_tiles, "MIN_TARGET_PX", 2000)  # as another version of the program would have it
    assert evaluate(*words) == 2
    assert "content.questions: " in capsys.readouterr().err


def test_a_directory_is_made_up_where_none_is_given(
    evaluate: Evaluate,
    layouts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = load_job("evaluate")

    def named(*words: str) -> str:
        return str(job.request_of(job.parser().parse_args(["--benchmark", *words])).out)

    assert named("world:7", "--preset", "embedded") == "evaluations/world-7-embedded"
    assert (
        named("world:7:1024", "--limit", "24", "--convention", "think2seg")
        == "evaluations/world-7-1024-embedded-limit-24"
    )
    assert (
        named("rrsis-d:/data/RRSIS-D/", "--split", "val", "--preset", "think2seg-3b")
        == "evaluations/rrsis-d-RRSIS-D-val-think2seg-3b"
    )
    odd = named(
        "earthreason:/data/my data (2)", "--config", "dir/mine.toml", "--prompts", "truth", "--size", "native"
    )
    assert odd == "evaluations/earthreason-my-data-2-embedded-config-mine-prompts-truth-size-native"
    monkeypatch.chdir(tmp_path)
    words = ("--benchmark", f"refsegrs:{layouts['refsegrs']}", "--models", "truth", "--limit", 2)
    assert evaluate(*words) == 0
    out = "evaluations/refsegrs-refsegrs-embedded-limit-2-models-truth"
    assert f"results go to {out}\n" in capsys.readouterr().out
    assert all((tmp_path / out / file).is_file() for file in FILES)
    assert evaluate(*words) == 0
    assert "resumed: 1 of 1 parts" in capsys.readouterr().out


def test_masks_of_another_size_are_refused_or_stretched(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_rrsisd(tmp_path / "odd", odd_image=True).root
    words = ("--benchmark", f"rrsis-d:{root}", "--models", "truth", "--out", tmp_path / "out")
    assert evaluate(*words) == 2
    assert "image 128 x 129 px, mask 128 x 128 px" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert evaluate(*words, "--size-mismatch", "squash") == 0
    assert results(tmp_path / "out")["notes"][0].startswith("1 masks were of another size than their image")


BAD = {
    "no benchmark and no run": ((), "name what to evaluate"),
    "a missing split": (
        ("--benchmark", "earthreason:{earthreason}", "--split", "val", "--out", "{out}"),
        r"no folder .*/val/images; .*earthreason holds test\..*with --split a split that it holds",
    ),
    "both modes": (("--benchmark", "world:7", "--run", "x", "--out", "{out}"), "cannot be combined"),
    "unknown benchmark": (("--benchmark", "coco:/x", "--out", "{out}"), "NAME is one of"),
    "no such folder": (("--benchmark", "lasers:/nowhere", "--out", "{out}"), "which is none"),
    "another layout": (
        ("--benchmark", "risbench:{lasers}", "--out", "{out}"),
        r"risbench must be laid out.*no file .*phrase_test",
    ),
    "unknown preset": (
        ("--benchmark", "world:7", "--preset", "nothing", "--out", "{out}"),
        "use one of embedded",
    ),
    "absurd size": (("--benchmark", "world:7", "--size", "7", "--out", "{out}"), "16 to 4096"),
    "absurd tolerance": (
        ("--benchmark", "world:7", "--boundary-tolerance", "2", "--out", "{out}"),
        "share of the diagonal",
    ),
    "no queries": (("--benchmark", "world:7:512", "--limit", "0", "--out", "{out}"), "at least 1"),
    "an unknown split": (
        ("--benchmark", "rrsis-d:{rrsis-d}", "--split", "train", "--out", "{out}"),
        "use one of test, val",
    ),
    "a foreign directory": (
        ("--benchmark", "world:7:512", "--out", "{rrsis-d}"),
        "must be empty or hold this evaluation",
    ),
    "a preset without eyes": (
        ("--benchmark", "world:7", "--config", "{oracle}", "--out", "{out}"),
        "that looks at images",
    ),
    "a segmenter that is not there": (
        ("--benchmark", "world:7", "--config", "{lost}", "--out", "{out}"),
        "looked for /nowhere/config.yaml",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_ends_with_2_before_any_model_is_loaded(
    evaluate: Evaluate,
    layouts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(sample_steps, "build_prompter", refuse)
    monkeypatch.setattr(sample_steps, "build_segmenter", refuse)
    (tmp_path / "oracle.toml").write_text('[prompter]\nkind = "oracle"\nmodel = "oracle:labels.tif"\n')
    (tmp_path / "lost.toml").write_text('[segmenter]\ncheckpoint = "/nowhere/model.safetensors"\n')
    places = {
        "out": tmp_path / "out",
        "oracle": tmp_path / "oracle.toml",
        "lost": tmp_path / "lost.toml",
        **layouts,
    }
    words, message = BAD[case]
    assert evaluate(*(word.format(**places) for word in words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_the_directory_of_another_evaluation_is_refused_with_the_difference(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--benchmark", "world:7:512", "--models", "truth", "--out", tmp_path)
    assert evaluate(*words, "--limit", 3) == 0
    assert evaluate(*words, "--limit", 4) == 2
    assert "limit: 3 -> 4" in capsys.readouterr().err
    (tmp_path / EVALUATION_JSON).write_text("{}")
    assert evaluate(*words, "--limit", 3) == 2
    assert "must be the document of an evaluation" in capsys.readouterr().err


def test_the_commands_in_the_help_are_real(capsys: pytest.CaptureFixture[str]) -> None:
    job = load_job("evaluate")
    text = job.EPILOG.replace("\\\n", " ")
    commands = [
        line.strip()
        for line in text.splitlines()
        if line.strip().startswith("python jobs/evaluate.py --benchmark")
    ]
    assert len(commands) == 3
    for command in commands:
        request = job.request_of(job.parser().parse_args(shlex.split(command)[2:]))
        assert request.out.startswith("eval/")
    chosen = next(action.choices for action in job.parser()._actions if action.dest == "convention")
    assert tuple(chosen) == tuple(CONVENTIONS)
    with pytest.raises(SystemExit):
        job.main(["--help"])
    shown = capsys.readouterr().out
    assert all(line in shown for line in job.EPILOG.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shared_ray")
def test_ray_and_this_process_give_the_same_files(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "ray", "--runner", "ray") == 0
    assert "part 2/2" in capsys.readouterr().out
    assert evaluate(*TWO_PARTS, "--out", tmp_path / "local") == 0
    for file in FILES:
        assert (tmp_path / "ray" / file).read_bytes() == (tmp_path / "local" / file).read_bytes(), file


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_shipped_models_answer_for_real(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """vLLM and SAM2 with the embedded checkpoints: replies are kept, prompts lie in the image, figures follow
    from the rows.
    """
    words = ("--benchmark", "world:7:512", "--preset", "embedded", "--questions", "all", "--limit", "8")
    assert evaluate(*words, "--out", tmp_path / "out") in (0, 3)
    assert "The embedded models were trained only on synthetic scenes" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert len(rows) == 8
    assert all(
        "<answer>" in row["reply"] and row["n_calls"] >= 1 for row in rows if row["status"] != "failed"
    )
    for row in rows:
        for prompt in json.loads(row["prompts"]):
            x0, y0, x1, y1 = prompt["box_xyxy"]
            assert 0 <= x0 < x1 <= 256
            assert 0 <= y0 < y1 <= 256
        assert unpack_mask(row["mask_png"], (256, 256)).sum() == row["predicted_px"]
    document = results(tmp_path / "out")
    assert document["figures"]["giou"]["value"] == pytest.approx(
        sum(row["score"] for row in rows) / 8, abs=1e-6
    )
    assert document["models"]["prompter"].startswith("embedded-prompter@sha256:")


def test_a_gate_and_a_verifier_of_the_truth_are_refused(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for table, mode, said in (
        ("gate", "tile", "is asked without a gate"),
        ("verifier", "crop", "there is nothing to verify"),
    ):
        (tmp_path / "looks.toml").write_text(f"[{table}]\nmode = '{mode}'\n")
        words = (
            "--benchmark",
            "world:7:256",
            "--models",
            "truth",
            "--config",
            tmp_path / "looks.toml",
            "--out",
            tmp_path / "out",
        )
        assert evaluate(*words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert f'set mode = "off" under [{table}]' in error
    assert not (tmp_path / "out").exists()
