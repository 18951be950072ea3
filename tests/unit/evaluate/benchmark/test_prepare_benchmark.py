"""What pins an evaluation, which second looks a benchmark refuses, and which parts are left to do; no model
is loaded.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, context, image, record, rectangle, sample

from pipeline.errors import InputError, RunMismatchError
from pipeline.evaluate.benchmark.oracle_noise import OracleNoise
from pipeline.evaluate.benchmark.prepare_benchmark import (
    EVALUATION_JSON,
    EvaluationRequest,
    PlannedEvaluation,
    claim,
    missing_parts,
    model_ids,
    plan_evaluation,
)
from pipeline.evaluate.benchmark.sample_records import write_part
from pipeline.evaluate.benchmark.sample_steps import IMAGES_PER_PART
from pipeline.evaluate.benchmark.truth_models import TruthOptions
from pipeline.files.fingerprint import canonical
from pipeline.prompt.box_margins import GEOSEG
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.prompt.profile import PROFILE_DIR
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.segment.sam2_model import EMBEDDED_DIR

CROP = "[verifier]\nmode = 'crop'\n"

PROFILE = (PROFILE_DIR / "embedded.toml").read_text()


def plan(folder: Path, config: str = "", **changes: Any) -> PlannedEvaluation:
    """Two queries about a small world, planned with a file of these tables."""
    file = folder / "config.toml"
    file.write_text(config)
    given: dict[str, Any] = {
        "benchmark": "world:7:512",
        "limit": 2,
        "out": str(folder / "out"),
        "config_file": str(file),
        **changes,
    }
    return plan_evaluation(EvaluationRequest(**given), say=lambda _: None)


def own_profile(folder: Path) -> tuple[Path, str]:
    """A user's own profile, for now a copy of the shipped one, and a table that names it."""
    path = folder / "own.toml"
    path.write_text(PROFILE)
    return path, f"[prompter.vllm]\nprofile = '{path}'\n"


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
    assert pinned["decision"]["yes"]  # the query itself, from the checkpoint's profile
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


@pytest.mark.parametrize(
    ("line", "edited", "named"),
    [
        ("max_tokens = 640", "max_tokens = 320", "prompter.profile.max_tokens: 640 -> 320"),
        ('frame = "image_px"', 'frame = "thousand"', 'prompter.profile.frame: "image_px" -> "thousand"'),
        (
            'resampling = "bilinear"',
            'resampling = "lanczos"',
            'prompter.profile.resampling: "bilinear" -> "lanczos"',
        ),
        ("nms_iou = 0.5", "nms_iou = 0.7", "prompter.profile.parser.nms_iou: 0.5 -> 0.7"),
        ("Find: {query}", "Where is {query}", 'prompter.profile.user: "Find: {query}" -> "Where is {query}"'),
    ],
)
def test_an_edited_profile_is_another_evaluation(tmp_path: Path, line: str, edited: str, named: str) -> None:
    profile, config = own_profile(tmp_path)
    claim(plan(tmp_path, config))
    assert line in PROFILE
    profile.write_text(PROFILE.replace(line, edited))
    with pytest.raises(RunMismatchError, match=re.escape(named)):
        claim(plan(tmp_path, config))
    profile.write_text(PROFILE)
    claim(plan(tmp_path, config))


def test_of_a_profile_counts_what_is_asked(tmp_path: Path) -> None:
    """Its verifier's query where there is a verifier, and nothing of it where the truth answers."""
    profile, config = own_profile(tmp_path)
    look = '[verifier]\nlead_until = "I see"'
    assert look in PROFILE

    def prints() -> tuple[str, ...]:
        given: tuple[dict[str, Any], ...] = (
            {"config": config},
            {"config": config + CROP},
            {"config": config, "prompts_from": "truth"},
        )
        return tuple(plan(tmp_path, **changes).context.fingerprint for changes in given)

    asked, verified, truth = prints()
    profile.write_text(PROFILE.replace(look, look.replace("see", "find")))
    another_look = prints()
    assert (another_look[0], another_look[2]) == (asked, truth)
    assert another_look[1] != verified
    profile.write_text("not even a table")
    assert plan(tmp_path, config, prompts_from="truth").context.fingerprint == truth


def test_another_architecture_behind_the_same_name_is_another_evaluation(tmp_path: Path) -> None:
    yaml = tmp_path / "sam2.yaml"
    shipped = (EMBEDDED_DIR / "config.yaml").read_text()
    config = f"[segmenter]\nconfig = '{yaml}'\n"
    yaml.write_text(shipped)
    claim(plan(tmp_path, config))
    yaml.write_text(shipped + "# another\n")
    with pytest.raises(RunMismatchError, match=re.escape("segmenter.config: ")):
        claim(plan(tmp_path, config))
    assert "segmenter" not in plan(tmp_path, config, prompts_from="truth", masks_from="truth").parameters


