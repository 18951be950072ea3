"""Who may talk to Ray. Whoever reaches a Ray without a token runs any code on its machines.

1. `own_token` gives a token to the Ray that a run starts on its machine, whose ports listen on every network.
2. `require_closed` refuses a cluster whose job server takes work from anybody.
3. `joining_refused` is the error when a cluster does not let this driver in.

Ray reads RAY_AUTH_MODE, and RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN (as Ray 2.60 does).
"""

from __future__ import annotations

import atexit
import http.client
import ipaddress
import json
import logging
import os
import secrets
import shutil
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from pipeline.errors import InputError

_ANSWER_S = 5.0
"""Seconds that a dashboard has to say whether it wants a token."""

_MOST_ANSWER_BYTES = 10_000


def own_token(environ: MutableMapping[str, str] = os.environ) -> Path:
    """Make a token that only this user can read, and tell Ray where it lies; returns the file.

    It is called before `ray.init` starts a Ray. A token of the user's is that of another cluster and is not
    passed on, and a mode that switches tokens off is not either: Ray 2.60 then switches them on, whether it
    was imported before or not. The file goes when this process ends.
    """
    folder = Path(tempfile.mkdtemp(prefix="terraquery-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "token"
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w") as file:
        file.write(secrets.token_hex(32))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        environ.pop(name, None)
    environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    # It would tell every run that tokens are on, and how to switch them off.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    return path


def require_closed(dashboard: str) -> None:
    """Refuse a cluster whose dashboard listens beyond its machine and wants no token.

    `dashboard`: host and port as `ray.init` gives them; empty: there is none. One that does not answer here
    cannot be judged, and passes. Raises InputError.
    """
    if not dashboard or _is_loopback(urllib.parse.urlsplit(f"//{dashboard}").hostname or ""):
        return
    if _asked_for_mode(dashboard) not in (None, "token"):
        raise InputError(
            "the dashboard of a Ray cluster must listen on its own machine alone, or want a token: anybody "
            "who reaches it can run any code on the cluster",
            came=f"one at {dashboard} that wants none",
            remedy="start the head with --dashboard-host 127.0.0.1, or every node with RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN_PATH",
        )


def joining_refused(environ: Mapping[str, str] = os.environ) -> InputError:
    """The error of a driver that a cluster does not let in, which looks the same as one that is not there."""
    return InputError(
        "the Ray cluster named by RAY_ADDRESS must answer, and let this job in",
        came=f"no connection, with RAY_AUTH_MODE={environ.get('RAY_AUTH_MODE', '')}",
        remedy="see that its head runs; where it wants a token, set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN_PATH to the file that holds it",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _asked_for_mode(dashboard: str) -> str | None:
    """The authentication mode that a dashboard tells anybody. None: no answer, or not one of Ray's."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{dashboard}/api/authentication_mode", timeout=_ANSWER_S) as answer:
            said = json.loads(answer.read(_MOST_ANSWER_BYTES))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    mode = said.get("authentication_mode") if isinstance(said, dict) else None
    return mode if isinstance(mode, str) else None
