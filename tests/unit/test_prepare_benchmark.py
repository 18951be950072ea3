"""What pins an evaluation, and which second looks a benchmark refuses; no model is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, RunMismatchError
from pipeline.prepare_benchmark import EVALUATION_JSON, EvaluationRequest, PlannedEvaluation, claim, plan_evaluation
from pipeline.prompt.verifier import VerifierOptions
from pipeline.write.fingerprint import canonical

CROP = "[verifier]\nmode = 'crop'\n"


def plan(folder: Path, config: str = "", **changes: Any) -> PlannedEvaluation:
    """Two questions about a small world, planned with a file of these tables."""
    file = folder / "config.toml"
    file.write_text(config)
    given: dict[str, Any] = {"benchmark": "world:7:512", "limit": 2, "out": str(folder / "out"), "config_file": str(file), **changes}
    return plan_evaluation(EvaluationRequest(**given), say=lambda _: None)


def test_a_verifier_that_is_off_leaves_no_trace_in_the_fingerprint(tmp_path: Path) -> None:
    without = plan(tmp_path)
    off = plan(tmp_path, "[verifier]\nmode = 'off'\nthreshold = 0.7\n[gate]\nthreshold = 0.3\n")
    assert "verifier" not in without.parameters
    assert off.context.fingerprint == without.context.fingerprint


def test_everything_of_a_verifier_that_changes_a_result_is_in_the_fingerprint(tmp_path: Path) -> None:
    planned = plan(tmp_path, f"{CROP}threshold = 0.9\n")
    assert planned.context.verifier == VerifierOptions(mode="crop", threshold=0.9)
    pinned = planned.parameters["verifier"]
    assert (pinned["mode"], pinned["threshold"], pinned["pad"]) == ("crop", 0.9, 0.5)
    assert pinned["decision"]["yes"]  # the question itself, from the checkpoint's profile
    shared = plan(tmp_path, f"{CROP}threshold = 0.9\ngpu_memory_utilization = 0.2\n")
    assert shared.context.fingerprint == planned.context.fingerprint
    seen = {planned.context.fingerprint, plan(tmp_path).context.fingerprint}
    for other in (f"{CROP}threshold = 0.8\n", f"{CROP}threshold = 0.9\npad = 0.2\n"):
        seen.add(plan(tmp_path, other).context.fingerprint)
    assert len(seen) == 4


def test_another_threshold_is_another_evaluation(tmp_path: Path) -> None:
    planned = plan(tmp_path, f"{CROP}threshold = 0.9\n")
    claim(planned)
    written = json.loads((tmp_path / "out" / EVALUATION_JSON).read_text())["parameters"]["verifier"]
    assert written == canonical(planned.parameters["verifier"])
    with pytest.raises(RunMismatchError, match=re.escape("verifier.threshold: 0.9 -> 0.5")):
        claim(plan(tmp_path, f"{CROP}threshold = 0.5\n"))


@pytest.mark.parametrize("mode", ["tile", "parent"])
@pytest.mark.parametrize("prompts", ["preset", "truth"])
def test_a_gate_is_refused_and_the_message_speaks_of_it_alone(tmp_path: Path, mode: str, prompts: str) -> None:
    with pytest.raises(InputError) as raised:
        plan(tmp_path, f"[gate]\nmode = '{mode}'\n{CROP}", prompts_from=prompts)
    text = str(raised.value)
    assert f"without a gate, which decides about the tiles of a raster. Got: mode '{mode}'" in text
    assert 'set mode = "off" under [gate]' in text
    assert "jobs/calibrate_gate.py" in text
    assert "verifier" not in text


@pytest.mark.parametrize(("masks", "named"), [("preset", "prompts from the truth"), ("truth", "masks from the truth")])
def test_there_is_nothing_to_verify_about_the_truth(tmp_path: Path, masks: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as raised:
        plan(tmp_path, CROP, prompts_from="truth", masks_from=masks)
    assert "there is nothing to verify" in str(raised.value)
    assert 'set mode = "off" under [verifier]' in str(raised.value)


def test_a_verifier_needs_its_question_in_the_profile_and_on_ray_a_share_of_the_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs the table \[verifier\] in the checkpoint's profile"):
        plan(tmp_path, f"[prompter.vllm]\nprofile = 'embedded-box'\n{CROP}")
    gpu = "[resources.segmenter]\ngpus = 0.3\n"
    with pytest.raises(InputError, match="must be told its share of the GPU's memory"):
        plan(tmp_path, CROP + gpu)
    plan(tmp_path, CROP + gpu, runner="local")
    plan(tmp_path, f"{CROP}gpu_memory_utilization = 0.2\n{gpu}")
