"""The judge over the real vLLM engine: random weights say nothing that can be read, and so it is missing.

Scripted replies: test_judge_run.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from prompt.tiny_checkpoint import write_tiny_checkpoint

from pipeline.errors import InputError
from pipeline.evaluate.judge.verdict import read_verdict
from pipeline.evaluate.judge.vllm_judge import JUDGE_PROFILE, Said, VllmJudge, check_judge, judge_options
from pipeline.prompt.profile import load_profile

SMALL = """dtype = "float32"
max_model_len = 2048
max_tokens = 16
max_num_seqs = 4
kv_cache_gib = 0.25
block_size = 32
enforce_eager = true
gpu_memory_utilization = 0.2
"""


def test_the_judge_is_told_the_query_and_no_score() -> None:
    profile = load_profile(JUDGE_PROFILE)
    text = profile.user_text("tanks that may leak")
    assert 'Query: "tanks that may leak"' in text
    for word in ("faithfulness", "localization", "robustness", "Green", "Red", "Yellow"):
        assert word in text
    for word in ("IoU", "iou", "overlap", "Dice"):
        assert word not in text


def test_options_are_those_of_an_engine(tmp_path: Path) -> None:
    config = tmp_path / "judge.toml"
    config.write_text(SMALL)
    options = judge_options("owner/judge", str(config))
    assert (options.vllm.max_model_len, options.vllm.retry, options.vllm.profile) == (2048, 0, JUDGE_PROFILE)
    assert "profile" not in options.result_parameters()["vllm"]  # type: ignore[operator]
    config.write_text("max_model_length = 2048\n")
    with pytest.raises(InputError, match="max_model_len"):
        judge_options("owner/judge", str(config))
    with pytest.raises(InputError, match="--judge-config must be a readable TOML file"):
        judge_options("owner/judge", str(tmp_path / "none.toml"))


def test_a_judge_that_is_not_there_is_refused_before_loading(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        check_judge(judge_options(str(tmp_path / "none"), None))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_unreadable_verdict_of_a_real_engine_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    config = tmp_path / "judge.toml"
    config.write_text(SMALL)
    folder = tmp_path / "tiny"
    folder.mkdir()
    options = judge_options(str(write_tiny_checkpoint(folder)), str(config))
    check_judge(options)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    judge = VllmJudge(options)
    try:
        with asyncio.Runner() as loop:
            said = [
                loop.run(judge.rate(f"k{n}", picture, query)) for n, query in enumerate(("tanks", "x" * 3000))
            ]
    finally:
        judge.close()
    assert said[0].error == ""
    assert said[0].reply
    assert read_verdict(said[0].reply) is None
    assert said[1].reply == ""  # a query that does not fit is an error of one picture, not of the judge
    assert isinstance(said[1], Said)
    assert said[1].error
