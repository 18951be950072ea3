"""Arguments from files, good ones and bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_files import load_job

from pipeline.errors import InputError
from pipeline.run.args_file import JobParser, with_args_files

GOOD = """# what is asked of the June imagery

--source "stac:https://h/v1#sentinel-2-l2a"   # the catalogue
--source stac:https://h/v1#sentinel-2-l2a
  --bbox -117.3,32.6,-116.9,33.0
--query "storage tanks"
--query 'a "green" roof # not a comment'
--query=parking\\ lots\t# but this is
--tile 512
"""
WORDS = [
    "--source",
    "stac:https://h/v1#sentinel-2-l2a",
    "--source",
    "stac:https://h/v1#sentinel-2-l2a",
    "--bbox",
    "-117.3,32.6,-116.9,33.0",
    "--query",
    "storage tanks",
    "--query",
    'a "green" roof # not a comment',
    "--query=parking lots",
    "--tile",
    "512",
]


def written(folder: Path, text: str, name: str = "args.txt") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture
def parser() -> JobParser:
    parser = JobParser(prog="job.py")
    parser.add_argument("--tile", type=int)
    parser.add_argument("--query", action="append")
    parser.add_argument("--runner", choices=("ray", "local"))
    return parser


def test_lines_are_words_as_a_shell_takes_them(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    words, places = with_args_files(["--out", "o", "--args-file", path, "--tile", "256"])
    assert words == ["--out", "o", *WORDS, "--tile", "256"]
    assert places[0] == ("--source", f"{path}, line 3")
    assert places[-1] == ("512", f"{path}, line 9")
    assert with_args_files([f"--args-file={path}"])[0] == WORDS


def test_files_of_other_tools_and_several_of_them(tmp_path: Path) -> None:
    first = tmp_path / "a.txt"
    first.write_bytes("--query Gewächshäuser\r\n\r\n--tile 256\r\n".encode("utf-16"))
    second = written(tmp_path, "", "empty.txt")
    words, _ = with_args_files(["--args-file", str(first), "--args-file", second, "--out", "o"])
    assert words == ["--query", "Gewächshäuser", "--tile", "256", "--out", "o"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('--tile 1\n--query "storage tanks\n', ", line 2 must be words as a shell takes them. Got: --query"),
        ("--tile 1\n\n--args-file more.txt\n", ", line 3 names a further file. Got: --args-file more.txt"),
    ],
)
def test_lines_that_are_no_arguments_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as told:
        with_args_files(["--args-file", path])
    assert f"{path}{said}" in str(told.value)
    assert "To fix: " in str(told.value)


def test_a_file_that_is_not_there_or_no_text_is_told(
    parser: JobParser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\x00\x9f")
    for name in ("nowhere.txt", "binary", "."):
        with pytest.raises(SystemExit) as end:
            parser.parse_args(["--args-file", str(tmp_path / name)])
        assert end.value.code == 2
        assert "job.py: error: --args-file must be " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--tile 8\n--tyle 8\n", "unrecognized arguments: --tyle 8 (--tyle stands in {}, line 2)"),
        ("--query storage tanks\n", "unrecognized arguments: tanks (tanks stands in {}, line 1)"),
        ("\n--tile=many\n", "argument --tile: invalid int value: 'many' (--tile=many stands in {}, line 2)"),
        ("--runner fast", "choose from ray, local) (--runner stands in {}, line 1)"),
        ("--tile", "argument --tile: expected one argument (--tile stands in {}, line 1)"),
    ],
)
def test_what_argparse_complains_of_is_named_with_its_line(
    parser: JobParser, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--args-file", path])
    assert end.value.code == 2
    assert said.format(path) in capsys.readouterr().err.replace("'ray', 'local'", "ray, local")


def test_a_complaint_of_the_command_line_names_no_file(
    parser: JobParser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "--tile 8")
    with pytest.raises(SystemExit):
        parser.parse_args(["--args-file", path, "--runner", "fast"])
    assert "stands in" not in capsys.readouterr().err
    for words, said in (
        (["--args-file"], "expected one argument"),
        (["--args", path], "must be written out"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert said in capsys.readouterr().err


def test_the_command_line_overrides_a_file_and_queries_add_up(parser: JobParser, tmp_path: Path) -> None:
    path = written(tmp_path, "--tile 8\n--query 'storage tanks'\n--query pools\n")
    args = parser.parse_args(["--args-file", path, "--tile", "16", "--query", "@roofs"])
    assert vars(args) == {"tile": 16, "query": ["storage tanks", "pools", "@roofs"], "runner": None}


def test_words_of_files_are_prepared_like_others(tmp_path: Path) -> None:
    """A longitude joined by commas, and an exponent, which argparse would take for an option."""
    job = load_job("segment_region")
    path = written(tmp_path, GOOD.replace("-117.3", "-1.173e2") + "--sort -datetime\n")
    args = job.parser().parse_args(["--out", "o", "--args-file", path])
    assert args.bbox == [-117.3, 32.6, -116.9, 33.0]
    assert args.query == ["storage tanks", 'a "green" roof # not a comment', "parking lots"]
    assert (args.sort, args.tile) == ("-datetime", 512)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("restitch_region", ("--run", "r")),
        ("make_world", ("--seed", "1", "--size", "64", "--out", "o")),
        ("verify_run", ("r",)),
        ("explain_run", ("r",)),
        ("export_results", ("r", "--cog")),
    ],
)
def test_every_job_takes_a_file(
    name: str, needed: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "\n--no-such-option")
    with pytest.raises(SystemExit):
        load_job(name).main([*needed, "--args-file", path])
    assert f"--no-such-option stands in {path}, line 2" in capsys.readouterr().err


def test_stages_of_a_training_take_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "--data d\n--out o")
    args = load_job("train_prompter").build_parser().parse_args(["grpo", "--args-file", path])
    assert (args.stage, args.data, args.out) == ("grpo", "d", Path("o"))
