from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from counted_s3 import CountedS3, store_counts
from raw_server import raw_server

from pipeline.files.store.s3_store import PART_BYTES, S3Store
from pipeline.files.store.store import Stored, StoreError
from pipeline.files.traffic import traffic
from tests.s3_proxy import s3_proxy
from tests.s3_server import BUCKET, serving_s3
from tests.unit.files.store.store_contract import StoreContract


@pytest.fixture(scope="module", autouse=True)
def endpoint() -> Iterator[str]:
    with serving_s3() as url:
        yield url


@pytest.fixture
def store() -> S3Store:
    return S3Store(f"s3://{BUCKET}/{uuid.uuid4()}/run")


class TestS3Store(StoreContract):
    pass


def test_a_prefix_does_not_see_its_neighbours(store: S3Store) -> None:
    S3Store(store.root + "-other").put("a", b"theirs")
    store.put("a", b"ours")
    assert [entry.key for entry in store.entries("")] == ["a"]
    assert store.get("a").data == b"ours"


def test_a_large_file_goes_up_in_parts_and_leaves_no_upload_behind(
    store: S3Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import boto3

    big = tmp_path_factory.mktemp("big") / "file"
    data = b"0123456789abcdef" * (PART_BYTES // 16 * 2 + 7)
    big.write_bytes(data)
    store.put("big", big)
    assert store.get("big").data == data
    assert "-" in boto3.client("s3").head_object(Bucket=BUCKET, Key=store.path("big"))["ETag"]  # of parts
    assert boto3.client("s3").list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_requests_and_bytes_are_those_that_the_bucket_counts(tmp_path: Path) -> None:
    """Every kind of them, refused ones too, an upload in parts, and folders of more than a page."""
    bucket = CountedS3()
    with serving_s3("counted", watch=bucket.watch):
        store = S3Store("s3://counted/run")
        big = tmp_path / "big"
        big.write_bytes(bytes(2 * PART_BYTES + 7))
        bucket.asked.clear()
        traffic.take()
        version = store.create("a", b"one")
        assert version is not None
        assert store.create("a", b"other") is None
        assert store.swap("a", b"two", version) is not None
        assert store.swap("a", b"three", version) is None
        assert store.get_range("a", 1, 2) == b"wo"
        assert store.head("b") is None
        store.put("big", big)
        for number in range(1001):
            store.put(f"many/{number:04d}", b"x")
        assert len(list(store.entries("many"))) == 1001
        assert next(store.entries("many")).key == "many/0000"
        store.delete(*(f"many/{number:04d}" for number in range(1001)))
        assert list(store.entries("many")) == []
        store.delete("big")
        assert store.age_s("a") < 60
        assert store.discard("a", "another") is False
        assert store.discard("a", store.get("a").version) is True
        assert store.abort_uploads(older_than_s=0) == []
        told = traffic.take()
    assert told == store_counts(bucket.asked)
    assert (told["store_puts"], told["store_lists"], told["store_deletes"]) == (4 + 5 + 1001, 5, 4)


def test_a_bucket_that_is_not_there_is_named(endpoint: str) -> None:
    store = S3Store("s3://nobody-has-this/run")
    with pytest.raises(OSError, match="nobody-has-this/run/a") as caught:
        store.put("a", b"x")
    assert isinstance(caught.value, StoreError | FileNotFoundError)


def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    from pipeline.files import remote_store

    nobody = boto3.Session()
    monkeypatch.setattr(nobody, "get_credentials", lambda: None)
    monkeypatch.setattr(remote_store, "_aws_session", lambda: nobody)
    with pytest.raises(StoreError, match="no AWS credentials"):
        S3Store(f"s3://fresh-{uuid.uuid4()}/run")


@pytest.mark.parametrize("fault", ["503", "reset", "lost"])
def test_a_connection_that_breaks_costs_no_run(
    endpoint: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the request had gone through or not, each change happens once, and says so."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    with s3_proxy(endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        store = S3Store(f"s3://{BUCKET}/{uuid.uuid4()}")

        def suffering[T](request: Callable[[], T]) -> T:
            proxy.clear()
            proxy.once[0] = fault
            done = request()
            assert proxy.met[fault] == 1
            return done

        first = suffering(lambda: store.create("a", b"one"))
        assert first is not None
        assert first == store.get("a").version
        assert suffering(lambda: store.create("a", b"another")) is None
        second = suffering(lambda: store.swap("a", b"two", first))
        assert second is not None
        assert suffering(lambda: store.swap("a", b"three", first)) is None
        assert suffering(lambda: store.get("a")) == Stored(data=b"two", version=second)
        suffering(lambda: store.put("b", b"x"))
        assert [entry.key for entry in suffering(lambda: list(store.entries("")))] == ["a", "b"]
        suffering(lambda: store.delete("a"))
        assert store.head("a") is None


def test_a_store_that_refuses_says_so_in_words_of_ours(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_proxy(endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        store = S3Store(f"s3://{BUCKET}/{uuid.uuid4()}")
        proxy.refused_from = 0
        for request in (lambda: store.get("a"), lambda: store.create("a", b"x"), lambda: store.delete("a")):
            with pytest.raises(StoreError, match="refuses access; check the credentials"):
                request()


def test_credentials_that_expire_during_a_run_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service takes each key for a while; whoever keeps the user's keys has the next one by then."""
    from pipeline.files import remote_store

    valid = ["KEY1"]

    def answer(request: str) -> Iterable[bytes]:
        if f"Credential={valid[0]}/" not in request:
            return [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]
        dated = b'ETag: "e"\r\nLast-Modified: Tue, 01 Sep 2026 10:00:00 GMT\r\n'
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n" + dated + b"\r\nhere"]

    held = ["KEY1"]

    def frozen() -> SimpleNamespace:
        return SimpleNamespace(access_key=held[0], secret_key="secret", token="token")

    session = SimpleNamespace(
        region_name="us-east-1", get_credentials=lambda: SimpleNamespace(get_frozen_credentials=frozen)
    )
    monkeypatch.setattr(remote_store, "_aws_session", lambda: session)
    monkeypatch.setattr(remote_store, "CREDENTIALS_TTL_S", 0.0)
    with raw_server(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        store = S3Store(f"s3://bucket-{uuid.uuid4()}/run")
        assert store.get("a").data == b"here"
        valid[0] = "KEY2"
        with pytest.raises(StoreError, match="refuses access; check the credentials") as caught:
            store.get("a")
        assert "KEY" not in str(caught.value)
        held[0] = "KEY2"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                found = store.get("a").data
                break
            except StoreError:  # obstore does not ask for keys more than some times a second
                time.sleep(0.05)
        assert found == b"here"