def test_more_memory_or_time_is_the_same_evaluation(tmp_path: Path) -> None:
    """What failed for want of either can be asked again with more of it, as in a run."""
    before = plan(tmp_path).context
    after = plan(
        tmp_path, "[prompter.vllm]\ntimeout_s = 900.0\nmax_num_seqs = 2\n[segmenter]\nprompt_batch = 2\n"
    ).context
    assert (after.prompter.vllm.timeout_s, after.segmenter.prompt_batch) == (900.0, 2)
    assert after.fingerprint == before.fingerprint


def test_margins_of_boxes_make_another_evaluation_and_none_with_the_truth(tmp_path: Path) -> None:
    before = plan(tmp_path)
    after = plan(tmp_path, margins=GEOSEG)
    assert after.context.prompter.refine_boxes == GEOSEG
    assert after.context.fingerprint != before.context.fingerprint
    with pytest.raises(InputError, match="refined boxes are a language model's, or those of a truth"):
        plan(tmp_path, margins=GEOSEG, prompts_from="truth")


def test_points_after_the_shape_are_the_truths_alone(tmp_path: Path) -> None:
    fixed = plan(tmp_path, prompts_from="truth").context
    shape = plan(tmp_path, prompts_from="truth", truth=TruthOptions(points="shape")).context
    assert (fixed.truth.points, shape.truth.points) == ("fixed", "shape")
    assert fixed.fingerprint != shape.fingerprint
    with pytest.raises(InputError, match="add --prompts truth"):
        plan(tmp_path, truth=TruthOptions(points="shape"))


def test_a_truth_with_mistakes_can_have_its_boxes_refined(tmp_path: Path) -> None:
    noisy = TruthOptions(noise=OracleNoise(drift=0.15))
    before = plan(tmp_path, prompts_from="truth", truth=noisy).context
    after = plan(tmp_path, prompts_from="truth", truth=noisy, margins=GEOSEG).context
    assert (before.truth.margins.on, after.truth.margins) == (False, GEOSEG)
    assert before.fingerprint != after.fingerprint
    with pytest.raises(InputError, match=r"mistakes in it, need the truth\. Got: --noise"):
        plan(tmp_path, truth=noisy)


def test_evaluations_that_ask_the_same_share_a_folder_of_answers(tmp_path: Path) -> None:
    folder = {"answers": str(tmp_path / "answers")}
    whole = plan(tmp_path, **folder).context
    boxes = plan(tmp_path, **folder, prompt_parts="box").context
    moved = plan(tmp_path, **folder, margins=GEOSEG).context
    assert whole.answers_dir == boxes.answers_dir != moved.answers_dir
    assert whole.fingerprint != boxes.fingerprint
    assert plan(tmp_path).context.answers_dir is None
    assert plan(tmp_path, **folder, prompts_from="truth").context.answers_dir is None


@pytest.mark.parametrize("mode", ["tile", "parent"])
@pytest.mark.parametrize("prompts", ["preset", "truth"])
def test_a_gate_is_refused_and_the_message_speaks_of_it_alone(
    tmp_path: Path, mode: str, prompts: str
) -> None:
    with pytest.raises(InputError) as raised:
        plan(tmp_path, f"[gate]\nmode = '{mode}'\n{CROP}", prompts_from=prompts)
    text = str(raised.value)
    assert f"without a gate, which decides about the tiles of a raster. Got: mode '{mode}'" in text
    assert 'set mode = "off" under [gate]' in text
    assert "jobs/calibrate_gate.py" in text
    assert "verifier" not in text


