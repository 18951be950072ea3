"""A store below a prefix of an S3 bucket, or of any service that speaks S3 and its conditional writes.

1. obstore sends the requests. Credentials come from boto3, settings from the environment (`remote_store`).
2. `create` puts with `If-None-Match: *`, `swap` with `If-Match` and the ETag that the caller has seen.
3. A conditional write that is refused may be our own, whose answer was lost. So the object is read, and the
   same bytes count as written.
4. obstore makes a conditional write or a deletion once when its connection breaks. We make it again: point 3
   tells whether it had gone through.
5. Files above 16 MB go up in parts; obstore ends an upload that fails, so no parts are left to be paid for.
6. Requests and bytes are counted (`files.traffic`), but for those that obstore repeats by itself.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from pipeline.files.fail_point import reach
from pipeline.files.remote_store import current_transport, open_bucket, s3_client
from pipeline.files.store.store import Content, ObjectEntry, Stored, StoreError
from pipeline.files.traffic import traffic

SCHEME = "s3://"

RETRIES = 6
"""How often a request is made again at least when the service is busy: a run must not end for one answer."""

BROKEN_RETRIES = 3
"""How often a conditional write or a deletion is made again when its connection breaks."""

PART_BYTES = 16 * 2**20
"""Bytes above which a file goes up in parts, and of each part."""

PAGE_ENTRIES = 1000
"""Objects that one request lists, or removes."""


class S3Store:
    """Implements `store.Store`."""

    def __init__(self, url: str) -> None:
        """`url`: `s3://bucket` or `s3://bucket/prefix`. Raises StoreError without credentials."""
        self._root = url.rstrip("/")
        self._name = self._root[len(SCHEME) :].partition("/")[0]
        try:
            known = current_transport()
            patient = replace(known, retries=max(known.retries, RETRIES))
            self._pause_s = known.retry_delay_s
            self.bucket, self.prefix = open_bucket(self._root, patient)
        except ValueError as error:
            raise _store_error(str(error), self._root) from error

    @property
    def root(self) -> str:
        return self._root

    def get(self, key: str) -> Stored:
        """See `store.Store`."""
        import obstore

        traffic.add("store_gets")
        result = self._ask(key, lambda path: obstore.get(self.bucket, path))
        data = self._ask(key, lambda _: bytes(result.bytes()))
        traffic.add("store_read_bytes", len(data))
        return Stored(data=data, version=str(result.meta["e_tag"]))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `store.Store`."""
        import obstore

        traffic.add("store_gets")
        data = bytes(
            self._ask(key, lambda path: obstore.get_range(self.bucket, path, start=start, length=length))
        )
        traffic.add("store_read_bytes", len(data))
        return data

    def head(self, key: str) -> ObjectEntry | None:
        """See `store.Store`."""
        import obstore

        traffic.add("store_heads")
        try:
            meta = self._ask(key, lambda path: obstore.head(self.bucket, path))
        except FileNotFoundError:
            return None
        return ObjectEntry(key, int(meta["size"]), str(meta["e_tag"]))

    def put(self, key: str, content: Content) -> str:
        """See `store.Store`."""
        try:
            return self._put(key, content, "overwrite")
        except FileNotFoundError as error:
            if isinstance(content, Path) and not content.exists():
                raise
            raise _store_error("there is no such bucket", f"{self._root}/{key}") from error

    def create(self, key: str, content: Content) -> str | None:
        """See `store.Store`."""
        return self._put_if(key, content, "create")

    def swap(self, key: str, content: Content, version: str) -> str | None:
        """See `store.Store`."""
        return self._put_if(key, content, {"e_tag": version})

    def delete(self, *keys: str) -> None:
        """See `store.Store`. One request removes up to 1,000 objects."""
        import obstore

        if keys:
            paths = [self.path(key) for key in keys]

            def send(_: str) -> None:
                traffic.add("store_deletes", math.ceil(len(keys) / PAGE_ENTRIES))
                obstore.delete(self.bucket, paths if paths[1:] else paths[0])

            self._ask_again(keys[0], send)

    def discard(self, key: str, version: str) -> bool:
        """See `store.Store`. `DeleteObject` with If-Match; a service that ignores it removes what the look
        before it has seen.
        """
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        found = self.head(key)
        if found is None or found.version != version:
            return False
        traffic.add("store_deletes")
        try:
            self._client().delete_object(Bucket=self._name, Key=self.path(key), IfMatch=version)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 409, 412):
                return False
            raise _store_error(_plain(error), f"{self._root}/{key}") from error
        return True

    def age_s(self, key: str) -> float:
        """See `store.Store`. The server says in one answer when the object was written and what time it
        is.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        address = f"{self._root}/{key}"
        traffic.add("store_heads")
        try:
            answer = self._client().head_object(Bucket=self._name, Key=self.path(key))
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                raise FileNotFoundError(2, "there is no such object", address) from error
            raise _store_error(_plain(error), address) from error
        except BotoCoreError as error:
            raise _store_error(_plain(error), address) from error
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - answer["LastModified"]).total_seconds())

    def abort_uploads(self, *, older_than_s: float) -> list[str]:
        """End uploads in parts below this folder that were begun that long ago; returns their keys. obstore
        ends those that fail, but not those of a process that was killed.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        ended = []
        try:
            pages = self._client().get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._name, Prefix=self.path("") + "/"):
                traffic.add("store_lists")
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for upload in page.get("Uploads", []):
                    if (now - upload["Initiated"]).total_seconds() > older_than_s:
                        traffic.add("store_deletes")
                        self._client().abort_multipart_upload(
                            Bucket=self._name, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        ended.append(str(upload["Key"]))
        except (ClientError, BotoCoreError) as error:
            raise _store_error(_plain(error), self._root) from error
        return ended

    def _client(self) -> Any:
        """Give boto3's client, for what obstore does not do."""
        return s3_client()

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """See `store.Store`."""
        import obstore

        skip = len(self.path("")) + 1 if self.path("") else 0
        pages = self._ask(prefix, lambda path: iter(obstore.list(self.bucket, path or None)))
        traffic.add("store_lists")
        listed = 0
        while (page := self._ask(prefix, lambda _: next(pages, None))) is not None:
            for meta in page:
                if listed and listed % PAGE_ENTRIES == 0:
                    traffic.add("store_lists")
                listed += 1
                yield ObjectEntry(meta["path"][skip:], int(meta["size"]), str(meta["e_tag"]))

    def _put(self, key: str, content: Content, mode: Any) -> str:
        import obstore

        # a conditional write is one request: S3 completes uploads in parts without conditions
        whole = mode != "overwrite"
        data = content.read_bytes() if whole and isinstance(content, Path) else content
        size = data.stat().st_size if isinstance(data, Path) else len(data)

        def send(path: str) -> Any:
            traffic.add("store_puts", 1 if whole or size <= PART_BYTES else 2 + math.ceil(size / PART_BYTES))
            traffic.add("store_written_bytes", size)
            return obstore.put(
                self.bucket,
                path,
                data,
                mode=mode,
                use_multipart=False if whole else None,
                chunk_size=PART_BYTES,
            )

        reach("before_object")
        result = (self._ask_again if whole else self._ask)(key, send)
        reach("after_object")
        return str(result["e_tag"])

    def _put_if(self, key: str, content: Content, mode: Any) -> str | None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            return self._put(key, content, mode)
        except (AlreadyExistsError, PreconditionError):
            pass
        except FileNotFoundError as error:
            if mode == "create":
                raise _store_error("there is no such bucket", f"{self._root}/{key}") from error
            return None  # some services answer 404 to If-Match where nothing is
        try:
            found = self.get(key)
        except FileNotFoundError:
            return None
        data = content.read_bytes() if isinstance(content, Path) else content
        return found.version if found.data == data else None

    def path(self, key: str) -> str:
        """The path of a key in the bucket."""
        return "/".join(part for part in (self.prefix, key) if part)

    def _ask_again[T](self, key: str, request: Callable[[str], T]) -> T:
        """Send a request, and again when its connection breaks, with growing pauses."""
        for number in range(BROKEN_RETRIES):
            try:
                return self._ask(key, request)
            except StoreError as error:
                if not _broke(error):
                    raise
                time.sleep(self._pause_s * 2**number)
            traffic.add("store_retries")
        return self._ask(key, request)

    def _ask[T](self, key: str, request: Callable[[str], T]) -> T:
        """Send a request. Conditions that fail pass as they are, anything else as an OSError of ours."""
        from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError

        address = f"{self._root}/{key}" if key else self._root
        try:
            return request(self.path(key))
        except (AlreadyExistsError, PreconditionError):
            raise
        except (FileNotFoundError, NotFoundError) as error:
            raise FileNotFoundError(2, "there is no such object", address) from error
        except (BaseError, OSError) as error:
            raise _store_error(_plain(error), address) from error


def _store_error(why: str, address: str) -> StoreError:
    return StoreError(5, why, address)


def _broke(error: StoreError) -> bool:
    """Whether a connection broke, or nothing came in time: the request may have gone through or not."""
    text = str(error.__cause__)
    return "error sending request" in text or "timed out" in text


def _plain(error: Exception) -> str:
    """Say in words of our own what went wrong. Texts of servers may hold signed URLs."""
    text = str(error)
    kind = type(error).__name__
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return "the store refuses access; check the credentials, and that they may read and write there"
    if "NoSuchBucket" in text:
        return "there is no such bucket"
    if status := re.search(r"status code: (\d{3})", text):
        return f"the store answered {status[1]} ({kind})"
    if "timed out" in text:
        return "the store did not answer in time"
    if "error sending request" in text:
        return "the store cannot be reached; check the endpoint and the network"
    return f"the request failed ({kind})"
