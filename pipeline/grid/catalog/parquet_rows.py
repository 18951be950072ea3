"""Rows of stac-geoparquet as items, of which only what is looked at becomes objects.

1. `ItemRows` reads a batch of rows by columns: ids, times, footprints and links of all rows in one step each.
2. `usual` tells the rows that are sound as far as columns show. All others are read one by one, as JSON
   documents are (`item_document`), which says what is wrong with them.
3. An item's properties and assets are views of its row (`RowFields`, `RowAssets`). A column is decoded when
   the first row of it is asked for.
4. Rows that agree in all columns that decide have one layout (`item_layout`), and it is named once.
5. Once all rows were offered, `close` lets go of what nobody asks for any more. The rest are columns, and a
   value that all rows share is kept once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from pipeline.files.hrefs import public_href
from pipeline.grid.catalog.asset_choice import has_tiff_suffix
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.item_document import (
    MOST_TEXT,
    item_of,
    per_cent,
    resolved,
)
from pipeline.grid.catalog.item_layout import layout_of
from pipeline.grid.catalog.layout_columns import codes_of, deciding_columns, is_constant
from pipeline.grid.catalog.parquet_values import documents, packed, undictionaried, values_of
from pipeline.grid.catalog.row_checks import TIMES, are_plain_footprints, is_regular
from pipeline.grid.catalog.time_range import item_times

MEMBERS = frozenset(
    ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
)
"""Columns that are members of the item; all others are its properties."""

_ASSET_MEMBERS = ("href", "type", "roles")


class Columns:
    """Columns of a batch by name, decoded when they are asked for."""

    def __init__(self, arrays: Mapping[str, pa.Array], n_rows: int = 0) -> None:
        """`n_rows`: of each array."""
        self.arrays = dict(arrays)
        self._n_rows = n_rows
        self._alike: set[str] = set()
        self.known: dict[str, list[Any]] = {}
        """Those that were decoded."""

    def values(self, name: str) -> list[Any] | None:
        """Values of all rows as JSON has them; None for a null. None: there is no such column."""
        found = self.known.get(name)
        if found is None and name in self.arrays:
            found = values_of(self.arrays[name]) * (self._n_rows if name in self._alike else 1)
            self.known[name] = found
        return found

    def values_at(self, name: str, rows: NDArray[np.int64]) -> list[Any] | None:
        """The same of some rows, which are decoded anew. None: there is no such column, or it is empty."""
        column = self.arrays.get(name)
        if column is None or column.null_count == len(column):
            return None
        if name in self._alike:
            return values_of(column) * len(rows)
        return values_of(column.take(pa.array(rows, pa.int64())))

    def pack(self) -> None:
        """Let go of what was decoded, and keep a value that all rows share once."""
        self.known.clear()
        for name, column in self.arrays.items():
            if len(column) > 1 and is_constant(column):
                self.arrays[name] = column.take(pa.array([0]))
                self._alike.add(name)


class RowFields(Mapping[str, Any]):
    """One row of columns as a JSON object: a null is a member that is missing."""

    __slots__ = ("_always", "_columns", "_row")

    def __init__(self, columns: Columns, row: int, always: tuple[str, ...] = ()) -> None:
        self._columns = columns
        self._row = row
        self._always = always

    def get(self, name: str, default: Any = None) -> Any:
        values = self._columns.known.get(name)
        if values is None:
            values = self._columns.values(name)
            if values is None:
                return default
        found = values[self._row]
        return default if found is None or found != found else found

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None and name not in self._always:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._always or (isinstance(name, str) and self.get(name) is not None)

    def __iter__(self) -> Iterator[str]:
        names = [name for name in self._columns.arrays if self.get(name) is not None]
        return iter([*(name for name in self._always if name not in names), *names])

    def __len__(self) -> int:
        return len(list(iter(self)))


class RowAssets(Mapping[str, Asset]):
    """The assets of one row."""

    __slots__ = ("_base", "_columns", "_row")

    def __init__(self, columns: Mapping[str, AssetColumns], row: int, base: str) -> None:
        self._columns = columns
        self._row = row
        self._base = base

    def __getitem__(self, key: str) -> Asset:
        found = self._columns[key].asset(self._row, self._base)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return (key for key, columns in self._columns.items() if columns.present[self._row])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class AssetColumns:
    """One asset of all rows."""

    def __init__(self, key: str, array: pa.StructArray) -> None:
        names = [field.name for field in array.type]
        arrays = {name: undictionaried(own) for name, own in zip(names, array.flatten(), strict=True)}
        self.key = key
        self.columns = Columns({name: arrays[name] for name in _ASSET_MEMBERS if name in arrays}, len(array))
        fields = {name: own for name, own in arrays.items() if name not in _ASSET_MEMBERS}
        self.fields = Columns(fields, len(array))
        hrefs = pc.fill_null(arrays["href"], "")
        lengths = pc.utf8_length(hrefs).to_numpy(zero_copy_only=False)
        blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(hrefs)), 0).to_numpy(zero_copy_only=False)
        self.present: NDArray[np.bool_] = ~blank & (lengths <= MOST_TEXT)

    def asset(self, row: int, base: str) -> Asset | None:
        """The asset of one row; None: it has none, or one without a file."""
        if not self.present[row]:
            return None
        hrefs = self.columns.values("href") or ()
        kinds = self.columns.values("type")
        roles = self.columns.values("roles")
        kind = None if kinds is None else kinds[row]
        own = None if roles is None else roles[row]
        return Asset(
            key=self.key,
            href=resolved(hrefs[row], base),
            media_type=kind if isinstance(kind, str) else "",
            roles=tuple(role for role in own if isinstance(role, str)) if isinstance(own, list) else (),
            fields=RowFields(self.fields, row),
        )

    def deciding(self) -> Iterator[pa.Array]:
        """Columns that differ where rows are of different layouts."""
        arrays = self.columns.arrays | self.fields.arrays
        yield pa.array(self.present)
        if "type" not in arrays or arrays["type"].null_count:
            yield pa.array([has_tiff_suffix(href or "") for href in self.columns.values("href") or ()])
        rest = {name: arrays[name] for name in arrays if name != "href"}
        yield from deciding_columns(rest, ("type", "roles"))


class ItemRows:
    """A batch of rows."""

    def __init__(self, batch: pa.RecordBatch, place: str) -> None:
        """`place`: path or URL of the file, for hrefs that are relative."""
        self._batch: pa.RecordBatch | None = batch
        self._place = place
        arrays = {name: undictionaried(batch.column(name)) for name in batch.schema.names}
        self._shapes: NDArray[np.object_] | None = None
        self._properties = Columns({})
        self._assets: dict[str, AssetColumns] = {}
        self.usual = np.full(batch.num_rows, fill_value=is_regular(batch))
        if not self.usual.any():
            return
        self._ids = arrays["id"]
        named = arrays.get("collection", pa.nulls(batch.num_rows, pa.string()))
        self._collections = pc.utf8_slice_codeunits(pc.fill_null(named, ""), 0, MOST_TEXT)
        properties = {name: own for name, own in arrays.items() if name not in MEMBERS}
        self._properties = Columns(properties, batch.num_rows)
        keys = [field.name for field in arrays["assets"].type]
        self._assets = {
            key: AssetColumns(key, own) for key, own in zip(keys, arrays["assets"].flatten(), strict=True)
        }
        self._hrefs = pa.array(_self_hrefs(arrays.get("links"), batch.num_rows), pa.string())
        self._wkb = arrays["geometry"]
        self._shapes = footprints_of(self.wkb(np.arange(batch.num_rows)))
        starts, ends, timely = _times(self._properties, batch.num_rows)
        self._starts = pa.array(starts, pa.string())
        self._ends = self._starts if starts == ends else pa.array(ends, pa.string())
        has_file = np.any([own.present for own in self._assets.values()], axis=0)
        lengths = pc.fill_null(pc.utf8_length(self._ids), 0).to_numpy(zero_copy_only=False)
        has_id = (lengths > 0) & (lengths <= MOST_TEXT)
        self.usual &= has_file & has_id & timely & are_plain_footprints(self.geometries())
        self._layout, self._layout_names = self._named_layouts(arrays)

    def close(self) -> None:
        """Let go of what only offers need, and of what was decoded for them; keep the rest in little room."""
        self._batch = self._shapes = None
        self._properties.pack()
        for own in self._assets.values():
            own.columns.pack()
            own.fields.pack()
        if self.usual.any():
            same = self._ends is self._starts
            self._collections, self._starts = packed(self._collections), packed(self._starts)
            self._ends = self._starts if same else packed(self._ends)

    def key(self, row: int) -> tuple[str, str]:
        """Collection and id of a usual row."""
        return self._collections[row].as_py(), self._ids[row].as_py()

    def keys(self) -> list[tuple[str, str]]:
        """The `key` of all rows."""
        return list(zip(self._collections.to_pylist(), self._ids.to_pylist(), strict=True))

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Ids of some usual rows."""
        return list(self.id_column(rows).to_pylist())

    def id_column(self, rows: NDArray[np.int64]) -> pa.Array:
        """Ids of some usual rows, as text."""
        return self._ids.take(pa.array(rows, pa.int64()))

    def collection_column(self, rows: NDArray[np.int64]) -> pa.Array:
        """Collections of some usual rows, as text; empty: none."""
        return undictionaried(self._collections.take(pa.array(rows, pa.int64())))

    def start_column(self, rows: NDArray[np.int64]) -> pa.Array:
        """The `start` of some usual rows, as text or null."""
        return undictionaried(self._starts.take(pa.array(rows, pa.int64())))

    def item(self, row: int) -> Item:
        """The item of a usual row."""
        collection, item_id = self.key(row)
        return Item(
            item_id=item_id,
            collection=collection,
            href=self.href(row),
            geometry=self.geometries([row])[0],
            start=self.start(row),
            end=self.end(row),
            cloud_cover=self.cloud_cover(row),
            properties=self.properties(row),
            assets=RowAssets(self._assets, row, self._hrefs[row].as_py() or self._place),
            layout=self._layout_names[self._layout[row]],
        )

    def href(self, row: int) -> str:
        """`Item.href` of a usual row, and so on for the next ones."""
        href = self._hrefs[row].as_py()
        return public_href(href) if href else ""

    def start(self, row: int) -> str | None:
        found: str | None = self._starts[row].as_py()
        return found

    def end(self, row: int) -> str | None:
        found: str | None = self._ends[row].as_py()
        return found

    def cloud_cover(self, row: int) -> float | None:
        cloud = self._properties.values("eo:cloud_cover")
        return None if cloud is None else per_cent(cloud[row])

    def properties(self, row: int) -> Mapping[str, Any]:
        return RowFields(self._properties, row, ("datetime",))

    def layouts(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Number the layouts of some usual rows, (n,): rows of one number are alike; -1 is like no other."""
        return self._layout[rows]

    def geometries(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> NDArray[np.object_]:
        """Decode the footprints of some rows, or of all, (n,), without heights. None: it cannot be read."""
        if self._shapes is not None:
            return self._shapes if rows is None else self._shapes[rows]
        return footprints_of(self.wkb(np.arange(len(self._wkb)) if rows is None else rows))

    def wkb(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.object_]:
        """Footprints of some rows as they are stored, (n,)."""
        column = self._wkb.take(pa.array(rows, pa.int64()))
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)

    def hrefs(self, key: str, rows: NDArray[np.int64]) -> list[str]:
        """Hrefs of one asset of some usual rows, all of which have it, as in `Asset.href`."""
        hrefs = self._assets[key].columns.values_at("href", rows) or []
        bases = self._hrefs.take(pa.array(rows, pa.int64())).to_pylist()
        return [resolved(href, base or self._place) for href, base in zip(hrefs, bases, strict=True)]

    def said(self, name: str, rows: NDArray[np.int64], *, asset: str | None = None) -> list[Any] | None:
        """What some rows say under a name, of an asset or of the item; None for those that do not.

        None: there is no such column, or it is empty.
        """
        columns = self._properties if asset is None else self._assets[asset].fields
        values = columns.values_at(name, rows)
        return None if values is None else [value if value == value else None for value in values]

    def rest(self, row: int) -> pa.RecordBatch:
        """One row as a batch, to be read as a document."""
        assert self._batch is not None, "all rows were offered"
        return self._batch.slice(row, 1)

    def _named_layouts(self, arrays: Mapping[str, pa.Array]) -> tuple[NDArray[np.int32], list[bytes | None]]:
        """Name the layout of every usual row, each different one once: its number (n,), and the names.
        The last one, at -1, is None."""
        assert self._batch is not None
        found = np.full(len(self.usual), -1, dtype=np.int32)
        rows = np.flatnonzero(self.usual)
        if not rows.size:
            return found, [None]
        columns = [arrays[name] for name in ("collection",) if name in arrays]
        columns += deciding_columns(self._properties.arrays)
        for own in self._assets.values():
            columns += own.deciding()
        differing = [codes_of(column)[rows] for column in columns if not is_constant(column)]
        codes = np.stack([np.zeros(rows.size, dtype=np.int64), *differing], axis=1)
        _, first, group = np.unique(codes, axis=0, return_index=True, return_inverse=True)
        examples = documents(self._batch.take(pa.array(rows[first])))
        names = [layout_of(item_of(document, self._place)) for document in examples]
        different = list(dict.fromkeys(name for name in names if name is not None))
        number = {name: place for place, name in enumerate(different)}
        found[rows] = np.array([-1 if name is None else number[name] for name in names])[group.ravel()]
        return found, [*different, None]


def footprints_of(wkb: NDArray[np.object_]) -> NDArray[np.object_]:
    """Decode footprints (n,), without heights. None: it cannot be read."""
    shapes = shapely.from_wkb(wkb, on_invalid="ignore")
    return np.asarray(shapely.force_2d(shapes) if shapely.has_z(shapes).any() else shapes, dtype=object)


def _times(columns: Columns, n_rows: int) -> tuple[list[str | None], list[str | None], NDArray[np.bool_]]:
    """Read the first and last moment of all rows as `item_times` does, and whether they are sound."""
    kinds = [columns.arrays[name].type for name in TIMES if name in columns.arrays]
    moments = columns.values("datetime")
    starts: list[str | None] = [None] * n_rows
    ends: list[str | None] = [None] * n_rows
    sound = np.ones(n_rows, dtype=np.bool_)
    checked = not any(pa.types.is_string(kind) for kind in kinds)
    for row in range(n_rows):
        moment = None if moments is None else moments[row]
        if checked and moment is not None and moment.endswith("Z"):
            starts[row] = ends[row] = moment
            continue
        try:
            found = item_times(RowFields(columns, row))
        except ValueError:
            sound[row] = False
            continue
        if found is not None:
            starts[row], ends[row] = found
    return starts, ends, sound


def _self_hrefs(links: pa.Array | None, n_rows: int) -> list[str]:
    """Find the URL of each row's `self` link. Empty: it has none."""
    found = [""] * n_rows
    if links is None or not pa.types.is_list(links.type) or not pa.types.is_struct(links.type.value_type):
        return found
    kind = links.type.value_type
    if kind.get_field_index("rel") < 0 or kind.get_field_index("href") < 0:
        return found
    flat = links.flatten()
    rels = values_of(pc.struct_field(flat, "rel"))
    hrefs = values_of(pc.struct_field(flat, "href"))
    for row, rel, href in zip(pc.list_parent_indices(links).to_pylist(), rels, hrefs, strict=True):
        fits = rel == "self" and isinstance(href, str) and "://" in href and len(href) <= MOST_TEXT
        if fits and not found[row]:
            found[row] = href
    return found
