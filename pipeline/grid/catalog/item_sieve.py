"""Which of the items that a catalogue gives are taken, and what is said of the others.

1. `ItemSieve.add` is offered every item. Of repeats by (collection, id) the first one stays. They are counted
   within one pass over a catalogue; a second pass, or one over another part of the AOI, may repeat.
2. Malformed items, items without a time where dates are asked for, and items with too many clouds, or with
   unknown ones, are left with a reason. Items outside of the AOI or the dates, and those that the filter
   does not want, are counted.
3. `found` puts the taken items in order. The order depends on the items alone and not on the pages that they
   came in, so that the same items make the same plan. `rank_of` keeps what it depends on.

CQL2 is evaluated by the package `cql2`, which a STAC server of its author uses too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import cql2
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.found_items import CatalogSearch, LeftItem
from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_document import ItemError
from pipeline.grid.catalog.item_offers import DocumentOffer, ItemOffer
from pipeline.grid.catalog.time_range import moments, time_range

MOST_ITEMS = 250_000
"""Items that one search may take. Each takes some kilobytes of memory."""

MOST_OFFERED = 2_000_000
"""Items that one search may be offered one by one."""


class ItemSieve:
    """Takes items that fit a search, and remembers what became of the others."""

    def __init__(
        self,
        search: CatalogSearch,
        aoi: Aoi | None,
        *,
        collections: Sequence[str] = (),
        beyond: BaseGeometry | None = None,
    ) -> None:
        """Check the search. `collections`: those wanted; empty: all. `beyond`: ground in degrees whose items
        are not wanted, because an earlier search has found them. Raises InputError.
        """
        self.search = search
        self.collections = tuple(collections)
        self.times = time_range(search.datetime) if search.datetime is not None else None
        self.area = aoi.geometry if aoi is not None else None
        self.beyond = beyond
        self.filter = parsed_filter(search.filter) if search.filter else None
        self.sort = sort_fields(search.sort) if search.sort else ()
        self.counts: Counter[str] = Counter()
        self.left: list[LeftItem] = []
        self._notes: list[str] = []
        self._offered = 0
        self._items: dict[tuple[str, str], Item] = {}
        self._seen: set[tuple[str, str]] = set()
        self._pass: set[tuple[str, str]] = set()
        _require_ranges(search)
        for ground in (self.area, self.beyond):
            if ground is not None:
                shapely.prepare(ground)

    @property
    def met(self) -> int:
        """How many different items were offered."""
        return self.counts["met"]

    @property
    def taken(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether it has taken as many as the search wants."""
        return self.search.limit is not None and self.taken >= self.search.limit

    def choose(self, *collections: str) -> None:
        """Want these collections, where the search names none."""
        self.collections = self.collections or collections

    def note(self, text: str) -> None:
        """Remember what people must know of the catalogue."""
        self._notes.append(text)

    def begin_pass(self) -> None:
        """Begin to count repeats anew."""
        self._pass.clear()

    @property
    def passed(self) -> int:
        """How many different items were offered in this pass."""
        return len(self._pass)

    def add(self, document: object, place: str, *, alone: bool = False, filtered: bool = False) -> bool:
        """Offer an item, as JSON says it. `place` and `alone`: as in `item_of`; the rest as in `offer`."""
        return self.offer(DocumentOffer(document, place, alone=alone), filtered=filtered)

    def offer(self, offer: ItemOffer, *, filtered: bool = False) -> bool:
        """Offer an item; returns whether it is new in this pass.

        `filtered`: the catalogue has applied the CQL2 filter. Raises InputError when there are too many.
        """
        key = offer.key
        if key in self._seen:
            new = key not in self._pass
            self._pass.add(key)
            self.counts[REPEATED] += not new
            self.counts[DIFFERING] += self._differs(offer)
            return new
        self._seen.add(key)
        self._pass.add(key)
        self.counts["met"] += 1
        self._offered += 1
        require_most(self._offered, MOST_OFFERED, "meet")
        try:
            item = offer.item()
        except ItemError as error:
            self.leave(offer.name, str(error))
            return True
        if self._fits(item, offer, filtered=filtered):
            self._items[(item.collection, item.item_id)] = item
            require_most(len(self._items), MOST_ITEMS, "take")
        return True

    def leave(self, item_id: str, reason: str) -> None:
        """Remember an item that cannot be used."""
        self.left.append(LeftItem(item_id=item_id, reason=reason))

    def skip(self, reason: str, count: int = 1) -> None:
        """Count items that were told apart without being looked at one by one."""
        self.counts["met"] += count
        self.counts[reason] += count

    def found(self) -> tuple[Item, ...]:
        """Put the taken items in order, and keep as many as the search wants."""
        ordered = in_order(list(self._items.values()), self.sort)
        return tuple(ordered[: self.search.limit])

    def notes(self) -> tuple[str, ...]:
        """Say in words what was repeated, left and passed over."""
        said = {
            REPEATED: "items that came more than once, used once: {}",
            DIFFERING: "repeated items that differ from the first of their name, which counts: {}",
            CLOSED: "collections not opened, because their extent lies outside of the search: {}",
            ELSEWHERE: "items of other collections: {}",
            OUTSIDE: "items outside of the area of interest: {}",
            OTHER_TIME: "items of other dates than --datetime: {}",
            UNWANTED: "items that do not fit --stac-filter: {}",
            UNDECIDED: "items that lack a property of --stac-filter: {}",
        }
        notes = [*self._notes]
        notes += [words.format(f"{self.counts[kind]:,}") for kind, words in said.items() if self.counts[kind]]
        if self.left:
            notes.append(f"items left out, each with a reason: {len(self.left):,}")
        if self.search.limit is not None and self.taken > self.search.limit:
            notes.append(f"items that fit, behind --max-items: {self.taken - self.search.limit:,}")
        return tuple(notes)

    def _differs(self, offer: ItemOffer) -> bool:
        """Whether a repeat differs from the taken item of its name."""
        if offer.key not in self._items:
            return False
        try:
            return offer.item() != self._items[offer.key]
        except ItemError:
            return True

    def _fits(self, item: Item, offer: ItemOffer, *, filtered: bool) -> bool:
        if self.collections and item.collection not in self.collections:
            self.counts[ELSEWHERE] += 1
            return False
        if self.area is not None:
            meets = self.area.intersects(item.geometry) if offer.meets is None else offer.meets
            if not meets:
                self.counts[OUTSIDE] += 1
                return False
        if self.beyond is not None and self.beyond.intersects(item.geometry):
            return False
        if self.times is not None:
            if item.start is None or item.end is None:
                self.leave(item.item_id, "it has no time, and --datetime asks for one")
                return False
            if not self.times.holds(item.start, item.end):
                self.counts[OTHER_TIME] += 1
                return False
        if self.filter is not None and not filtered and not self._wanted(item, offer.document()):
            return False
        most = self.search.max_cloud
        if most is not None and item.cloud_cover is None:
            self.leave(item.item_id, "it does not say its cloud cover, and --max-cloud asks for it")
            return False
        if most is not None and item.cloud_cover is not None and item.cloud_cover > most:
            self.leave(item.item_id, f"clouds cover {item.cloud_cover:g} % of it, more than {most:g}")
            return False
        return True

    def _wanted(self, item: Item, document: dict[str, Any]) -> bool:
        """Evaluate the filter. What it says of a property that the item lacks is unknown, so not wanted."""
        assert self.filter is not None
        plain = {**document, "geometry": shapely.geometry.mapping(item.geometry)}
        try:
            wanted = bool(self.filter.matches(plain))
        except Exception:  # the package raises no narrower class
            self.counts[UNDECIDED] += 1
            return False
        self.counts[UNWANTED] += not wanted
        return wanted


