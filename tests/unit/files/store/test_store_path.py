from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.files.store import store_path as store_path_module
from pipeline.files.store.local_store import LocalStore
from pipeline.files.store.store_path import StorePath, store_path
from tests.s3_server import BUCKET, serving_s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving_s3():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> StorePath:
    if request.param == "local":
        return store_path(tmp_path / "out")
    return store_path(f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}")


class TestFiles:
    def test_parts_of_a_path(self, base: StorePath) -> None:
        path = base / "blocks" / "b0.parquet"
        assert (path.name, path.stem, path.suffix) == ("b0.parquet", "b0", ".parquet")
        assert path.parent == base / "blocks"
        assert path.parent.parent == base
        assert str(path) == f"{base}/blocks/b0.parquet"
        assert base.name == base.root.rpartition("/")[2]
        assert base.parent.root == base.root.rpartition("/")[0]
        assert pickle.loads(pickle.dumps(path)) == path

    def test_objects_and_folders(self, base: StorePath) -> None:
        path = base / "a" / "b.txt"
        assert not path.exists()
        assert not (base / "a").exists()
        path.write_bytes("é".encode())
        assert path.exists()
        assert path.is_file()
        assert not path.is_dir()
        assert (base / "a").is_dir()
        assert not (base / "a").is_file()
        assert path.read_text() == "é"
        assert path.size() == 2
        with pytest.raises(FileNotFoundError):
            (base / "none").size()

    def test_removal_ends_where_its_guard_raises(self, base: StorePath) -> None:
        """It is asked before each object: a sleeper that wakes half-way removes nothing more."""
        for key in ("x/1", "x/2", "x/deep/3", "x/deep/4"):
            (base / key).write_bytes(b"")
        asked = []

        def guard() -> None:
            asked.append(len(list((base / "x").entries())))
            if len(asked) == 3:
                raise InterruptedError("taken over")

        with pytest.raises(InterruptedError):
            (base / "x").delete_tree(guard)
        assert asked == [4, 3, 2]
        assert len(list((base / "x").entries())) == 2
        (base / "x").delete_tree(lambda: None)
        assert not (base / "x").exists()

    def test_folders_are_listed_and_removed(self, base: StorePath) -> None:
        for key in ("x/1", "x/deep/2", "y"):
            (base / key).write_bytes(b"")
        assert base.children() == ["x", "y"]
        assert (base / "x").children() == ["1", "deep"]
        assert list((base / "x").entries()) == [base / "x/1", base / "x/deep/2"]
        (base / "x").delete_tree()
        (base / "x").delete_tree()
        assert base.children() == ["y"]
        (base / "y").delete_tree()
        assert base.children() == []

    def test_a_file_is_written_whole_or_not_at_all(self, base: StorePath) -> None:
        path = base / "part.bin"
        with path.being_written() as temporary:
            temporary.write_bytes(b"whole")
            assert not path.exists()
        assert path.read_bytes() == b"whole"

        def interrupted() -> None:
            with path.being_written() as temporary:
                temporary.write_bytes(b"ha")
                raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            interrupted()
        assert path.read_bytes() == b"whole"
        assert base.children() == ["part.bin"]

    def test_conditions(self, base: StorePath) -> None:
        path = base / "lock"
        version = path.create(b"1")
        assert version is not None
        assert path.create(b"2") is None
        assert path.swap(b"3", version) is not None
        assert path.swap(b"4", version) is None
        assert path.read_stored().data == b"3"


class TestWhatIsGiven:
    def test_a_local_path_becomes_absolute_and_works_as_a_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = store_path("out") / "a"
        assert path.is_local
        assert os.fspath(path) == str(tmp_path / "out" / "a")
        assert path.local() == tmp_path / "out" / "a"
        assert store_path(path) is path

    def test_an_object_is_no_file_of_this_machine(self) -> None:
        path = store_path("s3://bucket//runs/first/") / "a"
        assert str(path) == "s3://bucket/runs/first/a"
        assert not path.is_local
        with pytest.raises(TypeError, match="not a file of this machine"):
            os.fspath(path)

    @pytest.mark.parametrize(
        "given", ["s3://", "s3://bucket", "s3://bucket/", "s3://b/a/../c", "s3://b/a?x=1", "s3:///a"]
    )
    def test_other_places_in_a_bucket_are_refused(self, given: str) -> None:
        with pytest.raises(InputError, match="--somewhere") as caught:
            store_path(given, "--somewhere")
        assert given in str(caught.value)


def test_stores_of_another_scheme_can_be_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_path_module, "_OPENERS", dict(store_path_module._OPENERS))
    store_path_module.register_store(
        "mem://", lambda root: LocalStore(tmp_path / root.removeprefix("mem://"))
    )
    path = store_path("mem://bucket/run") / "a"
    assert path == StorePath("mem://bucket/run", "a")
    assert not path.is_local
    path.write_bytes(b"x")
    assert (tmp_path / "bucket/run/a").read_bytes() == b"x"
    with pytest.raises(InputError, match="mem://bucket/prefix"):
        store_path("mem://bucket/../run")
    assert store_path("gs://bucket/run").is_local
    with pytest.raises(ValueError, match="ends with ://"):
        store_path_module.register_store("mem", LocalStore)  # type: ignore[arg-type]
    store_path_module.open_store.cache_clear()


def test_a_guard_ends_removals(tmp_path: Path) -> None:
    def refuse() -> None:
        raise InterruptedError

    path = store_path(tmp_path) / "folder"
    (path / "a").write_bytes(b"x")
    with pytest.raises(InterruptedError):
        path.delete_tree(refuse)
    assert (path / "a").is_file()
