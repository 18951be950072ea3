"""The job around write_world."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

JOB = Path(__file__).parents[3] / "jobs" / "make_world.py"


@pytest.fixture(scope="module")
def job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_world_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_writes_a_scene_and_says_so(
    job: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "b"
    assert job.main(["--seed", "12", "--size", "256", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "256 x 256 pixels" in said.out
    assert "this world has no" in said.out
    assert "drawing: 100 %" in said.err
    assert (out / "scene.tif").exists()
    assert job.main(["--seed", "12", "--size", "256", "--out", str(out), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        (["--seed", "-3", "--size", "256"], "seed"),
        (["--seed", "1", "--size", "8"], "--size"),
        (["--seed", "1", "--size", "99999"], "--size"),
        (["--seed", "1", "--size", "256", "--origin-row", "9999999"], "--origin-row"),
    ],
)
def test_bad_values_end_with_code_2_and_write_nothing(
    job: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], word: str
) -> None:
    assert job.main([*extra, "--out", str(tmp_path / "w")]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "To fix" in said
    assert not (tmp_path / "w").exists()


def test_an_impossible_folder_ends_with_code_2(
    job: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f").write_text("x")
    assert job.main(["--seed", "1", "--size", "64", "--out", str(tmp_path / "f" / "w")]) == 2
    assert "--out must be writable" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [[], ["--seed", "x", "--size", "64", "--out", "w"], ["--seed", "1", "--size", "64"]]
)
def test_bad_usage_ends_with_code_2(job: ModuleType, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        job.main(argv)
    assert stop.value.code == 2


def test_a_foreign_folder_is_refused(
    job: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("x")
    assert job.main(["--seed", "1", "--size", "64", "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_help_teaches_without_loading_much() -> None:
    done = subprocess.run(
        [sys.executable, str(JOB), "--help"], capture_output=True, text=True, check=True, timeout=120
    )
    for word in ("examples:", "queries.json", "--origin-row", "4-connected", "make_world.py --seed 7"):
        assert word in done.stdout
