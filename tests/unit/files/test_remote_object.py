from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from fault_server import FAULTS, FaultServer, fault_server
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.files import remote_object
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_object import GAP_BYTES, HEAD_BYTES, RemoteObject, merged_ranges

SIZE = 5 * HEAD_BYTES
CONTENT = bytes((index * 7 + index // 251) % 256 for index in range(SIZE))
FAR = (2 * HEAD_BYTES + 5, 3 * HEAD_BYTES)
"""A range that the first request does not bring."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    (tmp_path / "a b.tif").write_bytes(CONTENT)
    with fault_server(tmp_path) as server:
        yield server


def url(server: FaultServer) -> str:
    return f"{server.url}/a%20b.tif?sv=1&sig=SECRET"


def test_ranges_are_the_bytes_of_the_file(server: FaultServer) -> None:
    opened = RemoteObject(url(server))
    assert opened.size == SIZE
    assert opened.identity["size_bytes"] == str(SIZE)
    assert opened.identity["last_modified"] == "Tue, 01 Sep 2026 10:00:00 GMT"
    assert opened.read(*FAR) == CONTENT[slice(*FAR)]
    ranges = [(90_000, 90_007), (3, 3), (SIZE - 5, SIZE), (0, 40_000), (90_001, 90_100)]
    assert opened.read_many(ranges) == [CONTENT[slice(*wanted)] for wanted in ranges]
    assert all("SECRET" in path and wanted for _, path, wanted in server.requests)
    assert "SECRET" not in opened.name


def test_what_came_with_the_first_request_is_not_asked_for_again(server: FaultServer) -> None:
    opened = RemoteObject(url(server))
    assert opened.read(10, HEAD_BYTES) == CONTENT[10:HEAD_BYTES]
    assert len(server.requests) == 1


def test_long_ranges_come_in_parts(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_object, "MOST_BYTES", 30_000)
    opened = RemoteObject(url(server))
    assert opened.read(1, SIZE - 1) == CONTENT[1:-1]
    assert len(server.requests) == 1 + 5  # the first of the six parts came with the head


@pytest.mark.parametrize("fault", FAULTS)
def test_no_wrong_answer_passes_for_bytes(server: FaultServer, fault: str) -> None:
    opened = RemoteObject(url(server))
    server.always = fault
    with pytest.raises(RemoteError) as caught:
        opened.read(*FAR)
    assert str(caught.value).startswith(f"{server.url}/a%20b.tif: ")
    assert "SECRET" not in f"{caught.value!r} {caught.value.__cause__} {caught.value.__context__}"
    server.always = ""
    assert opened.read(*FAR) == CONTENT[slice(*FAR)]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("etag", "resized")])
def test_what_could_be_read_before_is_asked_for_twice(
    server: FaultServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    opened = RemoteObject(url(server))
    server.faults[1] = fault
    assert opened.read(*FAR) == CONTENT[slice(*FAR)]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "reason", "remedy", "retryable"),
    [
        ("403", "refuses access (403)", "sign the URL again", False),
        ("401", "refuses access (401)", "sign the URL again", False),
        ("400", "refuses access (400)", "sign the URL again", False),
        ("404", "no such object (404)", "check the URL", False),
        ("416", "holds no bytes (416)", "check the file", False),
        ("418", "answers 418", "check the URL", False),
        ("429", "busy or broken (429)", "", True),
        ("503", "busy or broken (503)", "", True),
        ("whole", "does not answer range requests", "download the file", False),
        ("short", "connection broke", "", True),
        ("shifted", "another range", "", True),
    ],
)
def test_each_trouble_has_its_own_remedy(
    server: FaultServer, fault: str, reason: str, remedy: str, retryable: bool
) -> None:
    server.always = fault
    with pytest.raises(RemoteError) as caught:
        RemoteObject(url(server))
    assert reason in caught.value.reason
    assert remedy in caught.value.remedy
    assert caught.value.retryable == retryable
    assert "SECRET" not in str(caught.value)


def test_an_unsigned_url_is_not_told_of_its_token(server: FaultServer) -> None:
    server.always = "403"
    with pytest.raises(RemoteError, match="give a signed URL"):
        RemoteObject(f"{server.url}/a%20b.tif")


@pytest.mark.parametrize(
    ("href", "said"),
    [
        ("http://nohost.invalid/a.tif?sig=SECRET", "there is no host nohost.invalid"),
        (f"http://{'x' * 70}.org/a.tif", "there is no host"),
        ("http://127.0.0.1:9/a.tif?sig=SECRET", "cannot be reached"),
    ],
)
def test_servers_that_are_not_there(href: str, said: str) -> None:
    with pytest.raises(RemoteError, match=said) as caught:
        RemoteObject(href)
    assert "SECRET" not in str(caught.value)


def test_a_replaced_object_is_refused_when_it_is_opened(server: FaultServer, tmp_path: Path) -> None:
    planned = RemoteObject(url(server)).identity
    RemoteObject(url(server), planned)
    (tmp_path / "a b.tif").write_bytes(CONTENT[::-1])  # the same size
    with pytest.raises(RemoteError, match=r"not the object that the run was planned with \(etag"):
        RemoteObject(url(server), planned)


def test_without_validators_the_size_still_counts(server: FaultServer, tmp_path: Path) -> None:
    server.validators = False
    planned = RemoteObject(url(server)).identity
    assert planned == {"size_bytes": str(SIZE)}
    (tmp_path / "a b.tif").write_bytes(CONTENT + b"x")
    with pytest.raises(RemoteError, match=f"size_bytes {SIZE} -> {SIZE + 1}"):
        RemoteObject(url(server), planned)


def test_a_server_that_stops_sending_its_etag_proves_nothing(server: FaultServer) -> None:
    planned = RemoteObject(url(server)).identity
    server.validators = False
    with pytest.raises(RemoteError, match=r"etag .* -> None"):
        RemoteObject(url(server), planned)


def test_another_time_with_the_same_etag_is_the_same_object(server: FaultServer) -> None:
    planned = RemoteObject(url(server)).identity | {"last_modified": "Mon, 31 Aug 2026 10:00:00 GMT"}
    RemoteObject(url(server), planned)
    del planned["etag"]
    with pytest.raises(RemoteError, match="last_modified"):
        RemoteObject(url(server), planned)


def test_ranges_beyond_the_end_are_refused(server: FaultServer) -> None:
    with pytest.raises(RemoteError, match=f"it ends at byte {SIZE}"):
        RemoteObject(url(server)).read(SIZE - 1, SIZE + 1)


def test_errors_travel_between_processes(server: FaultServer) -> None:
    error = RemoteError("http://h/a.tif", "it is away", remedy="wait", retryable=True)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, SourceError)
    assert (str(copy), copy.retryable) == ("http://h/a.tif: it is away. To fix: wait", True)


offsets = st.integers(0, 400_000)


@settings(deadline=None)
@given(st.lists(st.tuples(offsets, st.integers(1, 90_000)), min_size=1, max_size=8))
def test_merged_ranges_cover_what_is_wanted_and_little_else(lengths: list[tuple[int, int]]) -> None:
    wanted = [(start, start + length) for start, length in lengths]
    merged = merged_ranges(wanted)
    covered = {byte for start, stop in wanted for byte in range(start, stop, 97)}
    assert all(any(first <= byte < last for first, last in merged) for byte in covered)
    assert all(last <= start for (_, last), (start, _) in pairwise(merged))
    union = sum(stop - start for start, stop in merged)
    assert union <= sum(stop - start for start, stop in wanted) + len(wanted) * GAP_BYTES
