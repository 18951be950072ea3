"""An S3-protocol server on this machine (moto), with one bucket and made-up credentials."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BUCKET = "runs-of-the-tests"


def one_write_at_a_time(app: WSGIApplication) -> WSGIApplication:
    """Make conditional writes atomic, as S3 does: moto's threads look and write without a lock."""
    writing = threading.Lock()

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        with writing:
            return list(app(environ, start_response))

    return serve


@contextmanager
def serving_s3(
    bucket: str = BUCKET, *, watch: Callable[[WSGIApplication], WSGIApplication] | None = None
) -> Iterator[str]:
    """Serve an empty bucket, and set the environment so that this process and its children use it. Gives the
    endpoint's URL. `watch`: put around the server.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    server._server.app = one_write_at_a_time(server._server.app)
    if watch is not None:
        server._server.app = watch(server._server.app)
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    settings = {
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up-too",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": endpoint,
    }
    try:
        with mock.patch.dict(os.environ, settings):
            boto3.client("s3").create_bucket(Bucket=bucket)
            yield endpoint
    finally:
        server.stop()
