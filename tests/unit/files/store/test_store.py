from __future__ import annotations

from pathlib import Path

from pipeline.files.store.local_store import LocalStore
from pipeline.files.store.s3_store import S3Store
from pipeline.files.store.store import ObjectEntry, Store, Stored, StoreError


def test_both_stores_have_every_method_of_the_interface(tmp_path: Path) -> None:
    wanted = {name for name in vars(Store) if not name.startswith("_")}
    assert {"get", "put", "create", "swap", "discard", "entries"} <= wanted
    for kind in (LocalStore, S3Store):
        assert wanted <= set(dir(kind)), kind
    assert isinstance(LocalStore(tmp_path), Store)


def test_an_error_of_a_store_names_the_object_like_any_error_of_a_file() -> None:
    error = StoreError(5, "the store cannot be reached", "s3://bucket/run/a")
    assert isinstance(error, OSError)
    assert error.filename == "s3://bucket/run/a"
    assert str(error) == "[Errno 5] the store cannot be reached: 's3://bucket/run/a'"


def test_what_was_read_and_what_was_listed_compare_by_value() -> None:
    assert ObjectEntry("a", 1, "v") == ObjectEntry("a", 1, "v") != ObjectEntry("a", 1, "w")
    assert Stored(b"x", "v") == Stored(b"x", "v") != Stored(b"y", "v")
