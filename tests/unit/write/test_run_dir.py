from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from record_world import run_info

from pipeline.errors import InputError, RunMismatchError
from pipeline.write.fingerprint import fingerprint
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import write_run_json

PARAMETERS = {"query": ["roofs"], "tile": {"px": 1024, "halo": 64}, "scenes": ["https://h/a.tif?sig=1"]}


def started(path: Path) -> RunDir:
    run_dir = RunDir(path)
    assert run_dir.claim(PARAMETERS) == "new"
    write_run_json(run_dir.run_json, replace(run_info(), parameters=PARAMETERS, fingerprint=fingerprint(PARAMETERS)))
    return run_dir


def test_new_and_empty_directories_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert RunDir(path).claim(PARAMETERS) == "new"
        assert (path / "blocks").is_dir()
        assert RunDir(path).claim(PARAMETERS) == "new"  # as after a run that was killed before its run.json


def test_checking_writes_nothing(tmp_path: Path) -> None:
    assert RunDir(tmp_path / "x").check(PARAMETERS) == "new"
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_a_dry_run_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "plan.parquet").write_bytes(b"x")
    assert RunDir(tmp_path).claim(PARAMETERS) == "new"


def test_the_same_run_is_resumed_also_with_a_fresh_token(tmp_path: Path) -> None:
    run_dir = started(tmp_path)
    assert run_dir.claim(PARAMETERS) == "resume"
    assert run_dir.claim({**PARAMETERS, "scenes": ["https://h/a.tif?sig=2"]}) == "resume"


def test_another_run_is_refused_with_keys_and_values(tmp_path: Path) -> None:
    run_dir = started(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunMismatchError) as caught:
        run_dir.claim({**PARAMETERS, "tile": {"px": 512, "halo": 64}, "query": ["pools"]})
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "tile.px: 1024 -> 512" in message
    assert 'query: ["roofs"] -> ["pools"]' in message
    assert "halo" not in message
    assert str(tmp_path) in message
    assert sorted(tmp_path.rglob("*")) == before


def test_foreign_content_a_file_and_a_damaged_run_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.docx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"thesis\.docx"):
        RunDir(foreign).claim(PARAMETERS)
    assert [p.name for p in foreign.iterdir()] == ["thesis.docx"]
    with pytest.raises(InputError, match="must be a directory"):
        RunDir(foreign / "thesis.docx").claim(PARAMETERS)
    orphan = tmp_path / "orphan"
    (orphan / "blocks").mkdir(parents=True)
    (orphan / "blocks" / "b00000_00000.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="blocks"):
        RunDir(orphan).claim(PARAMETERS)
    run_dir = started(tmp_path / "damaged")
    run_dir.run_json.write_text('{"run_json')
    with pytest.raises(InputError, match=r"run\.json"):
        run_dir.claim(PARAMETERS)


def test_paths_are_those_of_the_layout(tmp_path: Path) -> None:
    run_dir = RunDir(str(tmp_path))
    found = {p.relative_to(tmp_path).as_posix() for p in (run_dir.run_json, run_dir.plan, run_dir.masks, run_dir.coverage)}
    found |= {p.relative_to(tmp_path).as_posix() for p in (run_dir.item, run_dir.report, run_dir.instances, run_dir.block("b00001_00002"))}
    assert found == {
        "run.json",
        "plan.parquet",
        "masks.zarr",
        "coverage.parquet",
        "item.json",
        "report.html",
        "instances",
        "blocks/b00001_00002.parquet",
    }
    assert RunDir(tmp_path) == RunDir(str(tmp_path))


def test_records_may_lie_elsewhere(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "again", records=tmp_path / "run" / "blocks")
    assert run.block("b00000_00001") == tmp_path / "run" / "blocks" / "b00000_00001.parquet"
    assert run.masks == tmp_path / "again" / "masks.zarr"
    assert RunDir(tmp_path).blocks == tmp_path / "blocks"
    assert run.merge.parent == tmp_path / "again"
