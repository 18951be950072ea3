from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from pipeline.files.store.s3_store import PART_BYTES, S3Store
from pipeline.files.store.store import StoreError
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
