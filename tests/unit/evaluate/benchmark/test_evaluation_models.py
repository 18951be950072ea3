"""An evaluation's hub ids become commits once; what cannot be had is said before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serving_hub, use_hub

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.evaluation_models import commits_before, pin_evaluation
from pipeline.evaluate.benchmark.prepare_benchmark import (
    EVALUATION_JSON,
    EvaluationRequest,
    PlannedEvaluation,
    claim,
    plan_evaluation,
)
from pipeline.run.config import build_preset, merge_tables, preset_tables

SEGMENTER = "facebook/sam2.1-hiera-tiny"
WEIGHTS = "sam2.1_hiera_tiny.pt"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub() as hub:
        hub.add(SEGMENTER, {WEIGHTS: bytes(4000)})
        use_hub(monkeypatch, hub, tmp_path / "cache")
        yield hub


def plan(folder: Path) -> PlannedEvaluation:
    config = folder / "config.toml"
    config.write_text(f'[segmenter]\ncheckpoint = "{SEGMENTER}"\n')
    request = EvaluationRequest(
        benchmark="world:7:512",
        limit=2,
        out=str(folder / "out"),
        config_file=str(config),
        prompts_from="truth",
        runner="local",
    )
    return plan_evaluation(request, say=lambda _: None)


def test_the_commit_is_written_down_and_kept(hub: Hub, tmp_path: Path) -> None:
    planned = plan(tmp_path)
    first = hub.refs[SEGMENTER]["main"]
    assert planned.preset.segmenter.revision == planned.context.segmenter.revision == first
    claim(planned)
    said = json.loads((tmp_path / "out" / EVALUATION_JSON).read_text())
    assert said["hub"] == {"segmenter": {"id": SEGMENTER, "asked": None, "commit": first}}
    hub.add(SEGMENTER, {WEIGHTS: bytes(5000)})
    again = plan(tmp_path)
    assert again.context.fingerprint == planned.context.fingerprint
    assert again.preset.segmenter.revision == first
    (tmp_path / "other").mkdir()
    assert plan(tmp_path / "other").preset.segmenter.revision == hub.refs[SEGMENTER]["main"] != first


def test_only_models_that_answer_are_looked_up(hub: Hub, tmp_path: Path) -> None:
    tables = {"prompter": {"model": "nobody/nothing"}, "segmenter": {"checkpoint": SEGMENTER}}
    preset = build_preset(merge_tables(preset_tables("embedded"), tables))
    _, models = pin_evaluation(preset, tmp_path / "none", ("truth", "preset"), "local")
    assert [one.model.role for one in models] == ["segmenter"]
    assert pin_evaluation(preset, tmp_path / "none", ("truth", "truth"), "local")[1] == ()
    with pytest.raises(InputError, match="nobody/nothing, which the hub does not have"):
        pin_evaluation(preset, tmp_path / "none", ("preset", "preset"), "local")


def test_without_hub_and_cache_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, None, tmp_path / "cache")
    with pytest.raises(InputError, match=r"the segmenter must be on the hub or in the cache"):
        plan(tmp_path)
    (tmp_path / "broken.json").write_text('{"hub": 3}')
    assert commits_before(tmp_path / "broken.json") == {}
