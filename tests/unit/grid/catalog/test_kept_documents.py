"""Documents that a search leaves for the next one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import SourceError
from pipeline.grid.catalog import kept_documents
from pipeline.grid.catalog.kept_documents import KeptDocuments


def body(number: int) -> bytes:
    return f"{{{number}}}".encode() * (number + 1)


@pytest.mark.parametrize("memory_bytes", [1, 1 << 20])
def test_documents_come_back_whatever_threads_do(monkeypatch: pytest.MonkeyPatch, memory_bytes: int) -> None:
    """In memory, and in the file that it becomes."""
    monkeypatch.setattr(kept_documents, "_MEMORY_BYTES", memory_bytes)
    kept = KeptDocuments()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: kept.keep(f"/{n}", body(n)), range(200)))
        assert list(pool.map(lambda n: kept.content(f"/{n}"), range(200))) == [body(n) for n in range(200)]
    assert kept.content("/200") is None


def test_what_could_not_be_read_is_not_tried_again() -> None:
    kept = KeptDocuments()
    kept.fail("/a", SourceError("gone"))
    with pytest.raises(SourceError, match="gone"):
        kept.content("/a")


def test_a_full_disk_makes_it_forget_and_nothing_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptDocuments()
    kept.keep("/a", b"1")

    def full(_: bytes) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(kept._file, "write", full)
    kept.keep("/b", b"2")
    monkeypatch.undo()
    kept.keep("/c", b"3")
    assert [kept.content(place) for place in ("/a", "/b", "/c")] == [None, None, None]
