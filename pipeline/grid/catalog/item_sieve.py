"""Which of the items that a catalogue gives are taken, and what is said of the others.

1. `ItemSieve.add` is offered every item. Of repeats by (collection, id) the first one stays. They are counted
   within one pass over a catalogue; a second pass, or one over another part of the AOI, may repeat.
2. Whatever is not taken is left with a reason (left_items.py): malformed items, those outside of the AOI or
   the dates, those that the filter does not want, those with too many clouds or with unknown ones.
3. `found` puts the taken items in order (item_order.py). The order depends on the items alone and not on the
   pages that they came in, so that the same items make the same plan.

CQL2 is evaluated by the package `cql2`, which a STAC server of its author uses too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cql2
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.found_items import CatalogSearch, LeftItem
from pipeline.grid.catalog.item import ItemFacts
from pipeline.grid.catalog.item_document import ItemError
from pipeline.grid.catalog.item_groups import GrowingItems, TakenItems
from pipeline.grid.catalog.item_offers import DocumentOffer, ItemOffer, whole
from pipeline.grid.catalog.item_order import order_of, sort_fields_of, unsaid_fields
from pipeline.grid.catalog.left_items import MOST_NAMED, REASONS, LeftItems, LeftKind, counted
from pipeline.grid.catalog.met_items import NOT_TAKEN, MetItems, digest_of
from pipeline.grid.catalog.time_range import time_range

MOST_ITEMS = 250_000
"""Items that one search may take. Each takes under a kilobyte of memory, and some if it came as JSON."""

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
        self.sort = sort_fields_of(search)
        self.met = 0
        """How many different items were offered, or told apart without being read."""
        self._left = LeftItems()
        self._differing = 0
        self._closed = 0
        self._notes: list[str] = []
        self._offered = 0
        self._items = GrowingItems()
        self._sorted: TakenItems | None = None
        self._met = MetItems()
        _require_ranges(search)
        for ground in (self.area, self.beyond):
            if ground is not None:
                shapely.prepare(ground)

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

    def met_before(self, keys: Sequence[tuple[str, str]]) -> list[tuple[bytes, int]]:
        """What is known of offers that are made next, in one step: `RowOffer.met` of each key."""
        digests = [digest_of(*key) for key in keys]
        return list(zip(digests, self._met.known(digests), strict=True))

    def begin_pass(self) -> None:
        """Begin to count repeats anew."""
        self._met.begin_pass()

    @property
    def passed(self) -> int:
        """How many different items were offered in this pass."""
        return self._met.passed

    def add(self, document: object, place: str, *, alone: bool = False, filtered: bool = False) -> bool:
        """Offer an item, as JSON says it. `place` and `alone`: as in `item_of`; the rest as in `offer`."""
        return self.offer(DocumentOffer(document, place, alone=alone), filtered=filtered)

    def offer(self, offer: ItemOffer, *, filtered: bool = False) -> bool:
        """Offer an item; returns whether it is new in this pass.

        `filtered`: the catalogue has applied the CQL2 filter. Raises InputError when there are too many.
        """
        digest = offer.digest
        place = self._met.place(digest, offer.known)
        if place >= 0:
            return self._again(offer, place)
        place = self._met.add(digest)
        self.met += 1
        self._offered += 1
        require_most(self._offered, MOST_OFFERED, "meet")
        try:
            item = offer.facts()
        except ItemError as error:
            self.leave(offer.name, str(error))
            return True
        if self._fits(item, offer, filtered=filtered):
            self._met.take(place, self._items.add(item))
            self._sorted = None
            require_most(len(self._items), MOST_ITEMS, "take")
        return True

    def leave(self, item_id: str, reason: str) -> None:
        """Remember an item that cannot be used."""
        self._left.add("other", LeftItem(item_id=item_id, reason=reason))

    def skip(self, kind: LeftKind, count: int = 1) -> None:
        """Count items that were told apart without being looked at one by one."""
        self.met += count
        self._left.count(kind, count)

    def close(self) -> None:
        """Count a collection that was not opened, because its extent lies outside of the search."""
        self._closed += 1

    def found(self) -> TakenItems:
        """Put the taken items in order, and keep as many as the search wants."""
        return self._in_order()[: self.search.limit]

    @property
    def left(self) -> tuple[LeftItem, ...]:
        """The items that were met and not taken, and those behind the limit, as far as they are named."""
        return (*self._left.named, *(LeftItem.of(item, self._behind_words()) for item in self._behind()))

    def notes(self) -> tuple[str, ...]:
        """Say in words what was repeated, left and passed over."""
        notes = [*self._notes, *self._left.notes()]
        if self._differing:
            notes.append(
                f"repeated items that differ from the first of their name, which counts: {self._differing:,}"
            )
        if self._closed:
            notes.append(
                f"collections not opened, because their extent lies outside of the search: {self._closed:,}"
            )
        limit = self.search.limit
        if limit is not None and self.taken > limit:
            notes.append(
                counted("items that fit, behind --max-items", self.taken - limit, len(self._behind()))
            )
        absent = unsaid_fields(self._in_order(), self.sort) if self.taken else []
        if absent:
            notes.append(f"--sort by {', '.join(absent)} changes nothing: no item says it")
        return tuple(notes)

    def _in_order(self) -> TakenItems:
        if self._sorted is None:
            items = self._items.listed()
            self._sorted = items.take(order_of(items, self.sort))
        return self._sorted

    def _behind(self) -> list[ItemFacts]:
        """The items behind the limit that are named."""
        limit = self.search.limit
        return [] if limit is None else list(self._in_order()[limit : limit + MOST_NAMED].all_facts())

    def _behind_words(self) -> str:
        order = f"by --sort {self.search.sort}" if self.search.sort else "newest first"
        return f"it fits, and lies behind the first {self.search.limit:,} of --max-items, {order}"

    def _again(self, offer: ItemOffer, place: int) -> bool:
        """Note an item whose name came before; returns whether it is new in this pass."""
        new = self._met.meet_again(place)
        differs = self._differs(offer, self._met.taken_as(place))
        self._differing += differs
        if not new:
            more = ", though this one differs from it" if differs else ""
            self._left.add(
                "repeated",
                LeftItem(item_id=offer.name, collection=offer.key[0], reason=REASONS["repeated"] + more),
            )
        return new

    def _differs(self, offer: ItemOffer, number: int) -> bool:
        """Whether a repeat differs from the item of its name, taken as `number`."""
        if number == NOT_TAKEN:
            return False
        try:
            return offer.item() != whole(self._items.facts(number))
        except ItemError:
            return True

    def _fits(self, item: ItemFacts, offer: ItemOffer, *, filtered: bool) -> bool:
        """Whether an item is wanted; if not, it is left. Nothing is said of what lies `beyond`."""
        if self.beyond is not None and self.beyond.intersects(item.geometry):
            return False
        found = self._misfit(item, offer, filtered=filtered)
        if found is not None:
            kind, reason = found
            self._left.add(kind, LeftItem.of(item, reason))
        return found is None

    def _misfit(self, item: ItemFacts, offer: ItemOffer, *, filtered: bool) -> tuple[LeftKind, str] | None:
        """Say of which kind an item is that is not wanted, and why. None: it is wanted."""
        kind: LeftKind | None = None
        if self.collections and item.collection not in self.collections:
            kind = "elsewhere"
        elif self.area is not None and not (
            self.area.intersects(item.geometry) if offer.meets is None else offer.meets
        ):
            kind = "outside"
        elif self.times is not None and (item.start is None or item.end is None):
            return "other", "it has no time, and --datetime asks for one"
        elif self.times is not None and not self.times.holds(item.start or "", item.end or ""):
            kind = "other time"
        elif self.filter is not None and not filtered:
            kind = self._unwanted(item, offer.document())
        if kind is not None:
            return kind, REASONS[kind]
        most = self.search.max_cloud
        if most is None or (item.cloud_cover is not None and item.cloud_cover <= most):
            return None
        if item.cloud_cover is None:
            return "other", "it does not say its cloud cover, and --max-cloud asks for it"
        return "other", f"clouds cover {item.cloud_cover:g} % of it, more than {most:g}"

    def _unwanted(self, item: ItemFacts, document: dict[str, Any]) -> LeftKind | None:
        """Evaluate the filter. What it says of a property that the item lacks is unknown, so not wanted."""
        assert self.filter is not None
        plain = {**document, "geometry": shapely.geometry.mapping(item.geometry)}
        try:
            return None if self.filter.matches(plain) else "unwanted"
        except Exception:  # the package raises no narrower class
            return "undecided"


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
