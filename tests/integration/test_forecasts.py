"""A real run measured, and another area estimated by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from job_files import load_job
from label_worlds import LabelWorld, blobs, write_label_world
from zone_worlds import CUT, seam_world

from pipeline.run.events.run_costs import duration_text
from pipeline.run.prepare import plan_request

RunJob = Callable[..., int]
PRICED = ("--price-per-hour", "3600")


def words(world: LabelWorld, out: Path, *more: object) -> list[object]:
    cut = ["--tile", 64, "--halo", 8, "--block", 2, "--runner", "local", "--query", "anything"]
    return ["--source", world.scene, "--models", f"oracle:{world.labels}", *cut, "--out", out, *more]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """36 tiles in 9 blocks."""
    folder = tmp_path_factory.mktemp("small")
    return write_label_world(folder, blobs(np.random.default_rng(5), 288, 288, grain=30))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """100 tiles in 25 blocks."""
    folder = tmp_path_factory.mktemp("large")
    return write_label_world(folder, blobs(np.random.default_rng(6), 480, 480, grain=30))


@pytest.fixture(scope="module")
def measured(run_job: RunJob, small: LabelWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("measured") / "out"
    assert run_job(*words(small, out, "--whole-scene")) == 0
    return out


def test_another_area_is_estimated_by_what_a_run_took(
    run_job: RunJob, large: LabelWorld, measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block of four tiles is in starting: 32 tiles were timed, and 96 are to come."""
    (start,) = json.loads((measured / "cost.json").read_text())["starts"]
    starting = start["seconds"] - start["working_s"] - start["publishing_s"]
    working = start["working_s"] / 32 * 96
    publishing = start["publishing_s"] / 36 * 100
    out = tmp_path / "out"
    dry = words(large, out, "--whole-scene", "--dry-run", "--measured-by", measured, *PRICED)
    assert run_job(*dry) == 0
    said = capsys.readouterr().out
    total = starting + working + publishing
    assert f"\nestimate    {duration_text(total)} (" in said
    assert f"starting {duration_text(starting)}, working {duration_text(working)}, " in said
    assert f"\nmoney       {total:,.2f} (" in said
    assert f"32 tiles in 8 blocks of 1 start of {measured}: " in said
    assert not (out / "run.json").exists()
    assert run_job(*words(large, out, "--whole-scene")) == 0
    cost = json.loads((out / "cost.json").read_text())
    assert f"{1000 * total / cost['km2']:,.2f} per 1,000 km2" in said


def test_a_run_that_was_stopped_is_estimated_by_itself(
    run_job: RunJob, small: LabelWorld, measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(measured, out, symlinks=True)
    for name in ("b00000_00000", "b00001_00001"):
        (out / "blocks" / f"{name}.parquet").unlink()
    assert run_job(*words(small, out, "--whole-scene", "--dry-run", *PRICED)) == 0
    said = capsys.readouterr().out
    assert f"32 tiles in 8 blocks of 1 start of {out}: " in said
    assert "7 blocks would stay as they are" in said
    assert "per 1,000 km2" not in said, "of what is left"


def test_without_a_measurement_it_says_how_to_get_one(
    run_job: RunJob, small: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(*words(small, tmp_path / "out", "--whole-scene", "--dry-run", *PRICED)) == 0
    said = capsys.readouterr().out
    assert "estimate  none: no run with these models and tiles was measured. Run a small part" in said
    assert "money" not in said


def test_a_measurement_of_something_else_is_bad_input(
    run_job: RunJob, small: LabelWorld, measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    dry = words(small, out, "--whole-scene", "--dry-run")
    assert run_job(*dry, "--measured-by", tmp_path / "none") == 2
    assert "--measured-by must be a run directory" in capsys.readouterr().err
    assert run_job(*dry, "--halo", 4, "--measured-by", measured) == 2
    assert "--measured-by must be a run with the same tiles" in capsys.readouterr().err
    assert run_job(*words(small, out, "--whole-scene"), "--measured-by", measured) == 2
    assert "--measured-by says what --dry-run estimates by" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_is_too_small_measures_nothing(
    run_job: RunJob, small: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same tiles in one block."""
    tiny = tmp_path / "tiny"
    ground = ("--whole-scene", "--block", 8)
    assert run_job(*words(small, tiny, *ground)) == 0
    assert run_job(*words(small, tmp_path / "out", *ground, "--dry-run", "--measured-by", tiny)) == 2
    assert "must be a run of which one start did at least 4 blocks" in capsys.readouterr().err


def test_zones_are_estimated_together_and_by_each_other(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = seam_world(tmp_path)
    out = tmp_path / "out"
    assert run_job(*world.words(out, *CUT)) == 0
    capsys.readouterr()
    assert run_job(*world.words(tmp_path / "again", *CUT), "--dry-run", "--measured-by", out) == 0
    said = capsys.readouterr().out
    assert said.count("estimate  ") == 1
    assert "tiles in 7 blocks of 1 start of" in said
    _, _, last = said.partition("\nall zones\nestimate  ")
    assert last


def test_what_models_of_a_run_are_is_compared_as_run_json_has_it(
    run_job: RunJob, small: LabelWorld, measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoints of the embedded preset, as a run of theirs would have left them. Nothing is loaded."""
    dry = ["--source", small.scene, "--whole-scene", "--query", "tanks", "--dry-run"]
    dry += ["--tile", 64, "--halo", 8, "--block", 2, "--runner", "local"]
    request = load_job("segment_region")
    args = request.parser().parse_args([*map(str, dry), "--out", str(tmp_path / "out")])
    parameters = dict(plan_request(request.request_of(args)).parameters)
    copied = tmp_path / "copied"
    shutil.copytree(measured, copied, symlinks=True)
    document = json.loads((copied / "run.json").read_text())
    (copied / "run.json").unlink()
    (copied / "run.json").write_text(json.dumps({**document, "parameters": parameters}))
    assert run_job(*dry, "--out", tmp_path / "out", "--measured-by", copied) == 0
    assert "32 tiles in 8 blocks" in capsys.readouterr().out
    assert run_job(*dry, "--out", tmp_path / "out", "--measured-by", measured) == 2
    assert "must be a run with the same prompter, segmenter" in capsys.readouterr().err
