from __future__ import annotations

import argparse

from pipeline.run.judge_flags import add_judge_options


def test_no_judge_unless_it_is_named() -> None:
    top = argparse.ArgumentParser()
    add_judge_options(top)
    plain = top.parse_args([])
    assert (plain.judge, plain.judge_config) == (None, None)
    named = top.parse_args(["--judge", "owner/model", "--judge-config", "judge.toml"])
    assert (named.judge, named.judge_config) == ("owner/model", "judge.toml")
