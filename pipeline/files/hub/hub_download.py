"""Fetch a file of the hub so that a broken download goes on where it stopped, and only what is right counts.

1. Bytes go to `NAME.part` beside the file. What an earlier try left there is not fetched again (HTTP Range).
2. The whole file is hashed: SHA-256 of a large one, Git's SHA-1 of a small one, as the hub lists them.
3. What has another hash is deleted and refused. Only then the file gets its name.

huggingface_hub's own download begins a file anew after a process was killed, and compares no hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.files.hub.hub_repository import HubFile, HubRepository
from pipeline.files.public_text import public_text

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedFile:
    """A file that is here and right."""

    name: str
    size: int
    sha256: str
    fetched: int
    """Bytes that came now."""


def fetch_file(repository: HubRepository, file: HubFile, folder: Path) -> FetchedFile:
    """Bring a file of a commit into a folder. Raises ModelError when it does not come whole and right, and
    OSError when it cannot be written.
    """
    path = folder / file.name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{repository.repo_id} lists {file.name!r}, which lies outside its folder")
    if path.is_file():
        digest = _digest(path)
        if _is_right(file, digest, path.stat().st_size):
            return FetchedFile(name=file.name, size=file.size, sha256=digest.sha256, fetched=0)
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    fetched = _fetch_rest(repository, file, part)
    digest = _digest(part)
    if not _is_right(file, digest, part.stat().st_size):
        part.unlink()
        wanted = f"SHA-256 {file.sha256}" if file.sha256 else f"Git's {file.blob_id}"
        came = digest.sha256 if file.sha256 else digest.blob_id
        raise ModelError(
            f"{file.name} of {repository.repo_id} came with another content: the hub lists {wanted}, and it "
            f"has {came}. It was deleted. To fix: start the same command again; if it happens again, trust "
            "neither this mirror nor the connection."
        )
    part.replace(path)
    return FetchedFile(name=file.name, size=file.size, sha256=digest.sha256, fetched=fetched)


def _fetch_rest(repository: HubRepository, file: HubFile, part: Path) -> int:
    """Fetch what a part lacks; returns the bytes that came. Raises ModelError."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository.repo_id, file.name, revision=repository.commit)
    with part.open("ab") as target:
        if target.tell() > file.size:
            target.seek(0)
            target.truncate()
        start = target.tell()
        try:
            if file.size:
                http_get(
                    url,
                    target,
                    resume_size=start,
                    headers=build_hf_headers(),
                    expected_size=file.size,
                    displayed_filename=file.name,
                )
        except OSError as error:
            if error.errno is not None:  # the disk's own
                raise
            raise _broken(repository, file, target.tell(), error) from error
        except Exception as error:  # many types, of two libraries
            raise _broken(repository, file, target.tell(), error) from error
        return target.tell() - start


def _broken(repository: HubRepository, file: HubFile, got: int, error: Exception) -> ModelError:
    reason = public_text(" ".join(f"{type(error).__name__}: {error}".split()), most_chars=300)
    return ModelError(
        f"{file.name} of {repository.repo_id} stopped at {got:,} of {file.size:,} bytes ({reason}). "
        "To fix: start the same command again; it goes on from there."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Digest:
    sha256: str
    blob_id: str


def _digest(path: Path) -> _Digest:
    """Hash a file twice in one reading."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            blob.update(chunk)
    return _Digest(sha256=sha256.hexdigest(), blob_id=blob.hexdigest())


def _is_right(file: HubFile, digest: _Digest, size: int) -> bool:
    if size != file.size:
        return False
    if file.sha256 is not None:
        return digest.sha256 == file.sha256
    return file.blob_id is None or digest.blob_id == file.blob_id
