"""Why a remote object could not be read, in words of our own.

Texts of servers and libraries are never repeated, because they hold signed URLs. Where a server answered, the
HTTP status alone decides what kind of error it is.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError, SourceError


class RemoteError(SourceError):
    """A remote object could not be read, or is not the planned one. `retryable`: another try may help."""

    def __init__(
        self, name: str, reason: str, *, remedy: str = "", retryable: bool = False, status: int = 0
    ) -> None:
        """`name`: the object's public href. `status`: what the server answered; 0: it did not."""
        super().__init__(f"{name}: {reason}" + (f". To fix: {remedy}" if remedy else ""), retryable=retryable)
        self.reason = reason
        self.remedy = remedy
        self.status = status
        self.pause_s = 0.0
        """Seconds that the server asks to wait before another try."""

    def __reduce__(self) -> tuple[Any, ...]:
        return SourceError, (str(self),), {"retryable": self.retryable}


class TimedOutError(RemoteError):
    """A server was too slow. Trying again at once would cost as much time again."""


class UnopenedError(InputError):
    """A remote object cannot be opened, and trying again would not help."""

    status = 0
    """What the server answered; 0: it did not."""


def status_error(name: str, status: int, remedy_of_refusal: str, *, signed: bool) -> RemoteError:
    """Choose the error that an HTTP status means.

    `signed`: the URL holds a token, of which some servers say 400 when it has expired.
    """
    if status in (401, 403) or (status == 400 and signed):
        reason = f"the server refuses access ({status})"
        return RemoteError(name, reason, remedy=remedy_of_refusal, status=status)
    if status in _REFUSED:
        reason, remedy = _REFUSED[status]
        return RemoteError(name, reason, remedy=remedy, status=status)
    if status >= 500 or status in (408, 425, 429):
        reason = f"the server is busy or broken ({status})"
        return RemoteError(name, reason, retryable=True, status=status)
    return RemoteError(name, f"the server answers {status}", remedy="check the URL", status=status)


def no_ranges_error(name: str) -> RemoteError:
    """Say that a server sends whole files only."""
    return RemoteError(
        name,
        "its server does not answer range requests, so no part of it can be read alone",
        remedy="download the file and give its path",
    )


_REFUSED = {
    404: ("there is no such object (404)", "check the URL"),
    409: ("the server does not give it to everybody (409)", "sign the URL, or check the account's access"),
    410: ("the object is gone (410)", "check the URL"),
    412: ("it was replaced (412)", "put the earlier object back, or start a new run"),
    416: ("it holds no bytes (416)", "check the file"),
}
"""Reason and remedy by HTTP status."""