@pytest.mark.parametrize(
    ("masks", "named"), [("preset", "prompts from the truth"), ("truth", "masks from the truth")]
)
def test_there_is_nothing_to_verify_about_the_truth(tmp_path: Path, masks: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as raised:
        plan(tmp_path, CROP, prompts_from="truth", masks_from=masks)
    assert "there is nothing to verify" in str(raised.value)
    assert 'set mode = "off" under [verifier]' in str(raised.value)


def test_a_verifier_needs_its_query_in_the_profile_and_on_ray_a_share_of_the_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs the table \[verifier\] in the checkpoint's profile"):
        plan(tmp_path, f"[prompter.vllm]\nprofile = 'embedded-box'\n{CROP}")
    gpu = "[resources.segmenter]\ngpus = 0.3\n"
    with pytest.raises(InputError, match="must be told its share of the GPU's memory"):
        plan(tmp_path, CROP + gpu)
    plan(tmp_path, CROP + gpu, runner="local")
    plan(tmp_path, f"{CROP}gpu_memory_utilization = 0.2\n{gpu}")


NOTHING = np.zeros(SHAPE, bool)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        (Reason.UNREADABLE, True),
        (Reason.MODEL_ERROR, True),
        (Reason.CRASHED, True),
        (Reason.TIMEOUT, True),
        (Reason.MALFORMED, False),  # the model's answer, and it was scored
    ],
)
def test_a_part_is_done_again_for_failures_that_may_pass(tmp_path: Path, reason: Reason, again: bool) -> None:
    """Part 0 holds an answer and a rejection beside the failure, part 1 nothing but answers."""
    first = [image(f"i{k}", [sample(f"s{k}", NOTHING)]) for k in range(IMAGES_PER_PART)]
    made = context([*first, image("last", [sample("t", NOTHING)])], tmp_path)
    records = [record(f"s{k}", NOTHING, NOTHING) for k in range(IMAGES_PER_PART)]
    records[0] = record("s0", rectangle(0, 0, 2, 2), rectangle(0, 0, 2, 2))
    records[3] = record("s3", NOTHING, NOTHING, status=TileStatus.FAILED, reason=reason, error="no idea")
    assert missing_parts(made, retry_failed=True) == ([0, 1], [])
    write_part(made.part_path(0), records, made.fingerprint)
    write_part(made.part_path(1), [record("t", NOTHING, NOTHING)], made.fingerprint)
    assert missing_parts(made) == ([], [])
    left, notes = missing_parts(made, retry_failed=True)
    assert left == ([0] if again else [])
    assert notes == ([f"{made.part_path(0)} has 1 failed query and is done again"] if again else [])
    assert made.part_path(0).is_file(), "until the new one is written"


def test_a_query_that_may_not_be_asked_is_not_asked_again(tmp_path: Path) -> None:
    """It fails for ever; beside one that failed of itself the part is done again for that one."""
    made = context([image("a", [sample("bad", NOTHING, refusal="too long"), sample("s", NOTHING)])], tmp_path)
    refused = record(
        "bad", NOTHING, NOTHING, status=TileStatus.FAILED, reason=Reason.MODEL_ERROR, error="too long"
    )
    write_part(made.part_path(0), [refused, record("s", NOTHING, NOTHING)], made.fingerprint)
    assert missing_parts(made, retry_failed=True) == ([], [])
    slow = record("s", NOTHING, NOTHING, status=TileStatus.FAILED, reason=Reason.TIMEOUT, error="300 s")
    write_part(made.part_path(0), [refused, slow], made.fingerprint)
    left, (note,) = missing_parts(made, retry_failed=True)
    assert left == [0]
    assert "has 1 failed query and" in note


def test_a_damaged_part_is_done_again_in_any_case(tmp_path: Path) -> None:
    made = context([image("a", [sample("s", NOTHING)])], tmp_path)
    made.part_path(0).parent.mkdir()
    made.part_path(0).write_bytes(b"half a file")
    for retry_failed in (False, True):
        left, (note,) = missing_parts(made, retry_failed=retry_failed)
        assert left == [0]
        assert note.endswith("; it is done again")


def test_answers_are_not_written_where_they_do_not_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submitted job starts in Ray's copy of the working directory, and --out is relative by default."""
    copy = tmp_path / "runtime_resources/working_dir_files/_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    request = EvaluationRequest(benchmark="world:7", out="evaluations/world-7-embedded")
    with pytest.raises(InputError, match="--out must lie outside Ray's copy of the working directory"):
        plan_evaluation(request, say=lambda _: None)


MASK_MODEL = "[mask_model]\nkind = 'process'\npython = '{python}'\nadapter = '{adapter}'\n"


def test_a_mask_model_is_pinned_and_named_in_place_of_prompter_and_segmenter(tmp_path: Path) -> None:
    adapter = Path(__file__).parents[3] / "colour_adapter.py"
    config = MASK_MODEL.format(python=sys.executable, adapter=adapter)
    planned = plan(tmp_path, config)
    assert "prompter" not in planned.parameters
    assert planned.parameters["segmenter"]["mask_model"]["name"] == "colours"
    named = model_ids(planned)
    assert named["prompter"] == "whole"
    assert named["segmenter"].startswith("colour_adapter@sha256:")
    with pytest.raises(InputError, match="draws the prompts"):
        plan(tmp_path, config, prompts_from="truth")
    with pytest.raises(InputError, match="a mask model"):
        plan(tmp_path, config, parser="think2seg")
    with pytest.raises(InputError, match="a mask model"):
        plan(tmp_path, config, prompt_parts="box")
