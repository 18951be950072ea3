"""Results must not go where Ray keeps, and deletes, copies of working directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.files.lasting_path import require_lasting


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a driver that `ray job submit --working-dir .` started."""
    folder = (
        tmp_path
        / "session_2026-01-02_03-04-05_6"
        / "runtime_resources"
        / "working_dir_files"
        / "_ray_pkg_0123456789abcdef"
    )
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "path", ["s3://bucket/run", "s3:/bucket/run", "gs://b/x", "https://h/run", "file:///a"]
)
def test_a_url_is_refused_instead_of_making_a_folder_of_that_name(path: str) -> None:
    with pytest.raises(InputError, match=r"--out must be a local path.*To fix: give a folder"):
        require_lasting(path, "--out")


@pytest.mark.parametrize("path", ["a:b", "C:/data/run", "runs/2024-06-01T10:20"])
def test_a_colon_alone_makes_no_url(path: str) -> None:
    require_lasting(path, "--out")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("path", ["out", "out/tanks", ".", "../out"])
def test_a_relative_path_of_a_submitted_job_is_refused(path: str) -> None:
    with pytest.raises(
        InputError,
        match=r"--out must lie outside.*_ray_pkg_0123456789abcdef.*To fix: give --out as an absolute path",
    ):
        require_lasting(path, "--out")


def test_so_is_an_absolute_path_into_the_copy(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="--run must lie outside"):
        require_lasting(str(package / "out"), "--run")


def test_everything_else_is_taken(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_lasting(str(tmp_path / "out"), "--out")
    for folder in ("working_dir_files", "runtime_resources"):  # alone they are folders like any other
        (tmp_path / folder / "runs").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / folder / "runs")
        require_lasting("out", "--out")
    assert list(package.iterdir()) == []


def test_a_run_may_lie_in_a_bucket_and_nothing_else() -> None:
    require_lasting("s3://bucket/runs/first", "--out", in_store=True)
    with pytest.raises(InputError, match=r"or s3://bucket/prefix"):
        require_lasting("gs://bucket/runs", "--out", in_store=True)
    with pytest.raises(InputError, match="must name a prefix"):
        require_lasting("s3://bucket", "--out", in_store=True)
