"""The whole check: a sound run, what cannot be checked, and the job."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from damaged_runs import edit_json, results_of
from job_files import load_job

from pipeline.errors import InputError
from pipeline.run.verify.verify_run import CHECKS, verify


def test_a_sound_run_is_sound(sound_run: Path) -> None:
    told: list[tuple[str, float]] = []
    verdict = verify(sound_run, progress=lambda name, share: told.append((name, share)))
    assert verdict.sound, verdict.findings
    assert verdict.counts == dict.fromkeys(CHECKS, 0)
    begun = [name for name, share in told if share == 0]
    assert begun == [name for name in CHECKS if name != "run.json"]
    assert told[-3:] == [("rasters", 1.0), ("manifest", 0.0), ("item", 0.0)]


def test_a_region_merged_again_is_checked_with_the_first_records(sound_run: Path, tmp_path: Path) -> None:
    words = ["--run", str(sound_run), "--out", str(tmp_path / "out"), "--runner", "local", "--semantic"]
    assert load_job("restitch_region").main(words) == 0
    verdict = verify(tmp_path / "out")
    assert verdict.sound, verdict.findings


def test_what_a_damage_hides_is_said(run: Path) -> None:
    (run / "blocks" / "b00000_00000.parquet").unlink()
    verdict = verify(run)
    assert not verdict.sound
    assert sorted(verdict.not_made) == ["ledger", "rasters"]
    assert verdict.counts["objects"] == 0, "rows are still checked in themselves"
    (run / "plan.parquet").unlink()
    assert sorted(verify(run).not_made) == ["ledger", "rasters", "records"]


def test_a_run_that_has_not_ended(run: Path) -> None:
    edit_json(run / "run.json", lambda d: d.update(status="running"))
    verdict = verify(run)
    assert sorted(verdict.not_made) == ["ledger", "objects", "rasters"]
    assert [finding.place for finding in verdict.findings if finding.check == "run.json"] == ["status"]
    (run / "blocks" / "b00000_00000.parquet").unlink()
    record = run / "blocks" / "b00000_00001.parquet"
    record.write_bytes(record.read_bytes()[:-9])
    verdict = verify(run)
    assert verdict.not_made["rasters"] == "the run has not ended, and 2 of its blocks are not done yet"
    damaged = [finding.place for finding in verdict.findings if finding.check == "records"]
    assert damaged == ["b00000_00001"], "what is only not done yet is no damage"


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold run\.json"):
        verify(tmp_path)


def test_the_job_prints_a_line_per_check(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = load_job("verify_run").main
    assert main([str(run)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == list(CHECKS)
    assert last == "the run is sound"
    masks = results_of(run) / "masks.zarr"
    shutil.rmtree(masks)
    assert main([str(run), "--quiet"]) == 4
    out = capsys.readouterr().out
    assert "WRONG        run.json: 1 finding" in out
    assert f"    masks: {masks.relative_to(run)} is named and missing" in out
    assert "\nok" not in out
    assert main([str(run / "blocks")]) == 2
