"""The option for chains of boxes, as a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from job_files import load_job

from pipeline.errors import InputError

BASE = (
    "--source",
    "scene.tif",
    "--whole-scene",
    "--preset",
    "mobile-sam",
    "--out",
    "out",
    "--query",
    "roads",
)


def config_of(*words: str) -> Any:
    job = load_job("segment_region")
    return job.request_of(job.parser().parse_args([*BASE, *words])).config


def test_a_chain_is_an_option_of_the_prompter_and_of_its_fingerprint() -> None:
    chain = config_of("--prompts", "p.geojson", "--prompt-shape", "chain", "--semantic").prompter
    fixed = config_of("--prompts", "p.geojson").prompter
    assert (chain.prompt_shape, fixed.prompt_shape) == ("chain", "fixed")
    assert chain.result_parameters() == {**fixed.result_parameters(), "prompt_shape": "chain"}
    assert config_of("--prompts", "p.geojson", "--prompt-shape", "fixed").prompter == fixed


def test_a_chain_needs_outlines_and_something_that_unites_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is for the outlines of --prompts"):
        config_of("--prompt-shape", "chain", "--semantic")
    with pytest.raises(InputError, match=r"without --semantic\. To fix: add --semantic"):
        config_of("--prompts", "p.geojson", "--prompt-shape", "chain")
    config = tmp_path / "chain.toml"
    config.write_text('[prompter]\nmodel = "p.geojson"\nprompt_shape = "chain"\n')
    with pytest.raises(InputError, match="only connected areas unite"):
        config_of("--config", str(config))
