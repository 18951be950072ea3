"""Reading the Dockerfile. That it can be executed, `make image-check` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifests import load_script

pytestmark = pytest.mark.ops

build_in_chroot = load_script("infra/docker/build_in_chroot.py")


@pytest.fixture
def builder(tmp_path: Path) -> object:
    return build_in_chroot.Builder(tmp_path / "base", tmp_path, {"EXTRA": "gpu"}, {})


def test_lines_are_joined_and_comments_left() -> None:
    text = "# a comment\nENV A=1 \\\n    B=2\n\n  run echo # not one\n"
    assert list(build_in_chroot.read(text)) == [("ENV", "A=1      B=2"), ("RUN", "echo # not one")]


def test_values_are_put_in_or_missed() -> None:
    assert build_in_chroot.put_in("c-${EXTRA}.txt $A", {"EXTRA": "cpu", "A": "b"}) == "c-cpu.txt b"
    with pytest.raises(build_in_chroot.BuildError, match="\\$B has no value"):
        build_in_chroot.put_in("$B", {"A": "b"})


def test_every_instruction_of_the_dockerfile_is_known() -> None:
    names = {name for name, _ in build_in_chroot.read(build_in_chroot.DOCKERFILE.read_text())}
    assert names == {"ARG", "FROM", "COPY", "RUN", "ENV", "WORKDIR", "USER", "LABEL", "CMD"}


def stage(builder: object, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    builder._now = build_in_chroot.Stage(name="one", tree=tmp_path / "tree", layers=())  # type: ignore[attr-defined]


def test_files_land_where_the_stage_is(builder: object, tmp_path: Path) -> None:
    stage(builder, tmp_path)
    for name, words in (
        ("ARG", "EXTRA=cpu"),
        ("WORKDIR", "/src"),
        ("COPY", "infra/docker/constraints-${EXTRA}.txt constraints.txt"),
        ("COPY", "README.md LICENSE ./"),
        ("ENV", "PATH=/opt/bin:$EXTRA A=1"),
    ):
        builder.do(name, words)  # type: ignore[attr-defined]
    there = {path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*.*")}
    assert there == {"src/constraints.txt", "src/README.md"}
    assert (tmp_path / "tree/src/LICENSE").is_file()
    chosen = build_in_chroot.ROOT / "infra/docker/constraints-gpu.txt"
    assert (tmp_path / "tree/src/constraints.txt").read_bytes() == chosen.read_bytes()
    assert builder.stage.environ == {"PATH": "/opt/bin:gpu", "A": "1"}  # type: ignore[attr-defined]


def test_what_the_ignore_file_keeps_out_is_not_copied(builder: object, tmp_path: Path) -> None:
    stage(builder, tmp_path)
    with pytest.raises(build_in_chroot.BuildError, match=r"does not let \.git through"):
        builder.do("COPY", ".git .git")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("ADD", "x y", "ADD is not known"),
        ("RUN", "--mount=type=ssh,id=x true", "type ssh is not known"),
    ],
)
def test_what_is_not_known_is_refused(
    builder: object, tmp_path: Path, name: str, words: str, said: str
) -> None:
    stage(builder, tmp_path)
    with pytest.raises(build_in_chroot.BuildError, match=said):
        builder.do(name, words)  # type: ignore[attr-defined]


def test_nothing_comes_before_the_first_stage(builder: object) -> None:
    with pytest.raises(build_in_chroot.BuildError, match="before the first FROM"):
        builder.do("RUN", "true")  # type: ignore[attr-defined]
