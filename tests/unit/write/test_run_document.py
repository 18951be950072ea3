"""run.json as the pointer: whoever may publish moves it at once, and nobody moves it back.

Each of these worlds is a few small files, in a local folder and in a bucket.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from record_world import run_info
from s3_server import BUCKET, serving_s3
from zone_results import zoned_info

from pipeline.errors import IncompleteRunError, InputError
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.write import run_document, run_lock
from pipeline.write.run_dir import CURRENT, RESULT_NAMES, RunDir
from pipeline.write.run_document import (
    KEPT_NAMES,
    amend,
    bar_sleepers,
    begin,
    chosen_queries,
    conclude,
    existing_run,
    finished_run,
    seen_version,
    show_results,
    write_unless_newer,
)
from pipeline.write.run_json import RunInfo, read_run_json, write_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run

STARTING = replace(run_info(), status="running", ended="", started="2026-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> RunDir:
    if request.param == "local":
        return RunDir(tmp_path / "out")
    return RunDir(f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}/out")


@pytest.fixture
def local(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "out")


def become(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Go on as another driver."""
    driver = replace(run_lock.this_driver(), token=name)
    monkeypatch.setattr(run_document, "this_driver", lambda: driver)


def fill(run_dir: RunDir, snapshot: str, *, without: str = "") -> RunDir:
    """Write the results of a snapshot: every file says which one it is of."""
    made = run_dir.in_snapshot(snapshot)
    for path in (
        made.masks / "zarr.json",
        made.instances / "part-00000.parquet",
        made.coverage,
        made.report,
        made.manifest,
    ):
        if path.name != without:
            path.write_bytes(snapshot.encode())
    return made


def ended(info: RunInfo) -> RunInfo:
    return replace(info, status="complete", ended="2026-01-01T01:00:00Z")


def publish(run_dir: RunDir, snapshot: str) -> RunInfo:
    """What a driver does from its start to its end."""
    return conclude(fill(run_dir, snapshot), ended(begin(run_dir, STARTING)))


def seen_by_a_reader(run_dir: RunDir) -> str:
    """The snapshot that a reader's report is of."""
    return finished_run(run_dir.path).report.read_text()


