"""Items that a search took, and what many of them say under one name, in one step.

A search may take items by the hundred thousand. What their scenes are made of is looked up for all items of
one table and one layout at once (`ItemGroup`), and an item becomes an object only when somebody asks for it
(`TakenItems`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.grid.catalog.item import Item, ItemFacts
from pipeline.grid.catalog.item_layout import layout_of
from pipeline.grid.catalog.item_offers import RowOffer, whole
from pipeline.grid.catalog.parquet_rows import ItemRows


class TakenItems(Sequence[Item]):
    """Items in order, of which those from tables are read each time they are asked for."""

    def __init__(self, facts: Sequence[ItemFacts]) -> None:
        self.facts = tuple(facts)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> TakenItems: ...

    def __getitem__(self, index: int | slice) -> Item | TakenItems:
        return TakenItems(self.facts[index]) if isinstance(index, slice) else whole(self.facts[index])

    def __len__(self) -> int:
        return len(self.facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TakenItems) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class ItemGroup(Protocol):
    """Items that have the same assets and describe them alike, by columns: a value of each, in order."""

    @property
    def facts(self) -> Sequence[ItemFacts]: ...

    def item(self, place: int) -> Item:
        """One of them, whole."""
        ...

    def item_hrefs(self) -> Sequence[str]:
        """`Item.href` of each."""
        ...

    def geometries(self) -> NDArray[np.object_]:
        """Footprints, (n,)."""
        ...

    def hrefs(self, key: str) -> Sequence[str]:
        """`Asset.href` of an asset that all have."""
        ...

    def of_assets(self, key: str, name: str) -> Sequence[Any] | None:
        """What an asset says under a name. None in it: nothing. None: none of them says anything."""
        ...

    def of_items(self, name: str) -> Sequence[Any] | None:
        """What the items themselves say."""
        ...

    def said(self, key: str, name: str) -> Sequence[Any] | None:
        """What the asset says, else the item, as `Item.field_of`."""
        ...


class ItemList:
    """A group of items that are objects already, such as those that were JSON documents."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.facts: Sequence[Item] = items

    def item(self, place: int) -> Item:
        return self.facts[place]

    def item_hrefs(self) -> list[str]:
        return [item.href for item in self.facts]

    def geometries(self) -> NDArray[np.object_]:
        return np.array([item.geometry for item in self.facts], dtype=object)

    def hrefs(self, key: str) -> list[str]:
        return [item.assets[key].href for item in self.facts]

    def of_assets(self, key: str, name: str) -> list[Any]:
        return [item.assets[key].fields.get(name) for item in self.facts]

    def of_items(self, name: str) -> list[Any]:
        return [item.properties.get(name) for item in self.facts]

    def said(self, key: str, name: str) -> list[Any]:
        return [item.field_of(item.assets[key], name) for item in self.facts]


class RowGroup:
    """A group of rows of one table."""

    def __init__(self, offers: Sequence[RowOffer]) -> None:
        self.facts: Sequence[RowOffer] = offers
        self._rows: ItemRows = offers[0].rows
        self._numbers = [offer.row for offer in offers]

    def item(self, place: int) -> Item:
        return self.facts[place].item()

    def item_hrefs(self) -> list[str]:
        return [self._rows.href(row) for row in self._numbers]

    def geometries(self) -> NDArray[np.object_]:
        return self._rows.geometries(self._numbers)

    def hrefs(self, key: str) -> list[str]:
        return self._rows.hrefs(key, self._numbers)

    def of_assets(self, key: str, name: str) -> list[Any] | None:
        return self._rows.said(name, self._numbers, asset=key)

    def of_items(self, name: str) -> list[Any] | None:
        return self._rows.said(name, self._numbers)

    def said(self, key: str, name: str) -> list[Any] | None:
        own = self.of_assets(key, name)
        if own is not None and None not in own:
            return own
        whole_item = self.of_items(name)
        if own is None or whole_item is None:
            return own if whole_item is None else whole_item
        return [inner if outer is None else outer for outer, inner in zip(own, whole_item, strict=True)]


def facts_of(items: Sequence[Item]) -> Sequence[ItemFacts]:
    """What decides about each item, without reading more of it than was read already."""
    return items.facts if isinstance(items, TakenItems) else items


def groups_of(items: Sequence[Item]) -> Iterator[tuple[list[int], ItemGroup]]:
    """Put items into groups. Yields the numbers of the members, ascending, and the group."""
    facts = facts_of(items)
    members: dict[tuple[object, bytes | int], list[int]] = {}
    for number, one in enumerate(facts):
        if isinstance(one, RowOffer):
            layout = one.rows.layout(one.row)
        else:
            item = whole(one)
            layout = item.layout if item.layout is not None else layout_of(item)
        table = one.rows if isinstance(one, RowOffer) else None
        members.setdefault((table, number if layout is None else layout), []).append(number)
    for numbers in members.values():
        own = [facts[number] for number in numbers]
        rows = [one for one in own if isinstance(one, RowOffer)]
        yield numbers, RowGroup(rows) if rows else ItemList([whole(one) for one in own])
