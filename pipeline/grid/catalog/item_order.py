"""In which order a search gives its items: by the fields of `--sort`, then newest first, then by name.

Every key of the order becomes an array of numbers, one for each item, so that very many items are sorted
without an object for each. An item without a value comes last, whatever the direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.grid.catalog.found_items import CatalogSearch
from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_groups import TakenItems
from pipeline.grid.catalog.parquet_rows import ItemRows
from pipeline.grid.catalog.time_range import moments
from pipeline.grid.paused_collector import paused_collector

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def sort_fields_of(search: CatalogSearch) -> tuple[tuple[str, bool], ...]:
    """The `sort_fields` of a search; none where it does not say."""
    return sort_fields(search.sort) if search.sort else ()


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


@paused_collector()
def order_of(items: TakenItems, fields: Sequence[tuple[str, bool]]) -> NDArray[np.int64]:
    """Sort by fields, then newest first, then by collection and id; without a value last.

    Returns the numbers of the items, (n,). Equals keep their order.
    """
    if not len(items):
        return np.empty(0, dtype=np.int64)
    # of `lexsort` the last key counts most
    keys: list[NDArray[Any]] = [_ranked_ids(items), _ranked_collections(items)]
    for name, descending in reversed([*fields, ("datetime", True)]):
        codes, present = _times(items) if name == "datetime" else _values(items, name)
        keys += [-codes if descending else codes, ~present]
    return np.asarray(np.lexsort(keys), dtype=np.int64)


def unsaid_fields(items: TakenItems, fields: Sequence[tuple[str, bool]]) -> list[str]:
    """Which fields no item has a value of that can be sorted by."""
    return [
        name
        for name, _ in fields
        if not (_times(items) if name == "datetime" else _values(items, name))[1].any()
    ]


def comparable(value: Any) -> tuple[int, Any] | None:
    """Read a value so that any two can be compared: numbers, then times, then text. None: it has no place."""
    if isinstance(value, bool | int | float):
        return 0, value
    if not isinstance(value, str):
        return None
    try:
        return 1, moments(value)[0]
    except ValueError:
        return 2, value


def _ranked_ids(items: TakenItems) -> NDArray[np.int32]:
    """Rank ids as text, (n,). Items of one id rank anyhow: they are of several collections."""
    numbers, ids = _texts(items, ItemRows.id_column, lambda item: item.item_id)
    rank = np.empty(len(items), dtype=np.int32)
    rank[numbers[pc.array_sort_indices(ids).to_numpy()]] = np.arange(len(items))
    return rank


def _ranked_collections(items: TakenItems) -> NDArray[np.int32]:
    """Rank collections as text, (n,)."""
    numbers, names = _texts(items, ItemRows.collection_column, lambda item: item.collection)
    coded = names.combine_chunks().dictionary_encode()
    rank = np.empty(len(coded.dictionary), dtype=np.int32)
    rank[pc.array_sort_indices(coded.dictionary).to_numpy()] = np.arange(len(rank))
    found = np.empty(len(items), dtype=np.int32)
    found[numbers] = rank[coded.indices.to_numpy()]
    return found


def _times(items: TakenItems) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds of the first moments, (n,), 0 where there is none; and where there is one, (n,)."""
    numbers, texts = _texts(items, ItemRows.start_column, lambda item: item.start)
    coded = texts.combine_chunks().dictionary_encode(null_encoding="encode")
    known = [
        None if text is None else (datetime.fromisoformat(text.decode()) - _EPOCH) // _MICROSECOND
        for text in coded.dictionary.to_pylist()
    ]
    codes = coded.indices.to_numpy()
    found = np.empty(len(items), dtype=np.int64)
    found[numbers] = np.array([moment or 0 for moment in known], dtype=np.int64)[codes]
    present = np.empty(len(items), dtype=np.bool_)
    present[numbers] = np.array([moment is not None for moment in known], dtype=np.bool_)[codes]
    return found, present


def _values(items: TakenItems, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rank what items say under a name, (n,), and where they say something, (n,).

    Only different values are kept as objects.
    """
    seen: dict[tuple[int, Any] | None, int] = {None: 0}
    codes = np.empty(len(items), dtype=np.int64)
    for own, values in _said(items, name):
        codes[own] = [seen.setdefault(comparable(value), len(seen)) for value in values]
    order = sorted(value for value in seen if value is not None)
    rank = np.zeros(len(seen), dtype=np.int64)
    rank[[seen[value] for value in order]] = np.arange(len(order))
    return rank[codes], codes > 0


def _said(items: TakenItems, name: str) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
    """What items say under a name: the numbers of some items, and a value of each."""
    member = {"id": "item_id", "collection": "collection"}.get(name)
    for own, holder, rows in items.parts():
        if not isinstance(holder, ItemRows):
            chosen = [holder[row] for row in rows.tolist()]
            yield own, [getattr(one, member) if member else one.properties.get(name) for one in chosen]
        elif member:
            column = holder.id_column(rows) if name == "id" else holder.collection_column(rows)
            yield own, column.to_pylist()
        else:
            yield own, holder.said(name, rows) or [None] * len(rows)


def _texts(
    items: TakenItems,
    of_rows: Callable[[ItemRows, NDArray[np.int64]], pa.Array],
    of_item: Callable[[Item], str | None],
) -> tuple[NDArray[np.int64], pa.ChunkedArray]:
    """Read a text of each item as UTF-8, whose order is that of its characters: numbers (n,), and texts."""
    numbers = []
    texts = []
    for own, holder, rows in items.parts():
        numbers.append(own)
        if isinstance(holder, ItemRows):
            texts.append(of_rows(holder, rows).cast(pa.binary()))
        else:
            texts.append(pa.array([_bytes(of_item(holder[row])) for row in rows.tolist()], pa.binary()))
    return np.concatenate(numbers), pa.chunked_array(texts)


def _bytes(text: str | None) -> bytes | None:
    """JSON may hold halves of characters, which are no UTF-8."""
    return None if text is None else text.encode("utf-8", "surrogatepass")