class TestBegin:
    def test_the_first_start_says_that_it_runs_and_who_may_publish(self, run_dir: RunDir) -> None:
        info = begin(run_dir, STARTING)
        assert info == replace(STARTING, at_work=run_lock.this_driver().token)
        assert read_run_json(run_dir.run_json) == info
        assert finished_run(run_dir.path) == run_dir, "nothing was published yet"

    def test_a_restart_keeps_the_time_of_the_first_start(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin(run_dir, STARTING)
        become(monkeypatch, "later")
        info = begin(run_dir, replace(STARTING, started="2026-02-02T00:00:00Z"))
        assert info.started == STARTING.started
        assert (info.at_work, info.status) == ("later", "running")
        assert read_run_json(run_dir.run_json) == info

    def test_a_run_that_was_published_stays_published_meanwhile(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """run.json goes on saying what the result that counts is, and names the new driver."""
        first = publish(run_dir, "one")
        become(monkeypatch, "later")
        again = replace(STARTING, started="2026-02-02T00:00:00Z")
        info = begin(run_dir, again)
        assert info == replace(again, started=first.started, snapshot="one", at_work="later")
        assert read_run_json(run_dir.run_json) == replace(first, at_work="later")
        assert seen_by_a_reader(run_dir) == "one"

    def test_another_run_and_a_new_one_name_nothing_of_the_earlier(self, run_dir: RunDir) -> None:
        publish(run_dir, "one")
        other = replace(STARTING, fingerprint="0" * 64, started="2026-02-02T00:00:00Z")
        assert begin(run_dir, other) == replace(other, at_work=run_lock.this_driver().token)
        assert finished_run(run_dir.path) == run_dir
        conclude(fill(run_dir, "two"), ended(begin(run_dir, other)))
        info = begin(run_dir, replace(other, started="2026-03-03T00:00:00Z"), new_run=True)
        assert (info.snapshot, info.earlier, info.started) == ("", (), "2026-03-03T00:00:00Z")
        assert read_run_json(run_dir.run_json) == info

    def test_an_update_says_what_the_run_becomes_until_it_ends(self, local: RunDir) -> None:
        first = publish(local, "one")
        other = replace(STARTING, fingerprint="0" * 64)
        aim = {"fingerprint": other.fingerprint, "scenes": [["a", "c0", [0, 0, 4, 4]]]}
        info = begin(local, other, update=True, aim=aim)
        assert (info.fingerprint, info.snapshot, info.update) == (other.fingerprint, "one", {})
        assert read_run_json(local.run_json) == replace(first, at_work=info.at_work, update=aim)
        bar_sleepers(local)
        assert read_run_json(local.run_json).update == aim, "whoever cleans up leaves it"
        back = {"fingerprint": STARTING.fingerprint, "scenes": []}
        begin(local, STARTING, aim=back)
        assert read_run_json(local.run_json).update == back, "the start goes back: records are of both"
        assert conclude(fill(local, "two"), ended(begin(local, other, update=True, aim=aim))).update == {}
        begin(local, other, aim=aim)
        assert read_run_json(local.run_json).update == {}, "nothing is left of it"

    def test_a_run_of_an_earlier_version_that_ended_is_written_as_running(self, run_dir: RunDir) -> None:
        """It has no snapshot to go on with: its results lie in the directory itself."""
        write_run_json(run_dir.run_json, run_info())
        info = begin(run_dir, STARTING)
        assert (info.status, info.started, info.snapshot) == ("running", run_info().started, "")
        assert read_run_json(run_dir.run_json) == info

    def test_a_damaged_run_json_stays_as_it_is(self, run_dir: RunDir) -> None:
        run_dir.run_json.write_bytes(b'{"run_json')
        with pytest.raises(InputError, match=r"run\.json"):
            begin(run_dir, STARTING)
        assert run_dir.run_json.read_bytes() == b'{"run_json'

    @pytest.mark.parametrize("there", [False, True])
    def test_of_two_writers_the_later_look_counts(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch, *, there: bool
    ) -> None:
        """Another document appears between the look and the writing: it is looked at again."""
        if there:
            begin(run_dir, STARTING)
        make = run_document._bytes
        late = replace(STARTING, started="2025-01-01T00:00:00Z")
        calls: list[object] = []

        def slowly(info: RunInfo | ZonedInfo) -> bytes:
            calls.append(info)
            if len(calls) == 1:
                write_run_json(run_dir.run_json, late)
            return make(info)

        monkeypatch.setattr(run_document, "_bytes", slowly)
        info = begin(run_dir, STARTING)
        assert len(calls) == 2
        assert info.started == late.started
        assert read_run_json(run_dir.run_json) == info


class TestConclude:
    def test_the_snapshot_counts_from_then_on_and_the_earlier_are_named(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = publish(run_dir, "one")
        assert (first.snapshot, first.earlier, first.at_work) == ("one", (), "")
        assert finished_run(run_dir.path) == run_dir.in_snapshot("one")
        assert finished_run(str(run_dir.path)) == run_dir.in_snapshot("one")
        become(monkeypatch, "later")
        begun = begin(run_dir, STARTING)
        made = fill(run_dir, "two")
        assert seen_by_a_reader(run_dir) == "one", "until the new one counts"
        second = conclude(made, ended(begun))
        assert (second.snapshot, second.earlier, second.at_work) == ("two", ("one",), "")
        assert read_run_json(run_dir.run_json) == second
        assert seen_by_a_reader(run_dir) == "two"

    def test_the_same_snapshot_again_is_no_earlier_one(self, run_dir: RunDir) -> None:
        for _ in range(2):
            assert publish(run_dir, "one").earlier == ()
        assert publish(run_dir, "two").earlier == ("one",)
        assert publish(run_dir, "one").earlier == ("two",)

    def test_only_so_many_are_named(self, run_dir: RunDir) -> None:
        names = tuple(f"s{n}" for n in range(KEPT_NAMES + 3))
        begun = begin(run_dir, replace(STARTING, snapshot=names[0], earlier=names[1:]))
        assert conclude(run_dir.in_snapshot("new"), begun).earlier == names[:KEPT_NAMES]

    def test_a_sleeper_that_was_taken_over_cannot_conclude(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before its successor ends, and after."""
        become(monkeypatch, "sleeper")
        asleep = ended(begin(run_dir, STARTING))
        made = fill(run_dir, "of the sleeper")
        become(monkeypatch, "successor")
        begun = begin(run_dir, STARTING)
        before = run_dir.run_json.read_bytes()
        become(monkeypatch, "sleeper")
        with pytest.raises(IncompleteRunError, match=r"taken over.*its result counts"):
            conclude(made, asleep)
        assert run_dir.run_json.read_bytes() == before
        become(monkeypatch, "successor")
        done = conclude(fill(run_dir, "of the successor"), ended(begun))
        become(monkeypatch, "sleeper")
        with pytest.raises(IncompleteRunError, match="taken over"):
            conclude(made, asleep)
        assert read_run_json(run_dir.run_json) == done
        assert seen_by_a_reader(run_dir) == "of the successor"

    def test_a_sleeper_between_its_look_and_its_writing_cannot_conclude_either(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        become(monkeypatch, "sleeper")
        asleep = ended(begin(run_dir, STARTING))
        made = fill(run_dir, "of the sleeper")
        make = run_document._bytes

        def asleep_for_long(info: RunInfo | ZonedInfo) -> bytes:
            monkeypatch.setattr(run_document, "_bytes", make)
            become(monkeypatch, "successor")
            publish(run_dir, "of the successor")
            become(monkeypatch, "sleeper")
            return make(info)

        monkeypatch.setattr(run_document, "_bytes", asleep_for_long)
        with pytest.raises(IncompleteRunError, match="taken over"):
            conclude(made, asleep)
        assert seen_by_a_reader(run_dir) == "of the successor"

    def test_a_directory_that_somebody_removed_is_not_written_again(self, run_dir: RunDir) -> None:
        info = begin(run_dir, STARTING)
        run_dir.path.delete_tree()
        with pytest.raises(IncompleteRunError, match="taken over"):
            conclude(run_dir.in_snapshot("one"), ended(info))
        assert not run_dir.path.exists()

    def test_zones_are_published_by_the_same_rules(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        starting = replace(zoned_info({}), status="running", warnings=())
        begun = begin(run_dir, starting)
        done = conclude(fill(run_dir, "one"), replace(begun, status="complete"))
        assert read_any_run(run_dir.run_json) == done
        assert (done.snapshot, seen_by_a_reader(run_dir)) == ("one", "one")
        become(monkeypatch, "later")
        assert begin(run_dir, starting).snapshot == "one"
        assert read_any_run(run_dir.run_json) == replace(done, at_work="later")


class TestAmend:
    def test_notes_are_added_to_what_was_concluded(self, run_dir: RunDir) -> None:
        done = publish(run_dir, "one")
        noted = replace(done, notes=("item.json could not be made",))
        assert amend(run_dir, noted) == noted
        assert read_run_json(run_dir.run_json) == noted

    def test_the_document_of_a_driver_that_came_since_stays(
        self, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = publish(run_dir, "one")
        become(monkeypatch, "later")
        begin(run_dir, STARTING)
        for _ in range(2):
            before = run_dir.run_json.read_bytes()
            amend(run_dir, replace(done, notes=("late",)))
            assert run_dir.run_json.read_bytes() == before
            conclude(fill(run_dir, "two"), ended(begin(run_dir, STARTING)))


class TestFinishedRun:
    def test_a_place_without_a_run_has_no_snapshot(self, run_dir: RunDir) -> None:
        assert finished_run(run_dir.path) == run_dir

    def test_a_run_of_an_earlier_version_is_read_where_it_lies(self, run_dir: RunDir) -> None:
        write_run_json(run_dir.run_json, run_info())
        run_dir.report.write_bytes(b"old")
        assert finished_run(run_dir.path).report == run_dir.path / "report.html"
        assert seen_by_a_reader(run_dir) == "old"

    def test_a_damaged_run_json_is_an_error(self, run_dir: RunDir) -> None:
        run_dir.run_json.write_bytes(b"{")
        with pytest.raises(InputError, match=r"run\.json"):
            finished_run(run_dir.path)


class TestDocumentsThatFollow:
    def test_one_is_written_over_the_version_that_was_seen_alone(self, run_dir: RunDir) -> None:
        path: StorePath = run_dir.item
        assert seen_version(path) == ""
        assert write_unless_newer(path, b"first", "") == path
        write_unless_newer(path, b"late", "")
        assert path.read_bytes() == b"first"
        seen = seen_version(path)
        write_unless_newer(path, b"second", seen)
        write_unless_newer(path, b"later still", seen)
        assert path.read_bytes() == b"second"


def links(out: Path) -> dict[str, str]:
    """Every link of a folder, and where it leads."""
    return {path.name: os.readlink(path) for path in out.iterdir() if path.is_symlink()}


FOLLOWING = {name: f"{CURRENT}/{name}" for name in RESULT_NAMES}


class TestLinks:
    """They exist in a local folder alone, for programs that know plain paths."""

    def test_they_follow_the_snapshot_that_counts(self, local: RunDir) -> None:
        out = local.path.local()
        begin(local, STARTING)
        assert links(out) == {}
        for snapshot in ("one", "two"):
            publish(local, snapshot)
            assert links(out) == {CURRENT: f"snapshots/{snapshot}", **FOLLOWING}
            assert (out / "report.html").read_text() == snapshot
            assert (out / "masks.zarr" / "zarr.json").read_text() == snapshot
        assert (out / "snapshots" / "one" / "report.html").read_text() == "one"
        assert sorted(path.name for path in out.iterdir() if path.name.endswith(".tmp")) == []

    def test_all_of_them_move_in_one_step(self, local: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """One link is replaced. Killed before: all lead to the old snapshot; after: to the new one."""
        publish(local, "one")
        out = local.path.local()
        moved: list[str] = []
        replace_file = Path.replace

        def watched(path: Path, target: Path) -> Path:
            before = {
                (out / name / "zarr.json" if name == "masks.zarr" else out / name) for name in FOLLOWING
            }
            assert {path.read_text() for path in before if path.is_file()} in ({"one"}, {"two"})
            if path.is_symlink():
                moved.append(target.name)
            return replace_file(path, target)

        monkeypatch.setattr(Path, "replace", watched)
        publish(local, "two")
        assert moved == [CURRENT]
        assert (out / "coverage.parquet").read_text() == "two"

    def test_killed_before_the_links_moved_the_next_call_repairs_them(
        self, local: RunDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(local, "one")
        out = local.path.local()

        def killed(_run_dir: RunDir) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr(run_document, "show_results", killed)
            with pytest.raises(KeyboardInterrupt):
                publish(local, "two")
        assert (out / "report.html").read_text() == "one"
        assert seen_by_a_reader(local) == "two", "run.json is what counts"
        show_results(local)
        assert (out / "report.html").read_text() == "two"

    @pytest.mark.parametrize("after", range(1, 7))
    def test_killed_between_two_links_the_next_call_repairs_them(
        self, local: RunDir, monkeypatch: pytest.MonkeyPatch, after: int
    ) -> None:
        """The first publication makes six of them; a temporary one may be left, too."""
        make = run_document._link
        calls: list[Path] = []

        def dying(path: Path, target: str) -> None:
            calls.append(path)
            if len(calls) == after:
                path.with_name(f".{path.name}.link.tmp").symlink_to(target)
                raise KeyboardInterrupt
            make(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(run_document, "_link", dying)
            with pytest.raises(KeyboardInterrupt):
                publish(local, "one")
        show_results(local)
        out = local.path.local()
        assert links(out) == {CURRENT: "snapshots/one", **FOLLOWING}

    def test_what_a_snapshot_lacks_has_no_link(self, local: RunDir) -> None:
        publish(local, "one")
        out = local.path.local()
        conclude(fill(local, "two", without="report.html"), ended(begin(local, STARTING)))
        assert links(out) == {
            CURRENT: "snapshots/two",
            **{name: target for name, target in FOLLOWING.items() if name != "report.html"},
        }
        publish(local, "one")
        assert links(out) == {CURRENT: "snapshots/one", **FOLLOWING}

    def test_results_of_a_version_without_snapshots_give_way(self, local: RunDir) -> None:
        """Only once the new ones count: a reader that knows plain paths has one or the other."""
        out = local.path.local()
        write_run_json(local.run_json, run_info())
        for path in (local.masks / "zarr.json", local.instances / "part-00007.parquet", local.report):
            path.write_bytes(b"old")
        begun = begin(local, STARTING)
        assert (out / "report.html").read_text() == "old"
        conclude(fill(local, "one"), ended(begun))
        assert links(out) == {CURRENT: "snapshots/one", **FOLLOWING}
        assert [path.name for path in (out / "instances").iterdir()] == ["part-00000.parquet"]

    def test_results_of_zones_are_shown_as_any_others(self, local: RunDir) -> None:
        starting = replace(zoned_info({}), status="running", warnings=())
        for snapshot in ("one", "two"):
            begun = begin(local, starting)
            conclude(fill(local, snapshot), replace(begun, status="complete"))
            assert links(local.path.local()) == {CURRENT: f"snapshots/{snapshot}", **FOLLOWING}

    def test_a_bucket_has_none(self, bucket: str) -> None:
        run_dir = RunDir(store_path(f"{bucket}/{uuid.uuid4()}/out"))
        publish(run_dir, "one")
        show_results(run_dir)
        assert run_dir.path.children() == ["run.json", "snapshots"]


def test_a_driver_that_was_barred_cannot_publish(run_dir: RunDir) -> None:
    """A cleaner removes what it wrote and did not publish."""
    info = begin(run_dir, STARTING)
    made = fill(run_dir, "first")
    bar_sleepers(run_dir)
    assert read_run_json(run_dir.run_json).at_work == ""
    with pytest.raises(IncompleteRunError, match="taken over"):
        conclude(made, ended(info))
    before = run_dir.run_json.read_bytes()
    bar_sleepers(run_dir)
    assert run_dir.run_json.read_bytes() == before


def test_a_driver_that_lost_its_lock_does_not_begin(local: RunDir) -> None:
    run_lock.take(local.path)
    (local.path / run_lock.LOCK_NAME).write_bytes(b"another one's")
    with pytest.raises(IncompleteRunError, match="taken over"):
        begin(local, STARTING)
    assert not local.run_json.exists()
    run_lock.give_back(local.path)


def test_a_place_without_a_run_is_named_with_what_needs_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an export needs the directory of a run.*without a run\.json"):
        existing_run(tmp_path, what="an export")


def test_queries_are_chosen_by_their_words() -> None:
    assert chosen_queries(("a", "b", "c"), ()) == (0, 1, 2)
    assert chosen_queries(("a", "b", "c"), ("c", "a")) == (0, 2)
    with pytest.raises(InputError, match=r"word for word.*'d'.*'a', 'b'"):
        chosen_queries(("a", "b"), ("a", "d"))
