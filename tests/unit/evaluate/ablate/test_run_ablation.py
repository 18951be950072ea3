"""Ablations on a small world with oracles: what is run, what is not, and that it goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate.ablate import run_ablation as module
from pipeline.evaluate.ablate.ablation_axes import AxisName, AxisOptions, read_models
from pipeline.evaluate.ablate.run_ablation import AblationRequest, planned_variants, run_ablation
from pipeline.evaluate.benchmark import run_benchmark
from pipeline.evaluate.benchmark.oracle_noise import OracleNoise, read_noise


def ask(
    out: Path, axis: AxisName, models: str = "oracle", noise: str = "none", **more: Any
) -> AblationRequest:
    return AblationRequest(
        benchmark="world:31:512",
        axis=axis,
        models=tuple(read_models(text) for text in models.split(",")),
        out=out,
        noise=read_noise(noise),
        runner="local",
    )


def document_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "ablation.json").read_text())
    return document


def test_margins_mend_boxes_that_drift(tmp_path: Path) -> None:
    said: list[str] = []
    assert run_ablation(ask(tmp_path, "refinement", noise="drift=0.15"), say=said.append) == 0
    (table,) = document_of(tmp_path)["tables"]
    plain, moved = table["rows"]
    assert table["reference"] == plain["name"]
    assert moved["differences"]["giou_present"]["low"] > 0.05
    assert moved["figures"]["giou_present"]["value"] > 0.95
    text = (tmp_path / "ablation.md").read_text()
    assert "published: GeoSeg, table 3" in text
    assert "56.4" in text
    page = (tmp_path / "ablation.html").read_text()
    assert page.index("<svg") < page.index("<table")


def test_it_goes_on_without_computing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ask(tmp_path, "routes", noise="leak=0.5,confuse=0.5")
    run_ablation(request, say=lambda _: None)
    first = document_of(tmp_path)
    rows = {row["name"]: row["figures"]["precision"]["value"] for row in first["tables"][0]["rows"]}
    both = rows["routes A and B, the paper's rule"]
    assert both > max(rows["route A alone"], rows["route B alone"])
    monkeypatch.setattr(run_benchmark, "_run_local", None)  # nothing is left to do
    run_ablation(request, say=lambda _: None)
    assert document_of(tmp_path) == first
    with pytest.raises(InputError, match="its axis is 'routes' and not 'refinement'"):
        run_ablation(ask(tmp_path, "refinement", noise="drift=0.1"), say=lambda _: None)


def test_what_needs_a_checkpoint_stays_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ask(tmp_path, "segmenters")
    real = module.plan_evaluation

    def without_hub(request: Any, *, say: Any) -> Any:
        checkpoint = (request.tables or {}).get("segmenter", {}).get("checkpoint", "")
        if request.masks_from == "preset" and checkpoint.startswith("facebook/"):
            raise InputError("the segmenter must be on the hub or in the cache", came=checkpoint)
        return real(request, say=say)

    monkeypatch.setattr(module, "plan_evaluation", without_hub)
    planned = planned_variants(asked, say=lambda _: None)
    reasons = {one.variant.name: one.why_not for one in planned}
    assert reasons["SAM2.1 large"] == "needs facebook/sam2.1-hiera-large"
    assert reasons["segmenter of embedded"] == reasons["the truth in the box, with mistakes"] == ""
    document = module.ablation_document(asked, [one for one in planned if one.why_not])
    cells = module.ablation_markdown(document)
    assert "not run: needs facebook/sam2.1-hiera-tiny" in cells


def test_without_any_variant_that_runs_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"models that differ in it\. Got: an oracle's masks"):
        run_ablation(ask(tmp_path, "combinations"), say=lambda _: None)
    with pytest.raises(InputError, match="a world benchmark is"):
        run_ablation(replace(ask(tmp_path, "routes"), benchmark="world:31:9"), say=lambda _: None)
    assert not (tmp_path / "ablation.json").exists()


def test_a_variant_is_an_evaluation_of_the_base_with_one_change(tmp_path: Path) -> None:
    request = ask(tmp_path, "prompters", "oracle+embedded", "miss=0.1")
    variants = planned_variants(
        replace(request, options=AxisOptions(prompters=("embedded",))), say=lambda _: None
    )
    exact, noisy, model = (one.request for one in variants)
    assert (exact.truth.noise, noisy.truth.noise) == (OracleNoise(), OracleNoise(miss=0.1))
    assert (exact.prompts_from, model.prompts_from) == ("truth", "preset")
    assert exact.out != noisy.out != model.out
    assert replace(noisy, out="", truth=exact.truth) == replace(exact, out="")


def test_a_config_is_laid_under_every_variant(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[tiles]\npx = 128\nhalo_px = 16\n")
    request = replace(ask(tmp_path / "out", "routes", noise="mild"), config_file=str(config))
    for one in planned_variants(request, say=lambda _: None):
        assert one.planned is not None
        assert one.planned.context.side_px == 128
