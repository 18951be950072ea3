"""What this process asked of web servers, catalogues and buckets, and what it did not have to ask.

`traffic` is the one tally of a process. Whoever makes a request adds it. `take` gives what came together
since it was last called, so that every request is told once, by whoever is at work then (`stage_times`).

| count | of what |
| --- | --- |
| http_, s3_, catalogue_requests | requests sent: for imagery and its tokens, or for pages of a catalogue |
| ..._bytes | bytes of the bodies that were used, pages unpacked; headers and broken answers are left out |
| ..._retries | those of the requests that were sent because an earlier one was in vain |
| files_, chunks_hits, _misses | datasets that were open already; pieces of a file that were here already |
| store_puts, gets, heads, lists, deletes | requests to a run's bucket; an upload in parts is several puts |
| store_read_bytes, store_written_bytes | bytes of their bodies |
| store_retries | those that were sent because the connection of an earlier one broke |

Not counted: what GDAL reads of local files and keeps decoded, stores in a folder, what boto3 asks for
credentials and regions, and the requests that obstore repeats by itself when a bucket is busy.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

SOURCES = ("http", "s3", "catalogue")
CACHES = ("files", "chunks")
STORE_REQUESTS = ("puts", "gets", "heads", "lists", "deletes")


class Traffic:
    """A tally that threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counter[str]()

    def add(self, name: str, n: int = 1) -> None:
        """Count `n` more of a name."""
        with self._lock:
            self._counts[name] += n

    def add_all(self, counts: Mapping[str, int]) -> None:
        """Count what another process has taken of its own tally."""
        with self._lock:
            self._counts.update(counts)

    def take(self) -> dict[str, int]:
        """Give what was counted since the last call, without names that were not."""
        with self._lock:
            taken = {name: n for name, n in self._counts.items() if n}
            self._counts.clear()
        return taken


traffic = Traffic()
"""That of this process."""
