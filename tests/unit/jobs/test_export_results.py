"""The command line of the export: its words, its exit codes and its help."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_files import load_job

main = load_job("export_results").main
GOLDEN = Path(__file__).parents[2] / "golden" / "write"


def test_files_are_made_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(GOLDEN), "--cog", "--gpkg", "--query", "roofs", "--out", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr()
    names = [Path(line.split("  ")[0]).name for line in said.out.splitlines()]
    assert names == ["q0-roofs-mask.tif", "q0-roofs-ids.tif", "q0-roofs-score.tif", "results.gpkg"]
    assert "q0-roofs-ids.tif: 100 %" in said.err
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cog"], "without a run.json"),
        (["--cog", "--out", "s3://bucket/x"], "--out must be a local path"),
        ([], "add --cog, --gpkg, --pmtiles or several"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main([str(tmp_path), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_the_help_teaches_every_file_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for word in (
        "--cog",
        "--gpkg",
        "--query",
        "--out",
        "--overwrite",
        "results.gpkg",
        "GDAL below 3.13",
        "examples:",
    ):
        assert word in text
