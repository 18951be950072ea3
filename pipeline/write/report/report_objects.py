"""All objects of a run in one pass: counts, histograms and a few names, in bounded memory.

1. `read_objects` streams narrow columns of instances/*.parquet. Rows of objects in several parts are set
   aside and joined at the end (`_joined`).
2. `_Pass.add` counts objects per query and adds them to histograms with fixed bins.
3. It keeps the first rows of several orders (`FirstRows`): largest, lowest score, and per query a random
   sample (`keyed_hash`).
4. `choose` makes the groups of chips from these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.write.report.report_charts import AREA_EDGES, SCORE_EDGES, count_bins
from pipeline.write.report.report_rows import batches, instance_files
from pipeline.write.run_dir import RunDir

MAX_OUTLINES = 20_000
"""Most objects outlined on the overview; when there are more, the largest ones are."""

MAX_DOUBTFUL = 2_000
"""Most objects that the map holds for their low score, beside the outlined ones."""

N_RANDOM = 12
N_LOWEST = 6
N_LARGEST = 6
"""Chips per group."""

_COLUMNS = ("instance_id", "query_index", "score", "area_px", "area_m2", "part_no", "n_parts")

Key = tuple[int, int]
"""(query_index, instance_id): the name of an object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRows:
    """Numbers of some rows or objects; columns (n,)."""

    instance_id: NDArray[np.uint64]
    query_index: NDArray[np.int64]
    score: NDArray[np.float64]
    area_px: NDArray[np.int64]
    area_m2: NDArray[np.float64]
    """Area in square metres; NaN without CRS."""

    def __len__(self) -> int:
        return len(self.instance_id)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> ObjectRows:
        """Rows by mask or position."""
        return ObjectRows(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectNames:
    """Names of some objects; columns (n,)."""

    query_index: NDArray[np.int64]
    instance_id: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.instance_id)

    def hold(self, query_index: NDArray[np.int64], instance_id: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which of the given (m,) names are among these, (m,)."""
        held = np.zeros(len(instance_id), dtype=np.bool_)
        for query in np.unique(self.query_index):
            held |= (query_index == query) & np.isin(instance_id, self.instance_id[self.query_index == query])
        return held


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaCounts:
    """Histogram of areas, and the extent that its picture should show."""

    counts: NDArray[np.int64]
    """(n_queries, bins of AREA_EDGES)."""
    smallest: float
    """Smallest positive area; infinity = none."""
    largest: float
    """0 = no positive area."""
    n_unknown: int
    """Objects without an area in this unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSummary:
    """What the report says about all objects."""

    n_per_query: NDArray[np.int64]
    """(n_queries,)."""
    score_counts: NDArray[np.int64]
    """(n_queries, bins of SCORE_EDGES)."""
    px: AreaCounts
    m2: AreaCounts
    outlined: ObjectNames | None
    """The MAX_OUTLINES largest objects. None: there are no more than that."""
    doubtful: ObjectNames
    """The MAX_DOUBTFUL objects with the lowest scores."""
    groups: dict[str, list[Key]]
    """Group -> objects to show as chips, in order."""

    def __len__(self) -> int:
        return int(self.n_per_query.sum())

    @property
    def mapped(self) -> ObjectNames | None:
        """Those that the map holds: the largest, and those with the lowest scores. None: all."""
        if self.outlined is None:
            return None
        return ObjectNames(
            query_index=np.concatenate([self.outlined.query_index, self.doubtful.query_index]),
            instance_id=np.concatenate([self.outlined.instance_id, self.doubtful.instance_id]),
        )


class FirstRows:
    """The `n` rows that come first by some columns, from any number of batches in any order.

    Ties go by the object's name, so neither order nor number of files matters.
    """

    def __init__(self, n: int, *, width: int) -> None:
        """Keep no rows yet; `width` columns make a row."""
        self._n = n
        self.columns: list[NDArray[np.generic]] = [np.zeros(0, dtype=np.int64) for _ in range(width)]
        """Columns of the rows so far, in order."""

    def add(self, *columns: NDArray[np.generic]) -> None:
        """Offer rows as (m,) columns, the deciding one first. All columns together must tell any two rows
        apart."""
        held = self.columns
        if len(held[0]) == self._n:
            near = columns[0] <= held[0][-1]
            columns = tuple(column[near] for column in columns)
        if not len(columns[0]):
            return
        joined = [np.concatenate([a, b]) if len(a) else b for a, b in zip(held, columns, strict=True)]
        order = np.lexsort(joined[::-1])[: self._n]
        self.columns = [column[order] for column in joined]


def read_objects(run_dir: RunDir, *, n_queries: int, seed: int) -> ObjectSummary:
    """One pass over the instances of a run; `seed` decides the random sample.

    Memory in bytes: 40 per row of one batch (32,768 rows), several times over while it is counted; 64 x
    MAX_OUTLINES for the overview, 40 x MAX_DOUBTFUL for the map; about 3,000 per query; 44 per row of objects
    in several parts. Only an object of more than `[stitch] split_tiles` tiles (10,000) has those, one per
    square of `part_tiles` (64) tiles.

    Raises InputError when there are no instance files or they are of more than `n_queries` queries.
    """
    summed = _Pass(n_queries, seed)
    aside: list[tuple[ObjectRows, NDArray[np.int32]]] = []
    for rows, part_no, n_parts in _row_batches(run_dir, n_queries):
        whole = n_parts == 1
        if not whole.all():
            aside.append((rows.take(~whole), part_no[~whole]))
        summed.add(rows.take(whole))
    if aside:
        summed.add(_joined(aside))
    return summed.summary()


def keyed_hash(seed: int, *numbers: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Hash rows of whole numbers >= 0, given as (n,) columns; `seed` in [0, 2**64). Returns (n,).

    The random sample is the objects with the smallest hash of (query_index, instance_id). Within a query the
    hash is one-to-one in the id: no ties.
    """
    state = _mixed(np.full(len(numbers[0]), seed, dtype=np.uint64))
    for number in numbers:
        state = _mixed(state + number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return state


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): one-to-one on 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _row_batches(
    run_dir: RunDir, n_queries: int
) -> Iterator[tuple[ObjectRows, NDArray[np.int32], NDArray[np.int32]]]:
    """Yield (rows, part_no, n_parts) of all files, batch by batch."""
    for path in instance_files(run_dir):
        for batch in batches(path, _COLUMNS):
            column = {name: batch[name].to_numpy(zero_copy_only=False) for name in _COLUMNS}
            rows = _object_rows(column)
            if len(rows) and rows.query_index.max() >= n_queries:
                came = f"query_index {rows.query_index.max()} in {path}"
                remedy = "merge the block records of this run again"
                raise InputError(
                    f"instances must answer one of the run's {n_queries} queries", came=came, remedy=remedy
                )
            yield rows, column["part_no"], column["n_parts"]


def _object_rows(column: dict[str, NDArray[np.generic]]) -> ObjectRows:
    return ObjectRows(
        instance_id=column["instance_id"].astype(np.uint64, copy=False),
        query_index=column["query_index"].astype(np.int64),
        score=column["score"].astype(np.float64),
        area_px=column["area_px"].astype(np.int64, copy=False),
        area_m2=column["area_m2"].astype(np.float64, copy=False),
    )


def _joined(aside: list[tuple[ObjectRows, NDArray[np.int32]]]) -> ObjectRows:
    """Join rows of parts into objects. Parts are summed in their order, so the sum is the same for any order
    of rows."""
    rows = ObjectRows(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part, _ in aside])
            for item in fields(ObjectRows)
        }
    )
    order = np.lexsort(
        (np.concatenate([numbers for _, numbers in aside]), rows.instance_id, rows.query_index)
    )
    rows = rows.take(order)
    new = (np.diff(rows.instance_id) != 0) | (np.diff(rows.query_index) != 0)
    first = np.flatnonzero(np.concatenate([[True], new]))
    heads = rows.take(first)
    return ObjectRows(
        instance_id=heads.instance_id,
        query_index=heads.query_index,
        score=heads.score,
        area_px=np.add.reduceat(rows.area_px, first),
        area_m2=np.add.reduceat(rows.area_m2, first),
    )


class _Pass:
    """What the pass holds."""

    def __init__(self, n_queries: int, seed: int) -> None:
        self._n_queries = n_queries
        self._seed = seed
        self._n_per_query = np.zeros(n_queries, dtype=np.int64)
        self._score_counts = np.zeros((n_queries, SCORE_EDGES.size - 1), dtype=np.int64)
        self._px = _AreaTally(n_queries)
        self._m2 = _AreaTally(n_queries)
        self._largest = FirstRows(N_LARGEST, width=3)
        self._lowest = FirstRows(max(N_LOWEST + N_LARGEST, MAX_DOUBTFUL), width=3)
        self._random = [FirstRows(N_RANDOM + N_LOWEST + N_LARGEST, width=2) for _ in range(n_queries)]
        self._outlined = FirstRows(MAX_OUTLINES, width=4)

    def add(self, rows: ObjectRows) -> None:
        """Count some objects."""
        query = rows.query_index
        instance = rows.instance_id
        chance = keyed_hash(self._seed, query, instance)
        self._n_per_query += np.bincount(query, minlength=self._n_queries)
        self._score_counts += count_bins(rows.score, query, SCORE_EDGES, n_queries=self._n_queries)
        self._px.add(rows.area_px.astype(np.float64), query)
        self._m2.add(rows.area_m2, query)
        self._largest.add(-rows.area_px, instance, query)
        self._lowest.add(rows.score, instance, query)
        self._outlined.add(
            -rows.area_px, chance, query, instance
        )  # chance before name: equal ones lie all over the picture
        for number in np.unique(query).tolist():
            mine = query == number
            self._random[number].add(chance[mine], instance[mine])

    def summary(self) -> ObjectSummary:
        _, _, query, instance = self._outlined.columns
        names = ObjectNames(query_index=query.astype(np.int64), instance_id=instance.astype(np.uint64))
        _, low, asked = (column[:MAX_DOUBTFUL] for column in self._lowest.columns)
        doubtful = ObjectNames(query_index=asked.astype(np.int64), instance_id=low.astype(np.uint64))
        return ObjectSummary(
            n_per_query=self._n_per_query,
            score_counts=self._score_counts,
            px=self._px.counts(),
            m2=self._m2.counts(),
            outlined=names if self._n_per_query.sum() > MAX_OUTLINES else None,
            doubtful=doubtful,
            groups=self._groups(),
        )

    def _groups(self) -> dict[str, list[Key]]:
        """Choose the chips; random objects take turns between queries."""
        turns = [
            (turn, chance, query, instance)
            for query, rows in enumerate(self._random)
            for turn, chance, instance in _ranked(rows)
        ]
        _, large, of = self._largest.columns
        _, low, asked = self._lowest.columns
        return choose(
            largest=list(zip(of.tolist(), large.tolist(), strict=True)),
            lowest=list(zip(asked.tolist(), low.tolist(), strict=True))[: N_LOWEST + N_LARGEST],
            random=[(query, instance) for _, _, query, instance in sorted(turns)],
        )


def _ranked(rows: FirstRows) -> list[tuple[int, int, int]]:
    """(rank, first column, second column)."""
    first, second = rows.columns
    return [(rank, a, b) for rank, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True))]


class _AreaTally:
    """Areas in fixed bins."""

    def __init__(self, n_queries: int) -> None:
        self._counts = np.zeros((n_queries, AREA_EDGES.size - 1), dtype=np.int64)
        self._smallest = np.inf
        self._largest = 0.0
        self._n_unknown = 0

    def add(self, areas: NDArray[np.float64], query_index: NDArray[np.int64]) -> None:
        self._counts += count_bins(areas, query_index, AREA_EDGES, n_queries=len(self._counts))
        self._n_unknown += int(np.count_nonzero(~np.isfinite(areas)))
        positive = areas[(areas > 0) & np.isfinite(areas)]
        self._smallest = min(self._smallest, float(positive.min(initial=np.inf)))
        self._largest = max(self._largest, float(positive.max(initial=0.0)))

    def counts(self) -> AreaCounts:
        return AreaCounts(
            counts=self._counts, smallest=self._smallest, largest=self._largest, n_unknown=self._n_unknown
        )


def choose(*, largest: list[Key], lowest: list[Key], random: list[Key]) -> dict[str, list[Key]]:
    """Choose group -> its chips, from candidates in order. An object is shown once, in the first of largest,
    lowest, random that takes it."""
    shown: set[Key] = set()
    groups: dict[str, list[Key]] = {}
    for name, candidates, n in (
        ("Largest", largest, N_LARGEST),
        ("Lowest scores", lowest, N_LOWEST),
        ("Picked at random", random, N_RANDOM),
    ):
        groups[name] = [key for key in candidates if key not in shown][:n]
        shown.update(groups[name])
    return {name: groups[name] for name in ("Picked at random", "Lowest scores", "Largest")}
