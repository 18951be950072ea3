"""What every store must do: the same tests for each implementation of `store.Store`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.files.store.store import Store


class StoreContract:
    """Tests for a fixture `store`, which is an empty store."""

    def test_it_is_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)
        assert not store.root.endswith("/")

    def test_what_is_written_is_read(self, store: Store, tmp_path: Path) -> None:
        version = store.put("a/b.bin", b"one")
        assert store.get("a/b.bin").data == b"one"
        assert store.get("a/b.bin").version == version
        entry = store.head("a/b.bin")
        assert entry is not None
        assert (entry.key, entry.size, entry.version) == ("a/b.bin", 3, version)
        source = tmp_path / "source"
        source.write_bytes(b"two!")
        assert store.put("a/b.bin", source) != version
        assert store.get("a/b.bin").data == b"two!"
        assert source.read_bytes() == b"two!"

    def test_part_of_an_object_is_read(self, store: Store) -> None:
        store.put("a", b"0123456789")
        assert store.get_range("a", 3, 4) == b"3456"
        assert store.get_range("a", 8, 2) == b"89"
        with pytest.raises(FileNotFoundError):
            store.get_range("b", 0, 1)

    def test_what_is_not_there_is_said_to_be_missing(self, store: Store) -> None:
        assert store.head("nothing") is None
        with pytest.raises(FileNotFoundError):
            store.get("nothing")
        store.put("folder/a", b"")
        assert store.head("folder") is None
        assert store.head("folder/a/b") is None
        assert store.swap("nothing", b"x", "any version") is None
        assert store.head("nothing") is None
        store.delete("nothing")

    def test_only_the_first_creates(self, store: Store) -> None:
        first = store.create("lock", b"me")
        assert first is not None
        assert store.create("lock", b"you") is None
        assert store.get("lock").data == b"me"
        assert store.create("lock", b"me") == first  # an answer that was lost
        store.delete("lock")
        assert store.create("lock", b"you") is not None

    def test_only_the_seen_version_is_replaced(self, store: Store) -> None:
        old = store.put("pointer", b"1")
        new = store.swap("pointer", b"2", old)
        assert new not in (None, old)
        assert store.swap("pointer", b"3", old) is None
        assert store.swap("pointer", b"2", old) == new  # an answer that was lost
        assert store.get("pointer").data == b"2"
        assert store.swap("pointer", b"3", str(new)) is not None

    def test_of_many_writers_one_wins(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda n: store.create("one", b"%d" % n), range(16)))
        winners = [n for n, version in enumerate(made) if version is not None]
        assert len(winners) == 1
        assert store.get("one").data == b"%d" % winners[0]
        seen = store.get("one").version
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda n: store.swap("one", b"again %d" % n, seen), range(16)))
        winners = [n for n, version in enumerate(made) if version is not None]
        assert len(winners) == 1
        assert store.get("one").data == b"again %d" % winners[0]

    def test_objects_are_listed_by_folder(self, store: Store) -> None:
        for key in ("b/2", "b/1", "b/c/3", "bc/4", "a"):
            store.put(key, key.encode())
        assert [entry.key for entry in store.entries("b")] == ["b/1", "b/2", "b/c/3"]
        assert [entry.key for entry in store.entries("")] == ["a", "b/1", "b/2", "b/c/3", "bc/4"]
        assert [entry.size for entry in store.entries("b")] == [3, 3, 5]
        assert list(store.entries("nothing")) == []
        store.delete("b/1")
        assert [entry.key for entry in store.entries("b")] == ["b/2", "b/c/3"]

    def test_only_the_seen_version_is_discarded(self, store: Store) -> None:
        old = store.put("lock", b"1")
        new = store.put("lock", b"2")
        assert not store.discard("lock", old)
        assert store.get("lock").data == b"2"
        assert store.discard("lock", new)
        assert store.head("lock") is None
        assert not store.discard("lock", new)

    def test_an_object_has_an_age(self, store: Store) -> None:
        store.put("lock", b"1")
        assert -2 <= store.age_s("lock") < 60
        with pytest.raises(FileNotFoundError):
            store.age_s("nothing")
