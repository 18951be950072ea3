"""What became of the items that a search met and did not take: every one is counted, and many are named.

1. Items that were read are named, each with its reason, up to `MOST_NAMED` of a kind: a catalogue may hold a
   country, and the names of what was not wanted must not fill the memory.
2. Items that were told apart without being read, by columns of a table, are counted.
3. `LeftItems.notes` gives the counts in words, and how many of them are named where these are fewer.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pipeline.grid.catalog.found_items import LeftItem

MOST_NAMED = 10_000
"""Items of one kind that are named. Each takes about a kilobyte, most of it its footprint."""

LeftKind = Literal["repeated", "elsewhere", "outside", "other time", "unwanted", "undecided", "other"]
"""Why an item was left; `other`: a reason of its own."""

REASONS: dict[LeftKind, str] = {
    "repeated": "the catalogue gives this item more than once, and the first one counts",
    "elsewhere": "it is of another collection",
    "outside": "it lies outside of the area of interest",
    "other time": "it is of another date than --datetime asks for",
    "unwanted": "it does not fit --stac-filter",
    "undecided": "it lacks a property that --stac-filter asks for",
}

_COUNTED: dict[LeftKind, str] = {
    "repeated": "items that came more than once, used once",
    "elsewhere": "items of other collections",
    "outside": "items outside of the area of interest",
    "other time": "items of other dates than --datetime",
    "unwanted": "items that do not fit --stac-filter",
    "undecided": "items that lack a property of --stac-filter",
    "other": "items left out, each with a reason",
}


class LeftItems:
    """The items that one search left."""

    def __init__(self) -> None:
        self.named: list[LeftItem] = []
        self.counts: Counter[LeftKind] = Counter()
        self._n_named: Counter[LeftKind] = Counter()

    def add(self, kind: LeftKind, item: LeftItem) -> None:
        """Count an item, and name it while there is room."""
        self.counts[kind] += 1
        if self._n_named[kind] < MOST_NAMED:
            self._n_named[kind] += 1
            self.named.append(item)

    def count(self, kind: LeftKind, number: int) -> None:
        """Count items that nobody has read."""
        self.counts[kind] += number

    def notes(self) -> tuple[str, ...]:
        """Say how many items were left, kind by kind."""
        return tuple(
            counted(words, self.counts[kind], self._n_named[kind])
            for kind, words in _COUNTED.items()
            if self.counts[kind]
        )


def counted(words: str, count: int, named: int) -> str:
    """Say how many items were left, and how many of them are named where these are fewer."""
    fewer = f"; {named:,} of them are named in scenes.parquet" if named < count else ""
    return f"{words}: {count:,}{fewer}"
