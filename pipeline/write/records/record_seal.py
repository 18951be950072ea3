"""The seal of a block record: one SHA-256 over every byte of its file, kept in the file itself.

1. `SEAL_METADATA` goes into the footer of a new Parquet file: a key, and zeros where the hash will stand.
2. `seal` hashes the whole file as it is then, and writes the hash over the zeros.
3. `require_sealed` puts the zeros back, hashes again and compares, before anything is parsed.

Parquet's own checksums cover pages of values. A flipped byte in a header or in the footer passes them by.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

_KEY = b"terraquery:sha256"
_ZEROS = b"0" * 64

SEAL_METADATA: Mapping[str, str] = {_KEY.decode(): _ZEROS.decode()}
"""Key-value metadata of a Parquet file that is to be sealed."""

_MARK = _KEY + b"\x18\x40"
"""What stands before the hash. Parquet writes its footer in Thrift's compact protocol, where 0x18 is "the
next field, a text" and 0x40 its length, 64 bytes."""


def seal(data: bytes) -> bytes:
    """Write the hash of a file into it. `data` is a whole Parquet file with SEAL_METADATA in its footer."""
    at = data.rindex(_MARK + _ZEROS) + len(_MARK)
    return data[:at] + hashlib.sha256(data).hexdigest().encode() + data[at + len(_ZEROS) :]


def seal_of(metadata: Mapping[bytes, bytes]) -> str:
    """Read the hash from the key-value metadata of a sealed file."""
    return metadata[_KEY].decode()


def require_sealed(data: bytes) -> None:
    """Check a whole file against the hash in it. Raises ValueError when it has none or does not match it."""
    at = data.rfind(_MARK)
    if at < 0:
        raise ValueError("it holds no hash of its content, so it is cut off or of an earlier version")
    at += len(_MARK)
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(_ZEROS)
    digest.update(view[at + len(_ZEROS) :])
    if not hmac.compare_digest(bytes(view[at : at + len(_ZEROS)]), digest.hexdigest().encode()):
        raise ValueError("its bytes do not match the hash in it")
