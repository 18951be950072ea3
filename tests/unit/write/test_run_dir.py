from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from record_world import run_info

from pipeline.errors import InputError, RunMismatchError
from pipeline.files.fingerprint import fingerprint
from pipeline.run.infer.steps import ATTEMPTS
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import write_run_json

PARAMETERS = {"query": ["roofs"], "tile": {"px": 1024, "halo": 64}, "scenes": ["https://h/a.tif?sig=1"]}


def started(path: Path) -> RunDir:
    run_dir = RunDir(path)
    assert run_dir.claim(PARAMETERS) == "new"
    write_run_json(
        run_dir.run_json, replace(run_info(), parameters=PARAMETERS, fingerprint=fingerprint(PARAMETERS))
    )
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


def test_a_directory_in_which_another_driver_works_is_refused(tmp_path: Path) -> None:
    """Before anything is deleted or written; the lock that a killed run leaves behind is no obstacle."""
    run_dir = started(tmp_path / "out")
    run_dir.plan.write_bytes(b"plan")
    lock = run_dir.path / "run.lock"
    foreign = {**json.loads(lock.read_text()), "host": "elsewhere", "pid": 7}
    lock.write_text(json.dumps(foreign))
    before = contents(run_dir.path)
    for new_run in (False, True):
        with pytest.raises(InputError, match="process 7 on elsewhere at work"):
            run_dir.claim(PARAMETERS, new_run=new_run)
    assert contents(run_dir.path) == before
    killed = RunDir(tmp_path / "killed")
    assert killed.claim(PARAMETERS) == "new"
    (killed.path / "run.lock").write_text(json.dumps(foreign))
    os.utime(killed.path / "run.lock", times=(0, 0))
    assert killed.claim(PARAMETERS) == "new"
    assert json.loads((killed.path / "run.lock").read_text())["pid"] == os.getpid()


def test_what_another_driver_did_before_it_let_go_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory was vacant when it was checked; by the time of the lock it holds another run."""
    monkeypatch.setattr("pipeline.write.run_dir.take", lambda _: started_by_another(tmp_path))
    with pytest.raises(RunMismatchError, match="query"):
        RunDir(tmp_path).claim({**PARAMETERS, "query": ["pools"]})


def started_by_another(path: Path) -> None:
    write_run_json(
        path / "run.json", replace(run_info(), parameters=PARAMETERS, fingerprint=fingerprint(PARAMETERS))
    )


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
    with pytest.raises(InputError, match="must be a folder"):
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


def contents(path: Path) -> dict[str, bytes]:
    return {
        item.relative_to(path).as_posix(): item.read_bytes() for item in path.rglob("*") if item.is_file()
    }


def test_a_new_run_takes_the_place_of_any_run_and_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    run_dir = started(tmp_path / "out")
    written = (
        run_dir.block("b00000_00000"),
        run_dir.masks / "zarr.json",
        run_dir.instances / "part-00000.parquet",
        run_dir.plan,
    )
    written += (
        run_dir.coverage,
        run_dir.item,
        run_dir.report,
        run_dir.log,
        run_dir.attempts / "b00000_00000.read.1",
        run_dir.merge / "rows.parquet",
    )
    for path in (*written, run_dir.path / "scores.json", run_dir.path / "imagery" / "blocks" / "scene.tif"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    before = contents(run_dir.path)
    other = {**PARAMETERS, "query": ["pools"]}
    assert run_dir.check(other, new_run=True) == "new"
    assert contents(run_dir.path) == before, "checking deletes nothing"
    assert run_dir.claim(other, new_run=True) == "new"
    left = {
        "run.json",
        "scores.json",
        "imagery/blocks/scene.tif",
    }  # run.json until the new run's takes its place
    after = contents(run_dir.path)
    assert json.loads(after.pop("run.lock"))["pid"] == os.getpid(), "deleting is done under the lock"
    assert after == {name: before[name] for name in left}
    assert run_dir.blocks.is_dir()


def test_a_new_run_unlinks_links_and_follows_none(tmp_path: Path) -> None:
    run_dir = started(tmp_path / "out")
    (tmp_path / "disk" / "c").mkdir(parents=True)
    (tmp_path / "disk" / "c" / "0").write_bytes(b"pixels")
    run_dir.masks.symlink_to(tmp_path / "disk")
    run_dir.claim(PARAMETERS, new_run=True)
    assert not run_dir.masks.is_symlink()
    assert (tmp_path / "disk" / "c" / "0").read_bytes() == b"pixels"


@pytest.mark.parametrize(
    "content", ['{"run": 7, "tool": "another"}', "[1, 2]", '{"run_json_version": 99}', '{"run_json']
)
def test_a_new_run_deletes_nothing_where_run_json_is_not_one_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "wall.txt").write_text("mine")
    before = contents(tmp_path)
    for call in (RunDir(tmp_path).check, RunDir(tmp_path).claim):
        with pytest.raises(InputError, match=r"run\.json.*To fix"):
            call(PARAMETERS, new_run=True)
    assert contents(tmp_path) == before


def test_a_new_run_needs_a_run_or_an_empty_directory(tmp_path: Path) -> None:
    assert RunDir(tmp_path / "new").claim(PARAMETERS, new_run=True) == "new"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holiday\.txt"):
        RunDir(tmp_path / "photos").claim(PARAMETERS, new_run=True)
    assert contents(tmp_path / "photos") == {"holiday.txt": b"mine"}


def test_paths_are_those_of_the_layout(tmp_path: Path) -> None:
    run_dir = RunDir(str(tmp_path))
    found = {
        p.relative_to(tmp_path).as_posix()
        for p in (run_dir.run_json, run_dir.plan, run_dir.masks, run_dir.coverage)
    }
    found |= {
        p.relative_to(tmp_path).as_posix()
        for p in (run_dir.item, run_dir.report, run_dir.instances, run_dir.block("b00001_00002"))
    }
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
    assert run_dir.attempts.name == ATTEMPTS


def test_records_may_lie_elsewhere(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "again", records=tmp_path / "run" / "blocks")
    assert run.block("b00000_00001") == tmp_path / "run" / "blocks" / "b00000_00001.parquet"
    assert run.masks == tmp_path / "again" / "masks.zarr"
    assert RunDir(tmp_path).blocks == tmp_path / "blocks"
    assert run.merge.parent == tmp_path / "again"