REPEATED = "repeated"
DIFFERING = "differing"
CLOSED = "closed"
ELSEWHERE = "elsewhere"
OUTSIDE = "outside"
OTHER_TIME = "other time"
UNWANTED = "unwanted"
UNDECIDED = "undecided"
"""What became of an item or collection that was met and not taken; keys of `ItemSieve.counts`."""


def require_most(count: int, most: int, verb: str) -> None:
    """Refuse a search that meets or takes too many items. Raises InputError."""
    if count > most:
        raise InputError(
            f"A search may {verb} at most {most:,} items",
            came=f"{count:,} or more",
            remedy="narrow it by --aoi, --datetime, --max-cloud or --stac-filter, or work in parts",
        )


def _require_ranges(search: CatalogSearch) -> None:
    if search.max_cloud is not None and not 0 <= search.max_cloud <= 100:
        raise InputError(
            "--max-cloud must be per cent", came=f"{search.max_cloud:g}", remedy="give a number from 0 to 100"
        )
    if search.limit is not None and search.limit < 1:
        raise InputError(
            "--max-items must be at least 1", came=str(search.limit), remedy="leave it out for all"
        )


def parsed_filter(text: str) -> Any:
    """Read CQL2, text or JSON, as `cql2.Expr`. Raises InputError."""
    try:
        return cql2.Expr(json.loads(text) if text.lstrip().startswith("{") else text)
    except Exception as error:  # the package raises no narrower class
        raise InputError(
            "--stac-filter must be CQL2, as text or JSON",
            came=f"{text[:200]!r} ({' '.join(str(error).split())[:200]})",
            remedy="for example: gsd < 1 AND platform = 'sentinel-2b'",
        ) from None


