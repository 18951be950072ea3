from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.files import file_identity
from pipeline.files.file_identity import local_identity, pins, require_same


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    path.write_bytes(b"imagery " * 1000)
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_a_file_is_known_by_its_content(path: Path) -> None:
    identity = local_identity(str(path))
    assert identity["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (identity["size_bytes"], identity["mtime_ns"]) == ("8000", str(10**18))
    require_same(str(path), identity)
    assert pins(identity) == {"size_bytes": "8000", "sha256": identity["sha256"]}


def test_a_file_that_was_touched_or_fetched_again_is_the_same(path: Path) -> None:
    identity = local_identity(str(path))
    path.touch()
    require_same(str(path), identity)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    require_same(str(path), identity)
    assert pins(local_identity(str(path))) == pins(identity)


@pytest.mark.parametrize("way", ["in place", "renamed over it"])
def test_another_content_of_the_same_size_and_time_is_noticed(path: Path, tmp_path: Path, way: str) -> None:
    """As `cp -p` and some sync tools leave it. The time of the change itself cannot be set."""
    identity = local_identity(str(path))
    target = path if way == "in place" else tmp_path / "new.tif"
    target.write_bytes(b"pictures" * 1000)
    os.utime(target, ns=(10**18, 10**18))
    target.replace(path)
    with pytest.raises(SourceError, match=r"a\.tif is not the file.*sha256 differ.*start a new run"):
        require_same(str(path), identity)
    assert pins(local_identity(str(path))) != pins(identity)


def test_a_file_that_is_gone_is_named(path: Path) -> None:
    identity = local_identity(str(path))
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.tif cannot be read any more: No such file"):
        require_same(str(path), identity)


def test_an_identity_without_the_times_is_compared_by_content(path: Path) -> None:
    """As on another machine, which has a copy of its own."""
    require_same(str(path), pins(local_identity(str(path))))


def test_of_a_large_file_samples_are_hashed_and_the_time_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_identity, "WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(file_identity, "SAMPLES", 3)
    monkeypatch.setattr(file_identity, "SAMPLE_BYTES", 10)
    path.write_bytes(bytes(range(200)))
    identity = local_identity(str(path))
    expected = bytes(range(10)) + bytes(range(95, 105)) + bytes(range(190, 200))
    assert identity["sample_sha256"] == hashlib.sha256(expected).hexdigest()
    assert pins(identity).keys() == {"size_bytes", "mtime_ns", "sample_sha256"}
    path.chmod(0o600)  # changes no time that counts
    require_same(str(path), identity)
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(SourceError, match="mtime_ns differ"):
        require_same(str(path), identity)


def test_a_file_that_is_being_written_is_not_hashed_in_two_halves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = file_identity._content

    def appended(*key: object) -> object:
        found = content(*key)  # type: ignore[arg-type]
        path.write_bytes(path.read_bytes() + b"more")
        return found

    monkeypatch.setattr(file_identity, "_content", appended)
    with pytest.raises(SourceError, match="is being written") as caught:
        local_identity(str(path))
    assert caught.value.retryable


def test_an_object_is_pinned_by_its_etag_and_without_one_by_its_time() -> None:
    told = {"size_bytes": "1", "etag": '"a"', "last_modified": "Tue, 01 Sep 2026 10:00:00 GMT"}
    assert pins(told) == {"size_bytes": "1", "etag": '"a"'}
    del told["etag"]
    assert pins(told) == told


@settings(deadline=None, max_examples=30)
@given(first=st.binary(min_size=1, max_size=50), second=st.binary(min_size=1, max_size=50))
def test_identities_are_equal_exactly_when_contents_are(
    first: bytes, second: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("identity") / "a"
    path.write_bytes(first)
    before = pins(local_identity(str(path)))
    path.write_bytes(second)
    assert (pins(local_identity(str(path))) == before) == (first == second)
