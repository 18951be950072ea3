from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from record_world import run_info
from s3_server import BUCKET, serving_s3

from pipeline.errors import InputError, RunBusyError, RunMismatchError
from pipeline.files.fingerprint import fingerprint
from pipeline.files.run_times import EPOCH
from pipeline.files.store.local_store import SWAP_LOCK
from pipeline.files.store.store_path import store_path
from pipeline.write.run_dir import RESULT_NAMES, RunDir
from pipeline.write.run_json import write_run_json

PARAMETERS = {"query": ["roofs"], "tile": {"px": 1024, "halo": 64}, "scenes": ["https://h/a.tif?sig=1"]}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


def started(path: Path | str) -> RunDir:
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
        assert path.is_dir()
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
    lock = tmp_path / "out" / "run.lock"
    foreign = {**json.loads(lock.read_text()), "host": "elsewhere", "pid": 7, "token": "theirs"}
    lock.write_text(json.dumps(foreign))
    before = contents(tmp_path / "out")
    for new_run in (False, True):
        with pytest.raises(RunBusyError, match="process 7 on elsewhere at work"):
            run_dir.claim(PARAMETERS, new_run=new_run)
    assert contents(tmp_path / "out") == before
    killed = RunDir(tmp_path / "killed")
    assert killed.claim(PARAMETERS) == "new"
    lock = tmp_path / "killed" / "run.lock"
    lock.write_text(json.dumps(foreign))
    os.utime(lock, times=(0, 0))
    assert killed.claim(PARAMETERS) == "new"
    assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_what_another_driver_did_before_it_let_go_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory was vacant when it was checked; by the time of the lock it holds another run."""
    monkeypatch.setattr("pipeline.write.run_dir.take", lambda *_, **__: started_by_another(tmp_path))
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
    run_dir.run_json.write_bytes(b'{"run_json')
    with pytest.raises(InputError, match=r"run\.json"):
        run_dir.claim(PARAMETERS)


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a folder, but for the empty one whose lock makes a swap one step."""
    return {
        item.relative_to(path).as_posix(): item.read_bytes()
        for item in path.rglob("*")
        if item.is_file() and item.name != SWAP_LOCK
    }


def test_a_new_run_takes_the_place_of_any_run_and_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    """Nothing is deleted before the new run.json is there, which no longer names it."""
    out = tmp_path / "out"
    run_dir = started(out)
    snapshot = run_dir.in_snapshot("abc")
    written = [
        run_dir.block("b00000_00000").local(),
        run_dir.plan.local(),
        run_dir.scenes.local(),
        run_dir.item.local(),
        run_dir.log,
        run_dir.attempts / "b00000_00000.read.1",
        run_dir.merge.local() / "rows.parquet",
        run_dir.zones.local() / "EPSG_32630" / "run.json",
    ]
    for results in (run_dir, snapshot):  # of a version without snapshots, and of this one
        written += [
            results.masks.local() / "zarr.json",
            results.instances.local() / "part-00000.parquet",
            results.coverage.local(),
            results.report.local(),
            results.manifest.local(),
        ]
    for path in (*written, out / "scores.json", out / "imagery" / "blocks" / "scene.tif"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    (out / "current").symlink_to("snapshots/abc")
    before = contents(out)
    other = {**PARAMETERS, "query": ["pools"]}
    assert run_dir.check(other, new_run=True) == "new"
    assert contents(out) == before, "checking deletes nothing"
    assert run_dir.claim(other, new_run=True) == "new"
    after = contents(out)
    assert json.loads(after.pop("run.lock"))["pid"] == os.getpid(), "deleting is done under the lock"
    assert {name: data for name, data in before.items() if name not in after} == {
        "merge.tmp/rows.parquet": b"rows.parquet",
        "run.lock": before["run.lock"],
    }, "only what no start needs goes before the new run.json is there"
    run_dir.clear()
    left = {"run.json", "scores.json", "imagery/blocks/scene.tif"}
    after = contents(out)
    assert json.loads(after.pop("run.lock"))["pid"] == os.getpid()
    assert after == {name: before[name] for name in left}
    assert not (out / "current").is_symlink()


def test_a_new_run_unlinks_links_and_follows_none(tmp_path: Path) -> None:
    run_dir = started(tmp_path / "out")
    (tmp_path / "disk" / "c").mkdir(parents=True)
    (tmp_path / "disk" / "c" / "0").write_bytes(b"pixels")
    for name in ("masks.zarr", "blocks", "snapshots", "current"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "disk")
    run_dir.claim(PARAMETERS, new_run=True)
    run_dir.clear()
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert (tmp_path / "disk" / "c" / "0").read_bytes() == b"pixels"


def test_records_of_another_directory_are_never_cleared(tmp_path: Path) -> None:
    theirs = tmp_path / "run" / "blocks" / "b00000_00000.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"record")
    run_dir = RunDir(tmp_path / "again", records=theirs.parent)
    own = tmp_path / "again" / "blocks" / "b00000_00000.parquet"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"earlier run")
    run_dir.clear()
    assert theirs.read_bytes() == b"record"
    assert not own.exists()


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
    top = {"run.json", "plan.parquet", "scenes.parquet", "item.json", "zones", "snapshots", "merge.tmp"}
    results = {"masks.zarr", "coverage.parquet", "report.html", "instances", "manifest.json"}
    for each, where in ((run_dir, ""), (run_dir.in_snapshot("abc"), "snapshots/abc/")):
        found = (each.run_json, each.plan, each.scenes, each.item, each.zones, each.snapshots, each.merge)
        assert {path.below(run_dir.path) for path in found} == top
        made = (each.masks, each.coverage, each.report, each.instances, each.manifest)
        assert {path.below(run_dir.path) for path in made} == {where + name for name in results}
        assert each.block("b00001_00002").local() == tmp_path / "blocks" / "b00001_00002.parquet"
    assert set(RESULT_NAMES) == results
    assert RunDir(tmp_path) == RunDir(str(tmp_path)) == RunDir(store_path(tmp_path))
    assert RunDir(tmp_path).in_snapshot("") == RunDir(tmp_path) != RunDir(tmp_path).in_snapshot("abc")
    assert run_dir.attempts == tmp_path / "attempts"
    assert run_dir.log == tmp_path / "run.log"


