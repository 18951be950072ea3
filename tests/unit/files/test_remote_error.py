from __future__ import annotations

import pickle

import pytest

from pipeline.errors import SourceError
from pipeline.files.remote_error import RemoteError, TimedOutError, no_ranges_error, status_error


@pytest.mark.parametrize(
    ("status", "signed", "said", "retryable"),
    [
        (400, True, "refuses access", False),
        (400, False, "answers 400", False),
        (401, False, "refuses access", False),
        (403, True, "refuses access", False),
        (404, True, "no such object", False),
        (409, False, "does not give it to everybody", False),
        (410, False, "gone", False),
        (412, False, "replaced", False),
        (416, False, "holds no bytes", False),
        (418, False, "answers 418", False),
        (302, False, "answers 302", False),
        (408, False, "busy or broken", True),
        (425, False, "busy or broken", True),
        (429, False, "busy or broken", True),
        (500, False, "busy or broken", True),
        (503, False, "busy or broken", True),
        (599, False, "busy or broken", True),
    ],
)
def test_the_status_decides_the_kind_of_error(status: int, signed: bool, said: str, retryable: bool) -> None:
    error = status_error("http://h/a.tif", status, "ask for access", signed=signed)
    assert said in error.reason
    assert (error.retryable, error.status, error.pause_s) == (retryable, status, 0.0)
    assert ("ask for access" in str(error)) == ("refuses" in said)


@pytest.mark.parametrize("kind", [RemoteError, TimedOutError])
def test_errors_travel_between_processes(kind: type[RemoteError]) -> None:
    error = kind("http://h/a.tif", "it is away", remedy="wait", retryable=True)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, SourceError)
    assert (str(copy), copy.retryable) == ("http://h/a.tif: it is away. To fix: wait", True)


def test_whole_files_alone_are_no_use() -> None:
    assert "download the file" in str(no_ranges_error("http://h/a.tif"))
