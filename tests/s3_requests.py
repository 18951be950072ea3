"""Notes the requests that reach a bucket, and says which permissions Amazon S3 would ask for.

Source: "Required permissions for Amazon S3 API operations" in the user guide of Amazon S3.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policy_evaluation import Ask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OF_AN_OBJECT = {
    ("GET", ""): "s3:GetObject",
    ("HEAD", ""): "s3:GetObject",
    ("PUT", ""): "s3:PutObject",
    ("DELETE", ""): "s3:DeleteObject",
    ("POST", "uploads"): "s3:PutObject",
    ("PUT", "uploadId"): "s3:PutObject",
    ("POST", "uploadId"): "s3:PutObject",
    ("DELETE", "uploadId"): "s3:AbortMultipartUpload",
}
"""Method and the word of the query that tells the operation -> the permission, for objects."""
OF_A_BUCKET = {
    ("GET", "list-type"): "s3:ListBucket",
    ("GET", "uploads"): "s3:ListBucketMultipartUploads",
}
"""The same for buckets, but for the removal of many objects."""
WORDS = ("uploads", "uploadId", "list-type", "delete")


@dataclass(frozen=True, kw_only=True)
class S3Request:
    """One request: what it wanted, and the status of its answer."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    removed: tuple[str, ...] = ()
    """Keys that a removal of many objects names."""
    status: int

    def asks(self) -> list[Ask]:
        """Give the permissions that it needs. Raises KeyError for an operation that is not known here."""
        bucket = f"arn:aws:s3:::{self.bucket}"
        word = next((word for word in WORDS if word in self.query), "")
        if self.removed:
            return [Ask(action="s3:DeleteObject", resource=f"{bucket}/{key}") for key in self.removed]
        if not self.key:
            context = {"s3:prefix": self.query["prefix"]} if "prefix" in self.query else {}
            return [Ask(action=OF_A_BUCKET[self.method, word], resource=bucket, context=context)]
        needed = [Ask(action=OF_AN_OBJECT[self.method, word], resource=f"{bucket}/{self.key}")]
        if self.status == 404 and self.method in ("GET", "HEAD"):
            # Without this one the answer would be 403, and the run would stop.
            needed.append(Ask(action="s3:ListBucket", resource=bucket, context={"s3:prefix": self.key}))
        return needed


def with_notes(app: WSGIApplication, bucket: str, notes: list[S3Request]) -> WSGIApplication:
    """Note every request to one bucket, addressed by its path."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name, _, key = environ["PATH_INFO"].removeprefix("/").partition("/")
        if name != bucket:
            return app(environ, start_response)
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        removed: tuple[str, ...] = ()
        if "delete" in query:
            environ, removed = _keys_to_remove(environ)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            noted = S3Request(
                method=environ["REQUEST_METHOD"],
                bucket=bucket,
                key=key,
                query=query,
                removed=removed,
                status=int(status.split()[0]),
            )
            notes.append(noted)
            return start_response(status, headers, *rest)

        return app(environ, start)

    return serve


def _keys_to_remove(environ: WSGIEnvironment) -> tuple[WSGIEnvironment, tuple[str, ...]]:
    import io
    from xml.etree import ElementTree

    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    keys = tuple(
        str(found.text) for found in ElementTree.fromstring(body).iter() if found.tag.endswith("Key")
    )
    return {**environ, "wsgi.input": io.BytesIO(body)}, keys
