from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from raw_server import Answer, RawServer, drip, range_head, raw_server, wanted_range

from pipeline.files import http_range
from pipeline.files.http_range import WebRequest, get_document, get_range
from pipeline.files.paced_connection import patience
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_store import RangeAnswer, Transport
from pipeline.files.traffic import traffic
from pipeline.schema.imagery import HrefGuard

TRANSPORT = Transport(
    retries=0, retry_delay_s=0.01, connect_timeout_s=5, timeout_s=4, stall_s=1, stall_bytes_s=100
)
PATIENT = replace(TRANSPORT, timeout_s=120, stall_s=60, stall_bytes_s=1)
"""For tests in which nobody is slow, however busy the machine is."""

CONTENT = bytes(range(256)) * 40
LOOPBACK = HrefGuard(hosts=("127.0.0.1",), private=True)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with full patience, and reaches this machine without a proxy."""
    patience.was_in_time("127.0.0.1")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def honest(request: str) -> Iterator[bytes]:
    first, last = wanted_range(request)
    last = min(last, len(CONTENT) - 1)
    date = "Tue, 01 Sep 2026 10:00:00 GMT"
    yield range_head(first, last, len(CONTENT), ETag='"v1"', Last_Modified=date) + CONTENT[first : last + 1]


def asked(
    server: RawServer, start: int = 10, stop: int = 200, path: str = "/a.tif", **settings: object
) -> RangeAnswer:
    url = f"{server.url}{path}?sig=SECRET"
    request = WebRequest(url=url, name=f"{server.url}{path}", transport=TRANSPORT, guard=LOOPBACK)
    return get_range(replace(request, **settings), start, stop)  # type: ignore[arg-type]


def test_a_range_comes_with_its_version() -> None:
    with raw_server(honest) as server:
        answer = asked(server)
        assert answer.body == CONTENT[10:200]
        assert (answer.size, answer.etag) == (len(CONTENT), '"v1"')
        assert answer.last_modified == "Tue, 01 Sep 2026 10:00:00 GMT"
        assert asked(server, 10_000, 20_000).body == CONTENT[10_000:]
    assert "sig=SECRET" in server.requests[0]
    assert "accept-encoding: identity" in server.requests[0].lower()


def chunked(request: str) -> Iterator[bytes]:
    first, last = wanted_range(request)
    head = range_head(first, last, len(CONTENT), Content_Length="", Transfer_Encoding="chunked")
    body = CONTENT[first : last + 1]
    yield head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"


def until_closed(request: str) -> Iterator[bytes]:
    first, last = wanted_range(request)
    yield range_head(first, last, len(CONTENT), Content_Length="") + CONTENT[first : last + 1]


@pytest.mark.parametrize("answer", [chunked, until_closed])
def test_ways_in_which_honest_servers_send_a_range(answer: Answer) -> None:
    with raw_server(answer) as server:
        assert asked(server).body == CONTENT[10:200]


def fixed(head: bytes, body: bytes = b"") -> Answer:
    return lambda _: [head, body]


BAD_ANSWERS: dict[str, tuple[Answer, str]] = {
    "short body": (fixed(range_head(10, 199, 9000), b"x" * 20), "connection broke"),
    "no body": (fixed(range_head(10, 199, 9000)), "connection broke"),
    "more than asked for": (fixed(range_head(10, 199, 9000, Content_Length="999"), b"x" * 999), "more bytes"),
    "endless body": (
        lambda _: itertools.chain(
            [range_head(10, 199, 9000, Content_Length="")], itertools.repeat(b"x" * 65536)
        ),
        "more bytes",
    ),
    "shifted": (fixed(range_head(11, 200, 9000), b"x" * 190), "another range"),
    "longer range": (fixed(range_head(10, 8000, 9000), b"x" * 190), "another range"),
    "range ends before it begins": (fixed(range_head(10, 5, 9000)), "another range"),
    "size of unknown": (fixed(range_head(10, 199, "*"), b"x" * 190), "of how many"),
    "size with a sign": (fixed(range_head(10, 199, "-5"), b"x" * 190), "of how many"),
    "size of 30 digits": (fixed(range_head(10, 199, "9" * 30), b"x" * 190), "of how many"),
    "size smaller than the start": (fixed(range_head(10, 199, 5), b"x" * 190), "another range"),
    "several ranges": (
        fixed(
            range_head(10, 199, 9, Content_Range="", Content_Type="multipart/byteranges; boundary=b"),
            b"x" * 190,
        ),
        "of how many",
    ),
    "compressed": (fixed(range_head(10, 199, 9000, Content_Encoding="gzip"), b"x" * 190), "encoded"),
    "the whole file": (
        fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"x" * 9000),
        "range requests",
    ),
    "no HTTP": (fixed(b"SSH-2.0-OpenSSH_9.6\r\n"), "connection broke"),
    "nothing": (lambda _: [], "connection broke"),
    "a header line without an end": (
        lambda _: itertools.chain([b"HTTP/1.1 206 OK\r\nX: "], itertools.repeat(b"x" * 65536)),
        "connection broke",
    ),
    "a million headers": (
        lambda _: itertools.chain([b"HTTP/1.1 206 OK\r\n"], itertools.repeat(b"X: y\r\n" * 999)),
        "connection broke",
    ),
    "endless interim answers": (
        lambda _: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 999),
        "in time|broke",
    ),
    "chunks of odd size": (
        fixed(range_head(10, 199, 9000, Content_Length="", Transfer_Encoding="chunked"), b"zz\r\nx"),
        "connection broke",
    ),
    "negative length": (fixed(range_head(10, 199, 9000, Content_Length="-1"), b"x" * 99), "broke|failed"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_answers_that_are_not_the_range_are_no_bytes(case: str) -> None:
    answer, said = BAD_ANSWERS[case]
    with raw_server(answer) as server, pytest.raises(RemoteError, match=said) as caught:
        asked(server)
    assert "SECRET" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


SLOW_ANSWERS: dict[str, Answer] = {
    "silence": lambda _: drip([b""] * 100, 0.2),
    "a byte at a time": lambda _: drip([range_head(10, 199, 9000), *[b"x"] * 190], 0.2),
    "header bytes one at a time": lambda _: drip((b"%c" % byte for byte in range_head(10, 199, 9000)), 0.2),
    "a body that stops": lambda _: drip([range_head(10, 199, 9000) + b"x" * 100, *[b""] * 100], 0.2),
    "interim answers one at a time": lambda _: drip([b"HTTP/1.1 100 Continue\r\n\r\n"] * 500, 0.3),
}


@pytest.mark.parametrize("case", SLOW_ANSWERS)
def test_a_server_that_dawdles_is_given_up(case: str) -> None:
    """Long before it is done, which would take 20 seconds and more."""
    done = threading.Event()

    def slowly(request: str) -> Iterator[bytes]:
        yield from SLOW_ANSWERS[case](request)
        done.set()

    with raw_server(slowly) as server:
        with pytest.raises(RemoteError, match="in time") as caught:
            asked(server)
        assert not done.is_set()
    assert caught.value.retryable


def test_a_slow_server_is_asked_once_more_and_waited_for_less_each_time() -> None:
    with raw_server(SLOW_ANSWERS["silence"]) as server:
        with pytest.raises(RemoteError, match="in time"):
            asked(server, transport=replace(TRANSPORT, retries=4))
        assert len(server.requests) == 2
    assert patience.stall_s("127.0.0.1", 64.0) == 16.0
    with raw_server(honest) as server:
        asked(server)
    assert patience.stall_s("127.0.0.1", 64.0) == 64.0


def test_a_steady_server_may_take_longer_than_a_stretch() -> None:
    pieces = [range_head(0, 1999, 9000), *[b"x" * 200] * 10]
    with raw_server(lambda _: drip(pieces, 0.2)) as server:
        assert asked(server, 0, 2000).body == b"x" * 2000


def test_a_busy_server_is_asked_again_after_the_pause_that_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(http_range.time, "sleep", pauses.append)
    busy = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"] * 2
    busy += [
        b"HTTP/1.1 429 Slowly\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % s for s in (b"7", b"86400")
    ]

    def answer(request: str) -> Iterable[bytes]:
        return [busy.pop(0)] if busy else honest(request)

    with raw_server(answer) as server:
        traffic.take()
        assert asked(server, transport=replace(TRANSPORT, retries=4)).body == CONTENT[10:200]
        assert len(server.requests) == 5
    assert traffic.take() == {"http_requests": 5, "http_retries": 4, "http_bytes": 190}
    least = [0.01, 0.02, 7.0, http_range.MOST_PAUSE_S]
    assert all(low <= pause <= 1.5 * low for low, pause in zip(least, pauses, strict=True))


def test_readers_that_were_refused_together_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(http_range.time, "sleep", pauses.append)
    with raw_server(fixed(b"HTTP/1.1 503 Busy\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n")) as server:
        for _ in range(12):
            with pytest.raises(RemoteError, match="busy"):
                asked(server, transport=replace(PATIENT, retries=1))
    assert len(set(pauses)) == 12
    assert min(pauses) >= 10, "nobody is earlier than the server wants"
    assert max(pauses) - min(pauses) > 0.2


@pytest.mark.parametrize("sent", [0, 120])
def test_a_connection_that_is_reset_is_asked_again(sent: int) -> None:
    """As a balancer does that gives up: no end of the stream, but an error, before or within the answer."""
    left = 3

    def answer(request: str) -> Iterator[bytes]:
        nonlocal left
        left -= 1
        server.resets = left >= 0
        whole = b"".join(honest(request))
        yield whole[:sent] if left >= 0 else whole

    with raw_server(answer) as server:
        assert asked(server, transport=replace(PATIENT, retries=3)).body == CONTENT[10:200]
        assert len(server.requests) == 4
        left = 99
        with pytest.raises(RemoteError, match="connection broke") as caught:
            asked(server, transport=PATIENT)
    assert caught.value.retryable


def redirect(target: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_redirect_on_the_same_host_is_followed_with_the_users_headers() -> None:
    transport = replace(TRANSPORT, headers=(("Authorization", "Bearer SECRET2"),))

    def answer(request: str) -> Iterable[bytes]:
        return [redirect("/b.tif")] if "/a.tif" in request else honest(request)

    with raw_server(answer) as server:
        assert asked(server, transport=transport).body == CONTENT[10:200]
    assert ["SECRET2" in text for text in server.requests] == [True, True]


def test_headers_with_credentials_stay_with_their_host() -> None:
    transport = replace(TRANSPORT, headers=(("Authorization", "Bearer SECRET2"),))
    with raw_server(honest) as other, raw_server(lambda _: [redirect(f"{other.url}/b.tif")]) as server:
        assert asked(server, transport=transport, guard=None).body == CONTENT[10:200]
    assert "SECRET2" in server.requests[0]
    assert "SECRET2" not in other.requests[0]
    assert "range: bytes=10-199" in other.requests[0].lower()


def test_an_endless_chain_of_redirects_ends() -> None:
    with raw_server(lambda _: [redirect("/a.tif")]) as server, pytest.raises(RemoteError, match="more than"):
        asked(server)
    assert len(server.requests) == http_range.MOST_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/a"])
def test_a_redirect_to_another_scheme_is_never_followed(target: str) -> None:
    with raw_server(lambda _: [redirect(target)]) as server, pytest.raises(RemoteError, match="no web page"):
        asked(server, guard=None)


def test_many_threads_share_few_connections() -> None:
    with raw_server(honest) as server:
        found: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: found.append(asked(server, 0, 5000).body)) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [CONTENT[:5000]] * 16


def test_a_document_has_a_bounded_size() -> None:
    def answer(request: str) -> Iterable[bytes]:
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"x" * 500]

    with raw_server(answer) as server:
        request = WebRequest(url=f"{server.url}/d", name=f"{server.url}/d", transport=TRANSPORT)
        assert get_document(request, 500) == b"x" * 500
        with pytest.raises(RemoteError, match="more than 499"):
            get_document(request, 499)


def test_what_is_asked_is_not_shown() -> None:
    request = WebRequest(url="http://h/a?sig=SECRET", name="http://h/a", transport=TRANSPORT)
    assert "SECRET" not in repr(replace(request, headers={"Key": "SECRET"}))
