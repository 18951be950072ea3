"""AWS on this machine: moto's server, with calls that it lacks: of EKS (`eks_calls`) and of Budgets
(`budget_calls`)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from budget_calls import with_budget_calls
from eks_calls import EksCalls, with_eks_calls
from s3_requests import S3Request, with_notes
from s3_server import one_write_at_a_time

ACCOUNT = "123456789012"
"""The account that moto gives to every credential."""
NOTED = "noted"
"""Name of a bucket whose requests are noted; a test makes it."""


@dataclass(frozen=True, kw_only=True)
class AwsServer:
    """The address of the server, and what its EKS holds beyond moto's."""

    url: str
    eks: EksCalls
    requests: list[S3Request]
    """What reached the bucket NOTED, in order."""


@contextmanager
def serving_aws(region: str) -> Iterator[AwsServer]:
    """Serve an empty account, and set the environment so that this process and its children use it."""
    import requests
    from moto.eks.models import eks_backends
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    eks = EksCalls(account_id=ACCOUNT, region=region, clusters=lambda: eks_backends[ACCOUNT][region].clusters)
    requested: list[S3Request] = []
    app = with_notes(server._server.app, NOTED, requested)
    server._server.app = one_write_at_a_time(with_eks_calls(with_budget_calls(app, ACCOUNT), eks))
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    settings = {
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up-too",
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": url,
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    }
    try:
        with mock.patch.dict(os.environ, settings):
            requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
            yield AwsServer(url=url, eks=eks, requests=requested)
    finally:
        server.stop()
