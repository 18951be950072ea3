"""Items as a catalogue offers them to the sieve: JSON documents, or rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from shapely.geometry.base import BaseGeometry

from pipeline.grid.catalog.item import Item, ItemFacts
from pipeline.grid.catalog.item_document import item_name, item_of
from pipeline.grid.catalog.met_items import digest_of
from pipeline.grid.catalog.parquet_rows import ItemRows
from pipeline.grid.catalog.parquet_values import documents


class ItemOffer(Protocol):
    """One item that was met."""

    @property
    def key(self) -> tuple[str, str]:
        """Collection and id; of an item without an id, empty and what stands for all that it says."""
        ...

    @property
    def name(self) -> str:
        """Its id, for people. Empty: it has none."""
        ...

    @property
    def meets(self) -> bool | None:
        """Whether its footprint meets the AOI. None: nobody has looked."""
        ...

    @property
    def digest(self) -> bytes:
        """The `met_items.digest_of` its key."""
        ...

    @property
    def known(self) -> int | None:
        """What `MetItems.known` said of it. None: nobody has asked."""
        ...

    def facts(self) -> ItemFacts:
        """Read what decides about it. Raises ItemError."""
        ...

    def item(self) -> Item:
        """Read it. Raises ItemError."""
        ...

    def document(self) -> dict[str, Any]:
        """All that it says, as JSON."""
        ...


class DocumentOffer:
    """An item as JSON says it. `place` and `alone`: as in `item_of`."""

    __slots__ = ("_alone", "_document", "_place", "key")

    meets: bool | None = None
    known: int | None = None

    def __init__(self, document: object, place: str, *, alone: bool = False) -> None:
        self._document = document
        self._place = place
        self._alone = alone
        self.key = _key(document)

    @property
    def digest(self) -> bytes:
        return digest_of(*self.key)

    @property
    def name(self) -> str:
        return item_name(self._document)

    def facts(self) -> Item:
        return self.item()

    def item(self) -> Item:
        return item_of(self._document, self._place, alone=self._alone)

    def document(self) -> dict[str, Any]:
        assert isinstance(self._document, dict), "it has been read"
        return self._document


class RowOffer:
    """A usual row of a table. It tells what decides about an item (`ItemFacts`) without becoming one."""

    __slots__ = ("_digest", "key", "known", "meets", "row", "rows")

    def __init__(
        self,
        rows: ItemRows,
        row: int,
        *,
        meets: bool | None = None,
        key: tuple[str, str] | None = None,
        met: tuple[bytes, int] | None = None,
    ) -> None:
        """`key`, and `met` (digest, and what is known of it), where somebody has them already."""
        self.rows = rows
        self.row = row
        self.meets = meets
        self.key = key or rows.key(row)
        self._digest = None if met is None else met[0]
        self.known = None if met is None else met[1]

    @property
    def digest(self) -> bytes:
        return digest_of(*self.key) if self._digest is None else self._digest

    @property
    def name(self) -> str:
        return self.key[1]

    def facts(self) -> RowOffer:
        return self

    def item(self) -> Item:
        return self.rows.item(self.row)

    def document(self) -> dict[str, Any]:
        return next(documents(self.rows.rest(self.row)))

    @property
    def item_id(self) -> str:
        return self.key[1]

    @property
    def collection(self) -> str:
        return self.key[0]

    @property
    def geometry(self) -> BaseGeometry:
        found: BaseGeometry = self.rows.geometries([self.row])[0]
        return found

    @property
    def start(self) -> str | None:
        return self.rows.start(self.row)

    @property
    def end(self) -> str | None:
        return self.rows.end(self.row)

    @property
    def cloud_cover(self) -> float | None:
        return self.rows.cloud_cover(self.row)

    @property
    def properties(self) -> Mapping[str, Any]:
        return self.rows.properties(self.row)

    @property
    def wkb(self) -> bytes:
        return bytes(self.rows.wkb([self.row])[0])


def whole(facts: ItemFacts) -> Item:
    """The item of which these are facts."""
    if isinstance(facts, Item):
        return facts
    assert isinstance(facts, RowOffer)
    return facts.item()


def _key(document: object) -> tuple[str, str]:
    """Name an item: by collection and id, or by all that it says where it has no id."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        try:
            return "", f"\0{hash(repr(document))}"
        except RecursionError:
            return "", "\0"
    collection = document.get("collection")
    return collection if isinstance(collection, str) else "", document["id"]
