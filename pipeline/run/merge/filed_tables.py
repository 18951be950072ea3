"""Which tables the tasks of phase two have written for later ones, so that nobody has to look for them.

A task that writes a table for another one says so (`Filed`). The driver keeps these names, not the contents
(`FiledTables`), and gives a later task the paths of its own. No folder is listed, and a table that is gone is
missed by whoever is to read it.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.files.store.store_path import StorePath
from pipeline.run.merge.merge_job import MergeJob


@dataclass(frozen=True, slots=True)
class Filed:
    """One table: by whom it was written, and for whom."""

    kind: str
    query_index: int
    writer: int
    """Number of the super-tile or block."""
    reader: int = 0
    """Number of the super-tile, block or range; 0 where one task reads all tables of this kind."""

    def path(self, job: MergeJob) -> StorePath:
        """Where it lies."""
        return job.table(f"{self.kind}/{self.reader}", self.query_index, f"{self.writer:08d}")


class FiledTables:
    """What was filed so far, about 8 bytes a table.

    One that is filed twice counts once: Ray repeats the tasks of lost machines.
    """

    def __init__(self) -> None:
        self._writers: defaultdict[tuple[str, int], defaultdict[int, array[int]]] = defaultdict(
            lambda: defaultdict(lambda: array("q"))
        )

    def add(self, tables: Iterable[Filed]) -> None:
        """Note what a task says it has written."""
        for table in tables:
            self._writers[table.kind, table.query_index][table.reader].append(table.writer)

    def readers(self, kind: str, query_index: int) -> list[int]:
        """For whom there is a table of this kind, ascending."""
        return sorted(self._writers[kind, query_index])

    def writers(self, kind: str, query_index: int, reader: int = 0) -> list[int]:
        """Who wrote a table of this kind for a reader, ascending."""
        readers = self._writers[kind, query_index]
        return sorted(set(readers[reader])) if reader in readers else []

    def paths(self, job: MergeJob, kind: str, query_index: int, reader: int = 0) -> tuple[StorePath, ...]:
        """The tables of this kind for a reader, by the number of their writers."""
        return tuple(
            Filed(kind, query_index, writer, reader).path(job)
            for writer in self.writers(kind, query_index, reader)
        )
