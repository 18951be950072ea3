"""The seal over files small enough to flip every single byte."""

from __future__ import annotations

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.write.records.record_seal import SEAL_METADATA, require_sealed, seal, seal_of


def unsealed(texts: list[str]) -> bytes:
    table = pa.table({"text": texts})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(dict(SEAL_METADATA))
    return sink.getvalue()


def test_a_sealed_file_is_parquet_and_holds_the_hash_of_the_unsealed_one() -> None:
    plain = unsealed(["a", "b"])
    sealed = seal(plain)
    require_sealed(sealed)
    assert len(sealed) == len(plain)
    assert pq.read_table(io.BytesIO(sealed))["text"].to_pylist() == ["a", "b"]
    stored = pq.ParquetFile(io.BytesIO(sealed)).metadata.metadata[b"terraquery:sha256"]
    assert stored.decode() == hashlib.sha256(plain).hexdigest()
    assert seal_of(pq.ParquetFile(io.BytesIO(sealed)).metadata.metadata) == stored.decode()


def test_every_flipped_bit_of_every_byte_and_every_cut_is_noticed() -> None:
    sealed = seal(unsealed(["one"]))
    for position in range(len(sealed)):
        for bit in (1, 32, 128):
            changed = bytes([sealed[position] ^ bit])
            with pytest.raises(ValueError, match="hash"):
                require_sealed(sealed[:position] + changed + sealed[position + 1 :])
        with pytest.raises(ValueError, match="hash"):
            require_sealed(sealed[:position])
    with pytest.raises(ValueError, match="do not match"):
        require_sealed(sealed + b"\0")


def test_a_text_that_looks_like_the_seal_does_not_confuse_it() -> None:
    text = "terraquery:sha256\x18@" + "0" * 64
    sealed = seal(unsealed([text, text]))
    require_sealed(sealed)
    assert pq.read_table(io.BytesIO(sealed))["text"].to_pylist() == [text, text]


def test_a_file_without_room_for_the_hash_is_not_sealed() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(ValueError, match="not found"):
        seal(sink.getvalue())
    with pytest.raises(ValueError, match="no hash"):
        require_sealed(sink.getvalue())
