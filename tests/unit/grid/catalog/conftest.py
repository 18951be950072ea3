"""Catalogue tests wait for nobody, and may have a bucket on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pipeline.files import remote_store
from pipeline.grid.catalog import catalog_web


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = catalog_web.Patience(tries=3, pause_s=0.01, longest_pause_s=2.0, stall_s=0.5, document_s=0.6)
    monkeypatch.setattr(catalog_web, "PATIENCE", patience)


@pytest.fixture
def put_object(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], str]]:
    """Puts content under a key of a new bucket, and gives its s3 href."""
    for name in ("AWS_PROFILE", "AWS_NO_SIGN_REQUEST", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    cached = (remote_store._aws_session, remote_store._s3_store, remote_store.s3_region)
    for function in cached:
        function.cache_clear()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="catalogue")

    def put(key: str, content: bytes) -> str:
        client.put_object(Bucket="catalogue", Key=key, Body=content)
        return f"s3://catalogue/{key}"

    yield put
    server.stop()
    for function in cached:
        function.cache_clear()
