"""JSON documents of one catalogue, wherever it lies: local, http(s) or s3.

The user named the catalogue, so its own folder, server or bucket may be read. Its links were written by
strangers: they may lead no further than the user allows (`CatalogSearch.allow_hosts`, `allow_roots`).
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, SourceError, TerraqueryError
from pipeline.files.hrefs import encoded_url, public_href
from pipeline.files.raster_access import raster_environment
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_object import RemoteObject
from pipeline.grid.catalog.catalog_web import MOST_BYTES, CatalogWeb
from pipeline.grid.catalog.found_items import CatalogSearch
from pipeline.grid.catalog.kept_documents import KeptDocuments


class CatalogReader:
    """Reads documents of the catalogue at `place`, a path or URL, and of its links. Threads may share it."""

    def __init__(self, place: str, search: CatalogSearch, kept: KeptDocuments | None = None) -> None:
        """`kept`: what earlier searches have read, and later ones will not ask for. Raises InputError when
        `place` cannot be meant.
        """
        self._kept = kept
        self.place = checked_place(place)
        self._web = CatalogWeb(self.place if is_http(self.place) else "", search.allow_hosts)
        roots = search.allow_roots
        if "://" not in self.place:
            roots = (str(Path(self.place).absolute().parent), *roots)
        self._roots = tuple(Path(root).resolve() for root in roots)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The catalogue's own host, or `bucket.s3`; empty for a local one."""
        parts = urllib.parse.urlsplit(self.place)
        if parts.scheme == "s3":
            return (f"{parts.netloc}.s3",)
        return (parts.hostname or "",) if is_http(self.place) else ()

    def notes(self) -> tuple[str, ...]:
        """Say how often requests had to be repeated, and why."""
        return tuple(
            f"requests sent again after {reason}: {count}"
            for reason, count in sorted(self._web.troubles.items())
        )

    def carry_access(self) -> None:
        """Let every request carry the query string of the user's URL, which may be a key or a signature."""
        query = urllib.parse.urlsplit(self.place).query
        self._web.access = tuple(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def start(self) -> Any:
        """Read the document that the user named. Raises InputError and SourceError."""
        if "://" in self.place:
            return self.follow_once(self.place)
        return _parsed(_local_bytes(Path(self.place), MOST_BYTES), self.place, InputError)

    def follow(
        self, place: str, body: Mapping[str, Any] | None = None, *, most_bytes: int = MOST_BYTES
    ) -> Any:
        """Read what a link of the catalogue leads to; with a body by POST. Raises InputError, SourceError."""
        return _parsed(self._content(place, body, most_bytes), public_href(place), SourceError)

    def follow_once(self, place: str, *, most_bytes: int = MOST_BYTES) -> Any:
        """Read a document that stays the same for all searches of a plan: another one may have kept it.
        Raises as `follow`.
        """
        if self._kept is None or "://" not in place:
            return self.follow(place, most_bytes=most_bytes)
        content = self._kept.content(place)
        if content is None:
            try:
                content = self._content(place, None, most_bytes)
            except TerraqueryError as error:
                self._kept.fail(place, error)
                raise
            self._kept.keep(place, content)
        return _parsed(content, public_href(place), SourceError)

    def _content(self, place: str, body: Mapping[str, Any] | None, most_bytes: int) -> bytes:
        """Read the bytes of a document, wherever it lies."""
        if is_http(place):
            return self._web.ask(encoded_url(place), body, most_bytes=most_bytes)
        if place.lower().startswith("s3://"):
            return self._object_bytes(place, most_bytes)
        if "://" in place or not self._roots or "://" in self.place:
            raise SourceError(f"A link of the catalogue leads somewhere else: {public_href(place)[:200]}")
        path = Path(place).resolve()
        if not any(path.is_relative_to(root) for root in self._roots):
            raise SourceError(
                f"A link of the catalogue leads out of its folder: {place[:200]}. To fix: if you trust it, "
                f"give --allow-root {path.parent}"
            )
        return _local_bytes(path, most_bytes)

    def _object_bytes(self, href: str, most_bytes: int) -> bytes:
        bucket = urllib.parse.urlsplit(href).netloc
        if f"{bucket}.s3" not in self.hosts:
            raise SourceError(f"A link of the catalogue leads to another bucket: {href[:200]}")
        try:
            with raster_environment(href):
                content = RemoteObject(href)
                _require_size(content.size, href, most_bytes)
                return content.read(0, content.size)
        except RemoteError as error:
            if error.retryable:
                raise
            raise InputError(
                f"A catalogue must be readable: {href[:200]}", came=error.reason, remedy=error.remedy
            ) from None


def is_http(place: str) -> bool:
    """Tell whether a place is an http(s) URL."""
    return place.lower().startswith(("http://", "https://"))


def checked_place(place: str) -> str:
    """Check that a catalogue's place is a path or a URL without user name. Raises InputError."""
    if not place.strip() or any(ord(char) < 32 for char in place):
        raise InputError("A catalogue must be a path or a URL", came=repr(place[:200]), remedy="give one")
    if "://" not in place:
        return place
    shown = public_href(place)[:200]
    try:
        parts = urllib.parse.urlsplit(place)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InputError("A catalogue's URL must be well-formed", came=shown, remedy="correct it") from None
    if parts.scheme.lower() not in ("http", "https", "s3") or not complete:
        raise InputError(
            "A catalogue must be a path, or a URL that begins with http://, https:// or s3://",
            came=shown,
            remedy="correct it",
        )
    if parts.username is not None:
        raise InputError(
            "A catalogue's URL must not hold a user name or password",
            came=shown,
            remedy="export GDAL_HTTP_BEARER or GDAL_HTTP_HEADERS",
        )
    return encoded_url(place)


def _local_bytes(path: Path, most_bytes: int) -> bytes:
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        _require_size(path.stat().st_size, str(path), most_bytes)
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "A catalogue must be a readable file",
            came=f"{path}: {error}",
            remedy="check path and permissions",
        ) from error


def _require_size(size: int, name: str, most_bytes: int) -> None:
    if size > most_bytes:
        raise InputError(
            f"This document of a catalogue may have at most {most_bytes:,} bytes",
            came=f"{name}: {size:,} bytes",
            remedy="write its items as stac-geoparquet (.parquet), which is read in parts",
        )


def _parsed(content: bytes, name: str, kind: type[InputError | SourceError]) -> Any:
    """Read JSON. NaN and Infinity, which JSON does not have, are no value. Raises an error of `kind`."""
    try:
        return json.loads(content, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise kind(f"A catalogue's document must be JSON: {name} ({reason})") from None
