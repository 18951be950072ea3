"""Which items a search has met, in some 30 bytes each, whatever their names.

1. An item is known by a digest of its collection and id (`digest_of`), and gets the next place, from 0 on.
2. New digests are kept in a dictionary.
3. A table asks for the digests of all its rows at once (`known`). Before, the new ones move into a sorted
   array, once they are an eighth of all. Documents ask one by one, and cost more than their digests anyhow.

A digest has 128 bits, and nobody can choose two names that share one. By chance two of 2,000,000 items do,
with a probability of 1e-26.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

DIGEST_BYTES = 16

LEAST_SORTED = 4096
"""New digests that are not worth sorting yet."""

NOT_TAKEN = -1


def digest_of(collection: str, item_id: str) -> bytes:
    """Name an item in `DIGEST_BYTES`. JSON may hold halves of characters, which are no UTF-8."""
    text = f"{len(collection)} {collection}{item_id}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


class MetItems:
    """The items that were met, by digest, each with what became of it."""

    def __init__(self) -> None:
        self._new: dict[bytes, int] = {}
        self._sorted = np.empty(0, dtype=f"S{DIGEST_BYTES}")
        self._places = np.empty(0, dtype=np.int32)
        self._taken = array("i")
        self._pass_of = array("i")
        self._pass = 0
        self.passed = 0
        """How many different items were met in this pass."""

    def __len__(self) -> int:
        return len(self._taken)

    def begin_pass(self) -> None:
        """Count from 0 again how many are met."""
        self._pass += 1
        self.passed = 0

    def known(self, digests: Iterable[bytes]) -> list[int]:
        """Look up many digests among the sorted ones. Gives places; -1: it is not among these.

        What is added afterwards is not among the sorted ones before this is called again.
        """
        if len(self._new) > max(LEAST_SORTED, len(self._sorted) // 8):
            self._sort()
        return self._among_sorted(digests)

    def place(self, digest: bytes, known: int | None = None) -> int:
        """Look up one digest; -1: it was not met. `known`: what `known` said of it, if somebody has asked."""
        found = self._new.get(digest)
        if found is not None:
            return found
        return self._among_sorted([digest])[0] if known is None else known

    def add(self, digest: bytes) -> int:
        """Meet an item that was not met before, in this pass; returns its place."""
        place = self._new[digest] = len(self._taken)
        self._taken.append(NOT_TAKEN)
        self._pass_of.append(self._pass)
        self.passed += 1
        return place

    def meet_again(self, place: int) -> bool:
        """Meet an item once more; returns whether it is new in this pass."""
        new = self._pass_of[place] != self._pass
        self._pass_of[place] = self._pass
        self.passed += new
        return new

    def take(self, place: int, number: int) -> None:
        """Remember that an item was taken, as which one."""
        self._taken[place] = number

    def taken_as(self, place: int) -> int:
        """The number that an item was taken as, or `NOT_TAKEN`."""
        return self._taken[place]

    def _among_sorted(self, digests: Iterable[bytes]) -> list[int]:
        wanted = np.array(list(digests), dtype=self._sorted.dtype)
        if not len(self._sorted):
            return [-1] * len(wanted)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found: list[int] = np.where(self._sorted[at] == wanted, self._places[at], -1).tolist()
        return found

    def _sort(self) -> None:
        new = np.array(list(self._new), dtype=self._sorted.dtype)
        places = np.fromiter(self._new.values(), dtype=np.int32, count=len(new))
        order = np.argsort(new)
        at = np.searchsorted(self._sorted, new[order])
        self._sorted = np.insert(self._sorted, at, new[order])
        self._places = np.insert(self._places, at, places[order])
        self._new.clear()
