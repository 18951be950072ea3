"""Options that several jobs share, parsed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.run.job_options import (
    add_auto_runner_option,
    add_cache_options,
    add_limits_of_spending,
    add_merge_mode_options,
    add_preset_options,
    add_runner_option,
    add_tiling_options,
    cache_table,
    job_parser,
)


def test_help_begins_with_the_job_and_ends_with_examples_as_they_are_written() -> None:
    text = job_parser("do.py", "Do it.\n\n  a   b", "examples:\n  python jobs/do.py").format_help()
    assert text.startswith("usage: do.py [-h] [--args-file FILE]\n\nDo it.\n\n  a   b\n")
    assert text.endswith("examples:\n  python jobs/do.py\n")


def test_every_job_takes_a_preset_and_a_file_over_it(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_preset_options(parser.add_argument_group("models"), "what belongs together")
    assert vars(parser.parse_args([])) == {"preset": "embedded", "config": None}
    given = parser.parse_args(["--preset", "think2seg-3b", "--config", "mine.toml"])
    assert (given.preset, given.config) == ("think2seg-3b", "mine.toml")
    parser.print_help()
    assert "what belongs together (default: embedded)" in capsys.readouterr().out


def test_only_some_jobs_choose_the_runner_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    plain = argparse.ArgumentParser()
    add_runner_option(plain)
    auto = argparse.ArgumentParser()
    add_auto_runner_option(auto, "the plan")
    assert (plain.parse_args([]).runner, auto.parse_args([]).runner) == ("ray", "auto")
    assert auto.parse_args(["--runner", "local"]).runner == "local"
    assert "the plan has more than 64 tiles" in " ".join(auto.format_help().split())
    with pytest.raises(SystemExit):
        plain.parse_args(["--runner", "auto"])
    assert "invalid choice: 'auto'" in capsys.readouterr().err


def test_tiling_is_whole_numbers_or_nothing() -> None:
    parser = argparse.ArgumentParser()
    add_tiling_options(parser)
    assert vars(parser.parse_args([])) == {"tile": None, "halo": None, "block": None}
    words = ["--tile", "512", "--halo", "32", "--block", "2"]
    assert vars(parser.parse_args(words)) == {"tile": 512, "halo": 32, "block": 2}


@pytest.mark.parametrize("default", [None, "instances"])
def test_a_merge_mode_is_one_of_two(default: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_merge_mode_options(parser, default=default)
    assert parser.parse_args([]).merge_mode == default
    assert parser.parse_args(["--semantic"]).merge_mode == "semantic"
    assert parser.parse_args(["--instances"]).merge_mode == "instances"
    assert ("whole objects (default)" in parser.format_help()) == (default == "instances")
    with pytest.raises(SystemExit):
        parser.parse_args(["--semantic", "--instances"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_limit_of_spending_is_above_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_limits_of_spending(parser)
    assert vars(parser.parse_args([])) == {"max_cost": None, "max_hours": None}
    assert vars(parser.parse_args(["--max-cost", "2.5", "--max-hours", "8"])) == {
        "max_cost": 2.5,
        "max_hours": 8.0,
    }
    for words in (["--max-cost", "0"], ["--max-hours", "inf"], ["--max-cost", "nan"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert "a limit must be above 0" in capsys.readouterr().err


def test_a_cache_is_a_folder_that_workers_find_with_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    add_cache_options(parser.add_argument_group("running"))
    given = parser.parse_args(["--cache", "kept", "--cache-gb", "2.5"])
    assert cache_table(given.cache, given.cache_gb) == {"folder": str(tmp_path / "kept"), "gb": 2.5}
    assert cache_table("s3://bucket/kept", None) == {"folder": "s3://bucket/kept"}, "it is refused later"
    assert cache_table(None, None) == {}
    with pytest.raises(InputError, match="--cache-gb 3 alone"):
        cache_table(None, 3.0)
