"""Content hashes of files that parameters name: a run with a changed checkpoint is another run."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE_FILE_BYTES = 64 * 1024 * 1024
"""Bytes up to which a file is hashed whole. Of a larger one only its size and its first and last MiB are."""

_END_BYTES = 1024 * 1024


def path_identity(text: str) -> str:
    """Hash the content of a local file or of a model folder. Any other text, such as a hub id, comes back as
    it is."""
    path = Path(text)
    if path.is_file():
        return f"sha256:{_hash_files([path])}"
    if path.is_dir():
        return f"sha256:{_hash_files(sorted(p for p in path.rglob('*') if p.is_file()))}"
    return text


def _hash_files(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= WHOLE_FILE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(_END_BYTES))
                file.seek(-_END_BYTES, 2)
                digest.update(file.read())
    return digest.hexdigest()[:32]
