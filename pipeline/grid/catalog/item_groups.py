"""Items that a search took, and what many of them say under one name, in one step.

A search may take items by the hundred thousand. `TakenItems` knows them as rows of tables, and an item
becomes an object only when somebody asks for it. What their scenes are made of is looked up for all items of
one table and one layout at once (`ItemGroup`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.grid.catalog.item import Item, ItemFacts
from pipeline.grid.catalog.item_layout import layout_of
from pipeline.grid.catalog.item_offers import RowOffer, whole
from pipeline.grid.catalog.parquet_rows import ItemRows


class TakenItems(Sequence[Item]):
    """Items in order, of which those from tables are read each time they are asked for."""

    def __init__(
        self,
        tables: Sequence[ItemRows],
        items: Sequence[Item],
        table: NDArray[np.int32],
        row: NDArray[np.int64],
    ) -> None:
        """`table` and `row`, (n,): which of the tables has an item, and in which row; -1, and the number of
        one of `items`, for those that are objects."""
        self.tables = tuple(tables)
        self.items = tuple(items)
        self.table = table
        self.row = row

    @classmethod
    def of(cls, facts: Iterable[ItemFacts]) -> TakenItems:
        """List items. What is a list already stays it."""
        if isinstance(facts, TakenItems):
            return facts
        growing = GrowingItems()
        for one in facts:
            growing.add(one)
        return growing.listed()

    @classmethod
    def joined(cls, one: TakenItems, other: TakenItems) -> TakenItems:
        """Put two lists one behind the other."""
        own = other.table < 0
        return cls(
            (*one.tables, *other.tables),
            (*one.items, *other.items),
            np.concatenate([one.table, np.where(own, -1, other.table + len(one.tables)).astype(np.int32)]),
            np.concatenate([one.row, np.where(own, other.row + len(one.items), other.row)]),
        )

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> TakenItems: ...

    def __getitem__(self, index: int | slice) -> Item | TakenItems:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return whole(self.facts(index))

    def __len__(self) -> int:
        return len(self.row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TakenItems) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: NDArray[np.int64]) -> TakenItems:
        """Keep some, in this order."""
        return TakenItems(self.tables, self.items, self.table[numbers], self.row[numbers])

    def facts(self, number: int) -> ItemFacts:
        """What decides about one item, without reading more of it."""
        table = int(self.table[number])
        row = int(self.row[number])
        return self.items[row] if table < 0 else RowOffer(self.tables[table], row)

    def parts(self) -> Iterator[tuple[NDArray[np.int64], ItemRows | Sequence[Item], NDArray[np.int64]]]:
        """Divide them by who has them: numbers of some (k,), a table or `items`, and their rows (k,)."""
        for which in np.unique(self.table).tolist():
            own = np.flatnonzero(self.table == which)
            yield own, self.items if which < 0 else self.tables[which], self.row[own]

    def all_facts(self) -> Iterator[ItemFacts]:
        """`facts` of each, in order."""
        return map(self.facts, range(len(self)))

    def wkb(self, numbers: NDArray[np.int64]) -> NDArray[np.object_]:
        """Footprints of some as they are stored, (n,)."""
        found = np.empty(len(numbers), dtype=object)
        table = self.table[numbers]
        row = self.row[numbers]
        for which in np.unique(table).tolist():
            own = np.flatnonzero(table == which)
            if which < 0:
                found[own] = [self.items[place].wkb for place in row[own].tolist()]
            else:
                found[own] = self.tables[which].wkb(row[own])
        return found


class GrowingItems:
    """Items that are taken one by one; those from tables are kept as numbers. They are numbered from 0 on."""

    def __init__(self) -> None:
        self._tables: list[ItemRows] = []
        self._items: list[Item] = []
        self._table = array("i")
        self._row = array("q")

    def __len__(self) -> int:
        return len(self._row)

    def add(self, facts: ItemFacts) -> int:
        """Take an item; returns its number. Rows of one table come one after the other."""
        if isinstance(facts, RowOffer):
            if not self._tables or self._tables[-1] is not facts.rows:
                self._tables.append(facts.rows)
            self._table.append(len(self._tables) - 1)
            self._row.append(facts.row)
        else:
            self._table.append(-1)
            self._row.append(len(self._items))
            self._items.append(whole(facts))
        return len(self._row) - 1

    def facts(self, number: int) -> ItemFacts:
        """What decides about one item."""
        table = self._table[number]
        row = self._row[number]
        return self._items[row] if table < 0 else RowOffer(self._tables[table], row)

    def listed(self) -> TakenItems:
        """All of them so far, in the order in which they were taken."""
        table = np.array(self._table, dtype=np.int32)
        return TakenItems(self._tables, self._items, table, np.array(self._row, dtype=np.int64))


class ItemGroup(Protocol):
    """Items that have the same assets and describe them alike, by columns: a value of each, in order."""

    def __len__(self) -> int: ...

    def part(self, places: NDArray[np.int64]) -> ItemGroup:
        """Some of them, as a group."""
        ...

    def facts(self, place: int) -> ItemFacts:
        """What decides about one of them."""
        ...

    def item(self, place: int) -> Item:
        """One of them, whole."""
        ...

    def ids(self) -> Sequence[str]:
        """`Item.item_id` of each."""
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
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def part(self, places: NDArray[np.int64]) -> ItemList:
        return ItemList([self._items[place] for place in places.tolist()])

    def facts(self, place: int) -> Item:
        return self._items[place]

    def item(self, place: int) -> Item:
        return self._items[place]

    def ids(self) -> list[str]:
        return [item.item_id for item in self._items]

    def item_hrefs(self) -> list[str]:
        return [item.href for item in self._items]

    def geometries(self) -> NDArray[np.object_]:
        return np.array([item.geometry for item in self._items], dtype=object)

    def hrefs(self, key: str) -> list[str]:
        return [item.assets[key].href for item in self._items]

    def of_assets(self, key: str, name: str) -> list[Any]:
        return [item.assets[key].fields.get(name) for item in self._items]

    def of_items(self, name: str) -> list[Any]:
        return [item.properties.get(name) for item in self._items]

    def said(self, key: str, name: str) -> list[Any]:
        return [item.field_of(item.assets[key], name) for item in self._items]


class RowGroup:
    """A group of rows of one table."""

    def __init__(self, rows: ItemRows, numbers: NDArray[np.int64]) -> None:
        self._rows = rows
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def part(self, places: NDArray[np.int64]) -> RowGroup:
        return RowGroup(self._rows, self._numbers[places])

    def facts(self, place: int) -> RowOffer:
        return RowOffer(self._rows, int(self._numbers[place]))

    def item(self, place: int) -> Item:
        return self._rows.item(int(self._numbers[place]))

    def ids(self) -> list[str]:
        return self._rows.ids(self._numbers)

    def item_hrefs(self) -> list[str]:
        return [self._rows.href(row) for row in self._numbers.tolist()]

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


def groups_of(items: TakenItems) -> Iterator[tuple[NDArray[np.int64], ItemGroup]]:
    """Put items into groups. Yields the numbers of the members, ascending, and the group."""
    for number, table in enumerate(items.tables):
        own = np.flatnonzero(items.table == number)
        if own.size:
            for members in _alike(own, table.layouts(items.row[own])):
                yield members, RowGroup(table, items.row[members])
    kinds: dict[bytes | int, list[int]] = {}
    for number in np.flatnonzero(items.table < 0).tolist():
        item = items.items[items.row[number]]
        layout = item.layout if item.layout is not None else layout_of(item)
        kinds.setdefault(number if layout is None else layout, []).append(number)
    for numbers in kinds.values():
        yield np.array(numbers), ItemList([items.items[items.row[number]] for number in numbers])


def _alike(numbers: NDArray[np.int64], layouts: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """Put together what has one layout; -1 is like no other. In the order of the first members."""
    found = [numbers[layouts == layout] for layout in np.unique(layouts[layouts >= 0]).tolist()]
    found += np.split(numbers[layouts < 0], np.arange(1, np.count_nonzero(layouts < 0)))
    return sorted((own for own in found if own.size), key=lambda own: int(own[0]))
