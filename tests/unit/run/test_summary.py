"""What a run says before and after its work, and how run.json is closed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_worlds import write_label_world

from pipeline.grid.source import SourceOptions
from pipeline.prompt.looks.gate_audit import GateCounts
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.merge.model_counts import ModelCounts
from pipeline.run.merge.publish import Published
from pipeline.run.prepare import PlannedRun, RunRequest, plan_request, start_info
from pipeline.run.summary import closing_entry, notice_box, plan_text, result_table, table
from pipeline.write.coverage import Conservation, SearchedArea
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

EMBEDDED = preset_tables("embedded")


def planned_run(folder: Path, **tables: object) -> PlannedRun:
    """Two queries on a scene of 64 x 64 px: one tile of 256 px, of which the scene is a corner."""
    world = write_label_world(folder / "world", np.zeros((64, 64), dtype=np.int64))
    config = RunConfig(
        queries=("tanks", "lakes"),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=(str(world.scene),)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables(EMBEDDED, tables)),
    )
    return plan_request(RunRequest(config=config, out=str(folder / "out"), runner="local"))


def published(*, failed: int) -> Published:
    """Ten planned tiles; 3 of the first query's things and 1 of the second's."""
    ledger = Conservation(
        planned=10,
        found=4,
        empty=6 - failed,
        failed=failed,
        reasons={"found": 4, "empty/nodata": 1, "empty/prompter": 5 - failed, "failed/malformed": failed},
    )
    return Published(
        run_dir=RunDir("never"),
        keys=AlikeKeys("f" * 64),
        shards=(),
        models=ModelCounts(),
        conservation=ledger,
        n_instances=(3, 1),
        elapsed_s=1.0,
        qa={"tanks": {"edges": 2}, "lakes": {}},
    )


def closed_info(folder: Path, **changed: object) -> RunInfo:
    """run.json of that run, with some fields as a closing entry would set them."""
    return replace(start_info(planned_run(folder), ()), **changed)  # type: ignore[arg-type]


def test_a_notice_stands_in_a_box_of_one_hundred_columns() -> None:
    text = " ".join(["trained on drawn scenes alone"] * 8)
    lines = notice_box(text).split("\n")
    assert {len(line) for line in lines} == {100}
    assert lines[0] == lines[-1] == "*" * 100
    assert all(line.startswith("* ") and line.endswith(" *") for line in lines[1:-1])
    assert " ".join(line[2:-2].strip() for line in lines[1:-1]) == text


def test_a_table_has_two_aligned_columns() -> None:
    assert table({"a": "1", "longer": "2"}) == "a       1\nlonger  2"


def test_the_plan_says_what_will_be_read_and_asked(tmp_path: Path) -> None:
    planned = planned_run(tmp_path)
    said = plan_text(planned)
    assert f"run            {planned.fingerprint[:16]}\n" in said
    assert "queries        tanks; lakes\n" in said
    assert "scenes         1 (scene mode)\n" in said
    assert "run grid       64 x 64 px, EPSG:32633, 0.5 m per pixel\n" in said
    assert "tiles          1 of 256 px (core 192, halo 32); 0 outside\n" in said
    assert "blocks         1 of 4 x 4 tiles\n" in said
    assert "pixels         4,096 in cores, 4,096 read\n" in said
    assert "model calls    at most 2 prompter calls and at most 1 image encodings\n" in said
    assert said.endswith(f"output         {tmp_path / 'out'}")
    assert "gate" not in said
    assert "verifier" not in said


def test_the_plan_asks_no_model_where_a_file_answers(tmp_path: Path) -> None:
    labels = f"oracle:{tmp_path / 'world' / 'labels.tif'}"
    oracle = {"kind": "oracle", "model": labels}
    drawn = {"kind": "oracle", "checkpoint": labels}
    said = plan_text(planned_run(tmp_path, prompter=oracle, segmenter=drawn))
    assert "no prompter calls (answers come from a label raster), no image encodings\n" in said
    background = "every value of labels.tif is one object, except 0, which is background\n"
    assert f"label raster   {background}" in said


@pytest.mark.parametrize("mode", ["tile", "parent"])
def test_the_plan_says_what_second_looks_will_do(tmp_path: Path, mode: str) -> None:
    """One tile in one block, two queries: two looks either way."""
    gate = {"mode": mode, "threshold": 0.25, "audit_share": 0.05}
    said = plan_text(planned_run(tmp_path, gate=gate, verifier={"mode": "crop", "threshold": 0.4}))
    per = {"tile": "tile", "parent": "block"}[mode]
    audit = "5 % of what it rejects is examined all the same"
    assert f"gate           at most 2 looks (per {per}), P < 0.25; {audit}\n" in said
    assert "verifier       one look per mask, P < 0.4 is rejected\n" in said


def test_the_final_table_balances_the_ledger_and_counts_each_query(tmp_path: Path) -> None:
    times = {"infer": 1.25, "merge": 61.0}
    info = closed_info(tmp_path, timings_s=times, counters={"replies_cut_at_token_limit": 0})
    text = result_table(info, str(tmp_path), published(failed=0))
    assert [line.split(maxsplit=1) if line.startswith(" ") else line for line in text.split("\n")] == [
        "planned tiles       10 = 4 found + 6 empty + 0 failed",
        ["empty/nodata", "1"],
        ["empty/prompter", "5"],
        ["failed/malformed", "0"],
        '"tanks"             3 instances',
        '"lakes"             1 instances',
        "time                infer 1.2 s, merge 61.0 s",
        f"results             {tmp_path}",
    ]


def test_the_table_says_what_the_merge_kept_of_the_masks(tmp_path: Path) -> None:
    pixels = {"given": 12_000, "kept": 11_990, "kept_share": 0.9991, "published": 12_100}
    info = closed_info(tmp_path, qa={"tanks": {"pixels": pixels}})
    text = result_table(info, str(tmp_path), published(failed=0))
    assert '"tanks"             3 instances; 99.91 % of 12,000 mask pixels kept by the merge\n' in text
    assert '"lakes"             1 instances\n' in text


def test_the_table_says_how_much_was_searched(tmp_path: Path) -> None:
    area = SearchedArea(
        planned_px=4000, searched_px=(1000, 1000), planned_km2=2.5, searched_km2=(0.625, 0.625)
    )
    done = published(failed=0)
    done = replace(done, conservation=replace(done.conservation, searched=area))
    lines = result_table(closed_info(tmp_path), "out", done).split("\n")
    text = "searched            0.625 km2 (25.0 %) of 2.5 km2 in the plan's tiles"
    assert [line for line in lines if line.startswith("searched")] == [text]


def test_failed_tiles_ask_for_attention(tmp_path: Path) -> None:
    text = result_table(closed_info(tmp_path), str(tmp_path), published(failed=2))
    assert "10 = 4 found + 4 empty + 2 failed" in text
    last = text.split("\n")[-1]
    assert last.startswith("attention")
    assert "2 tiles failed; see status and error in coverage.parquet" in last
    assert last.endswith("then run again with --retry-failed")


def test_another_number_of_queries_than_of_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer"):
        result_table(closed_info(tmp_path, queries=("tanks",)), str(tmp_path), published(failed=0))


def test_replies_cut_at_the_token_limit_are_said(tmp_path: Path) -> None:
    info = closed_info(tmp_path, counters={"replies_cut_at_token_limit": 3})
    text = result_table(info, str(tmp_path), published(failed=0))
    assert "cut replies         3 ended at the token limit and may lack objects" in text


@pytest.mark.parametrize(("failed", "status"), [(0, "complete"), (2, "incomplete")])
def test_the_closing_run_json_counts_tiles_models_and_instances(
    tmp_path: Path, failed: int, status: str
) -> None:
    """What a start wrote stays: parameters, queries, models."""
    models = ModelCounts(encodings=1, encoded_tiles=1, calls=4, cut_replies=1)
    as_begun = replace(start_info(planned_run(tmp_path), ()), at_work="me", snapshot="one", earlier=("two",))
    assert as_begun.status == "running"
    done = replace(published(failed=failed), models=models)
    closed = closing_entry(as_begun, done, {"infer": 1.23456})
    assert closed.status == status
    assert closed.counters == {
        "tiles_in_lattice": 1,
        "tiles_planned": 10,
        "tiles_found": 4,
        "tiles_empty": 6 - failed,
        "tiles_failed": failed,
        "image_encodings": 1,
        "tiles_with_prompts": 1,
        "prompter_calls": 4,
        "replies_cut_at_token_limit": 1,
        "instances": 4,
    }
    assert closed.reasons["failed/malformed"] == failed
    assert closed.timings_s == {"infer": 1.235}
    assert closed.qa == {"tanks": {"edges": 2}, "lakes": {}}
    assert closed.gate == {}
    assert closed.ended >= closed.started > ""
    assert replace(closed, **{name: getattr(as_begun, name) for name in CLOSING}) == as_begun


CLOSING = ("status", "counters", "reasons", "timings_s", "qa", "gate", "ended")
"""Fields that the closing entry says anew."""


def test_a_gates_figures_are_in_the_closing_entry_and_the_final_table(tmp_path: Path) -> None:
    """One pair passed, two rejected, none audited."""
    gate = {"mode": "tile", "threshold": 0.25, "audit_share": 0.05}
    models = ModelCounts(gate=GateCounts(passed=1, passed_found=1, rejected=2))
    done = replace(published(failed=0), models=models)
    closed = closing_entry(start_info(planned_run(tmp_path, gate=gate), ()), done, {})
    assert (closed.gate["passed"], closed.gate["rejected"], closed.gate["audited"]) == (1, 2, 0)
    assert closed.gate["recall"] is None
    text = result_table(closed, "out", done)
    assert "rejected 2 of 3 (tile, query) pairs (66.7 %); audited 0, found 0" in text