def test_the_log_of_a_run_whose_times_are_fixed_lies_outside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EPOCH, "86400")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    run_dir = RunDir(tmp_path / "run")
    assert run_dir.log.is_relative_to(tmp_path / "temporary")
    assert run_dir.log.parent.is_dir()
    assert run_dir.attempts == tmp_path / "run" / "attempts"
    assert RunDir(tmp_path / "other").log != run_dir.log


def test_records_may_lie_elsewhere(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "again", records=tmp_path / "run" / "blocks")
    assert run.block("b00000_00001").local() == tmp_path / "run" / "blocks" / "b00000_00001.parquet"
    assert run.masks.local() == tmp_path / "again" / "masks.zarr"
    assert RunDir(tmp_path).blocks.local() == tmp_path / "blocks"
    assert run.merge.parent == run.path
    snapshot = RunDir(tmp_path / "again").in_snapshot("abc").with_records(tmp_path / "run" / "blocks")
    assert snapshot == run.in_snapshot("abc")


class TestInABucket:
    """A run directory below a prefix of a bucket follows the same rules."""

    @pytest.fixture
    def place(self, bucket: str) -> str:
        return f"{bucket}/{uuid.uuid4()}/run"

    def test_it_is_taken_resumed_and_refused(self, place: str) -> None:
        run_dir = started(place)
        assert run_dir.claim(PARAMETERS) == "resume"
        with pytest.raises(RunMismatchError, match="query") as caught:
            run_dir.claim({**PARAMETERS, "query": ["pools"]})
        assert f"{place} holds a run with other parameters" in str(caught.value)

    def test_foreign_objects_are_refused(self, place: str) -> None:
        (store_path(place) / "thesis.docx").write_bytes(b"mine")
        with pytest.raises(InputError, match=r"thesis\.docx"):
            RunDir(place).claim(PARAMETERS)
        assert store_path(place).children() == ["thesis.docx"]

    def test_a_new_run_clears_what_a_run_writes_and_nothing_beside_it(self, place: str) -> None:
        run_dir = started(place)
        for path in (
            run_dir.block("b00000_00000"),
            run_dir.in_snapshot("abc").masks / "zarr.json",
            run_dir.plan,
            run_dir.item,
            run_dir.path / "scores.json",
            store_path(f"{place}-other") / "plan.parquet",
        ):
            path.write_bytes(b"x")
        run_dir.claim({**PARAMETERS, "query": ["pools"]}, new_run=True)
        run_dir.clear()
        assert run_dir.path.children() == ["run.json", "run.lock", "scores.json"]
        assert (store_path(f"{place}-other") / "plan.parquet").exists()

    def test_what_a_machine_keeps_for_itself_lies_there(
        self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The log is copied at the end."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        run_dir = RunDir(place)
        assert run_dir.log.is_relative_to(tmp_path)
        assert run_dir.attempts.parent == run_dir.log.parent
        assert RunDir(f"{place}2").log.parent != run_dir.log.parent
        run_dir.keep_log()
        assert not run_dir.path.exists(), "nothing was printed"
        run_dir.log.parent.mkdir(parents=True, exist_ok=True)
        run_dir.log.write_text("printed")
        run_dir.keep_log()
        assert (run_dir.path / "run.log").read_text() == "printed"

    @pytest.mark.usefixtures("bucket")
    def test_a_bucket_that_takes_no_log_costs_the_copy_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        run_dir = RunDir("s3://no-such-bucket/run")
        run_dir.log.write_text("printed")
        run_dir.keep_log()
        assert run_dir.log.read_text() == "printed"


def test_queries_are_added_where_that_is_asked_and_nothing_else_may_start_until_it_ends(
    tmp_path: Path,
) -> None:
    run_dir = RunDir(tmp_path)
    before = {"queries": ["roofs"], "area": "x"}
    now = {**before, "queries": ["roofs", "roads"]}
    info = replace(run_info(), parameters=before, fingerprint=fingerprint(before))
    write_run_json(run_dir.run_json, info)
    assert run_dir.check(now, adds_queries=True) == "update"
    with pytest.raises(RunMismatchError, match="as --add-query: only they are asked"):
        run_dir.check(now, update=True)
    with pytest.raises(RunMismatchError):
        run_dir.check({**now, "area": "y"}, adds_queries=True)
    write_run_json(run_dir.run_json, replace(info, update={"queries": ["roofs", "roads"]}))
    assert run_dir.check(now, adds_queries=True) == "update"
    for other in (before, {**before, "area": "y"}, {**before, "queries": ["roofs", "ships"]}):
        with pytest.raises(RunMismatchError, match="that has not ended"):
            run_dir.check(other, update=True, adds_queries=True)
    assert run_dir.check(before, new_run=True) == "new"
