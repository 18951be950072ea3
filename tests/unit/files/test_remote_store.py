from __future__ import annotations

import pytest
import rasterio

from pipeline.files import remote_store
from pipeline.files.remote_store import Transport, current_transport, open_bucket, s3_endpoint

NAMES = (
    "GDAL_HTTP_MAX_RETRY",
    "GDAL_HTTP_RETRY_DELAY",
    "GDAL_HTTP_TIMEOUT",
    "GDAL_HTTP_CONNECTTIMEOUT",
    "GDAL_HTTP_LOW_SPEED_TIME",
    "GDAL_HTTP_LOW_SPEED_LIMIT",
    "GDAL_HTTP_HEADERS",
    "GDAL_HTTP_BEARER",
    "GDAL_HTTP_UNSAFESSL",
    "CURL_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_S3_ENDPOINT",
    "AWS_HTTPS",
    "AWS_VIRTUAL_HOSTING",
    "AWS_NO_SIGN_REQUEST",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


@pytest.fixture(autouse=True)
def nothing_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for cached in (remote_store._aws_session, remote_store._s3_store, remote_store.s3_region):
        cached.cache_clear()


def test_settings_come_from_the_environment_and_the_inner_ones_win(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_transport() == Transport(
        retries=0,
        retry_delay_s=1.0,
        connect_timeout_s=10.0,
        timeout_s=120.0,
        stall_s=30.0,
        stall_bytes_s=1000.0,
    )
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "5")
    assert (current_transport().retries, current_transport().timeout_s) == (9, 5.0)
    with rasterio.Env(GDAL_HTTP_MAX_RETRY="2"):
        assert current_transport().retries == 2


def test_headers_and_bearer_tokens_are_sent_but_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "X-Key: a:SECRET\r\nAccept: image/tiff")
    monkeypatch.setenv("GDAL_HTTP_BEARER", "SECRET")
    transport = current_transport()
    assert transport.client_options()["default_headers"] == {
        "X-Key": "a:SECRET",
        "Accept": "image/tiff",
        "Authorization": "Bearer SECRET",
    }
    assert "SECRET" not in repr(transport)


def test_a_setting_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "soon")
    with pytest.raises(ValueError, match="soon"):
        current_transport()


def test_one_bucket_has_one_store_and_so_keeps_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_ENDPOINT", "s3.example.org")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    transport = current_transport()
    store, key = open_bucket("s3://bucket/a.tif", transport)
    assert key == "a.tif"
    assert open_bucket("s3://bucket/b.tif", transport)[0] is store
    assert open_bucket("s3://bucket2/a.tif", transport)[0] is not store
    with rasterio.Env(GDAL_HTTP_MAX_RETRY="7"):
        assert open_bucket("s3://bucket/a.tif", current_transport())[0] is not store


@pytest.mark.parametrize(
    ("exported", "expected"),
    [
        ({}, (None, True)),
        ({"AWS_ENDPOINT_URL_S3": "http://minio:9000/"}, ("http://minio:9000", False)),
        ({"AWS_ENDPOINT_URL": "https://s3.example.org"}, ("https://s3.example.org", False)),
        (
            {"AWS_ENDPOINT_URL": "https://s3.example.org", "AWS_VIRTUAL_HOSTING": "TRUE"},
            ("https://s3.example.org", True),
        ),
        ({"AWS_S3_ENDPOINT": "s3.example.org"}, ("https://s3.example.org", True)),
        (
            {"AWS_S3_ENDPOINT": "minio:9000", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
            ("http://minio:9000", False),
        ),
    ],
)
def test_one_endpoint_variable_serves_both_libraries(
    monkeypatch: pytest.MonkeyPatch, exported: dict[str, str], expected: tuple[str | None, bool]
) -> None:
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    assert s3_endpoint() == expected


def test_a_bucket_may_be_part_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_ENDPOINT", "s3.example.org")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    store, path = open_bucket("s3://bucket/some/key#1?.tif", current_transport())
    assert path == "some/key#1?.tif"
    assert store.config["endpoint"] == "https://bucket.s3.example.org"
    assert store.config["skip_signature"] in (True, "true")


def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(ValueError, match="AWS_NO_SIGN_REQUEST"):
        open_bucket("s3://bucket/key.tif", current_transport())