def sort_fields(text: str) -> tuple[tuple[str, bool], ...]:
    """Read `--sort` as (field, descending) pairs. Raises InputError."""
    found = []
    for part in text.split(","):
        part = part.strip()
        name = part.lstrip("+-").removeprefix("properties.")
        if not name or len(part) - len(part.lstrip("+-")) > 1:
            raise InputError(
                "--sort must be fields, comma separated",
                came=repr(text),
                remedy="e.g. eo:cloud_cover,-datetime",
            )
        found.append((name, part.startswith("-")))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemRank:
    """What the place of an item in its search depends on."""

    name: tuple[str, str]
    """Collection and id."""
    values: tuple[Any, ...]
    """Of the fields of the sort, then of the time; None: it has none."""


def rank_of(item: Item, fields: Sequence[tuple[str, bool]]) -> ItemRank:
    """Read what `in_rank_order` sorts by."""
    values = tuple(_value_of(name)(item) for name, _ in _all_fields(fields))
    return ItemRank(name=(item.collection, item.item_id), values=values)


def in_rank_order(ranks: Sequence[ItemRank], fields: Sequence[tuple[str, bool]]) -> list[int]:
    """Sort by fields, then newest first, then by collection and id; without a value last. Returns numbers."""
    ordered = sorted(range(len(ranks)), key=lambda number: ranks[number].name)
    for place, (_, descending) in reversed(list(enumerate(_all_fields(fields)))):
        present = [number for number in ordered if ranks[number].values[place] is not None]
        absent = [number for number in ordered if ranks[number].values[place] is None]
        present.sort(key=lambda number: ranks[number].values[place], reverse=descending)
        ordered = present + absent
    return ordered


def in_order(items: Sequence[Item], fields: Sequence[tuple[str, bool]]) -> list[Item]:
    """Sort items as `in_rank_order` says."""
    return [items[number] for number in in_rank_order([rank_of(item, fields) for item in items], fields)]


def _all_fields(fields: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return [*fields, ("datetime", True)]


def _value_of(name: str) -> Callable[[Item], Any]:
    """Read one field so that any two values can be compared: numbers, then times, then other text."""

    def value(item: Item) -> tuple[int, Any] | None:
        found: Any
        if name in ("id", "collection"):
            found = item.item_id if name == "id" else item.collection
        elif name == "datetime":
            return None if item.start is None else (1, datetime.fromisoformat(item.start))
        else:
            found = item.properties.get(name)
        if isinstance(found, bool | int | float):
            return 0, found
        if not isinstance(found, str):
            return None
        try:
            return 1, moments(found)[0]
        except ValueError:
            return 2, found

    return value
