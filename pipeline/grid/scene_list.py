"""Scenes in order of priority. What a plan asks of all of them are columns, and objects are made on demand.

Catalogues have scenes by the hundred thousand. A plan compares the places of all, and few of them are ever
looked at by themselves. So a `SceneList` holds ids and places as arrays. A scene that was opened is an object
already. One of which only an item tells is made of that item whenever somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import Scene

AT_ONCE = 4096
"""Scenes that are made together when a whole list is walked through."""


class SceneMaker(Protocol):
    """Where the scenes of a list come from."""

    def scenes(self, places: NDArray[np.int64]) -> Sequence[Scene]:
        """Make the scenes at some places."""
        ...

    def datetimes(self, places: NDArray[np.int64]) -> Sequence[str | None]:
        """`Scene.datetime` of each."""
        ...

    def cloud_covers(self, places: NDArray[np.int64]) -> Sequence[float | None]:
        """`Scene.cloud_cover` of each."""
        ...


class OpenedScenes:
    """Scenes that are objects already."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes

    def scenes(self, places: NDArray[np.int64]) -> list[Scene]:
        return [self._scenes[place] for place in places.tolist()]

    def datetimes(self, places: NDArray[np.int64]) -> list[str | None]:
        return [scene.datetime for scene in self.scenes(places)]

    def cloud_covers(self, places: NDArray[np.int64]) -> list[float | None]:
        return [scene.cloud_cover for scene in self.scenes(places)]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SceneColumns:
    """What a plan asks of n scenes."""

    ids: NDArray[np.object_]
    """`Scene.scene_id`, (n,)."""
    crs: NDArray[np.object_]
    """`Scene.crs_wkt`, (n,): text or None; scenes of one catalogue share it."""
    transforms: NDArray[np.float64]
    """`Scene.transform`, (n, 6)."""
    sizes: NDArray[np.float64]
    """(n, 2): `Scene.width` and `Scene.height`."""
    failed: NDArray[np.bool_]
    """Whether there is a `Scene.failure`, (n,)."""

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> SceneColumns:
        """Read them of objects."""
        number = len(scenes)
        affines = chain.from_iterable(map(attrgetter("transform"), scenes))
        sides = chain.from_iterable(map(attrgetter("width", "height"), scenes))
        return cls(
            ids=objects(scene.scene_id for scene in scenes),
            crs=objects(scene.crs_wkt for scene in scenes),
            transforms=np.fromiter(affines, dtype=np.float64, count=6 * number).reshape(-1, 6),
            sizes=np.fromiter(sides, dtype=np.float64, count=2 * number).reshape(-1, 2),
            failed=np.array([bool(scene.failure) for scene in scenes], dtype=np.bool_),
        )

    @classmethod
    def joined(cls, parts: Sequence[SceneColumns], order: NDArray[np.int64] | None = None) -> SceneColumns:
        """Put columns one behind the other, then in `order`: numbers of the joined ones, each once."""
        if len(parts) == 1 and order is None:
            return parts[0]
        return cls(
            **{name: joined_arrays([getattr(part, name) for part in parts], order) for name in cls.__slots__}
        )

    def take(self, numbers: NDArray[np.int64]) -> SceneColumns:
        """Keep some, in this order."""
        return SceneColumns(**{name: getattr(self, name)[numbers] for name in self.__slots__})

    def place_of(self, number: int) -> tuple[Any, ...]:
        """CRS, transform, width and height of one scene, as `Scene` has them."""
        width, height = self.sizes[number].tolist()
        return self.crs[number], tuple(self.transforms[number].tolist()), int(width), int(height)


class SceneList(Sequence[Scene]):
    """Scenes, of which places and ids are known without making them."""

    def __init__(
        self,
        columns: SceneColumns,
        makers: Sequence[SceneMaker],
        maker: NDArray[np.int32],
        place: NDArray[np.int64],
    ) -> None:
        """`maker` and `place`, (n,): who makes a scene, and which of his."""
        self.columns = columns
        self.makers = tuple(makers)
        self.maker = maker
        self.place = place

    @classmethod
    def of(cls, scenes: Iterable[Scene]) -> SceneList:
        """List scenes. What is a list already stays it."""
        if isinstance(scenes, SceneList):
            return scenes
        made = tuple(scenes)
        return cls.from_maker(SceneColumns.of(made), OpenedScenes(made))

    @classmethod
    def from_maker(cls, columns: SceneColumns, maker: SceneMaker) -> SceneList:
        """List all scenes of one maker, in its order."""
        number = len(columns.ids)
        return cls(columns, (maker,), np.zeros(number, dtype=np.int32), np.arange(number))

    @classmethod
    def joined(cls, parts: Sequence[SceneList], order: NDArray[np.int64] | None = None) -> SceneList:
        """Put lists one behind the other, then in `order`: numbers of the joined ones, each once."""
        if not parts:
            return cls.of(())
        starts = np.cumsum([0, *(len(part.makers) for part in parts)])
        makers = [(part.maker + start).astype(np.int32) for part, start in zip(parts, starts, strict=False)]
        return cls(
            SceneColumns.joined([part.columns for part in parts], order),
            tuple(chain.from_iterable(part.makers for part in parts)),
            joined_arrays(makers, order),
            joined_arrays([part.place for part in parts], order),
        )

    @overload
    def __getitem__(self, index: int) -> Scene: ...

    @overload
    def __getitem__(self, index: slice) -> SceneList: ...

    def __getitem__(self, index: int | slice) -> Scene | SceneList:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} scenes")
        return self._made(np.array([index % len(self)]))[0]

    def __len__(self) -> int:
        return len(self.place)

    def __iter__(self) -> Iterator[Scene]:
        for start in range(0, len(self), AT_ONCE):
            yield from self._made(np.arange(start, min(start + AT_ONCE, len(self))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SceneList | tuple | list) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SceneList({', '.join(self.ids[:8])}{', ...' if len(self) > 8 else ''})"

    @property
    def ids(self) -> list[str]:
        """`Scene.scene_id` of all."""
        return list(self.columns.ids.tolist())

    def take(self, numbers: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]) -> SceneList:
        """Keep some, in this order; or those of a mask (n,)."""
        every = np.arange(len(self))
        chosen = every[np.asarray(numbers, dtype=None if len(numbers) else np.int64)]
        if np.array_equal(chosen, every):
            return self
        return SceneList(self.columns.take(chosen), self.makers, self.maker[chosen], self.place[chosen])

    def replaced(self, scenes: Mapping[int, Scene]) -> SceneList:
        """Put other scenes in the places of some, by number."""
        if not scenes:
            return self
        order = np.arange(len(self))
        order[list(scenes)] = np.arange(len(self), len(self) + len(scenes))
        return SceneList.joined([self, SceneList.of(scenes.values())]).take(order)._in_use()

    def renamed(self, ids: Mapping[int, str]) -> SceneList:
        """Give some other ids, by number."""
        if not ids:
            return self
        names = self.columns.ids.copy()
        names[list(ids)] = list(ids.values())
        return SceneList(replace(self.columns, ids=names), self.makers, self.maker, self.place)

    def datetimes(self) -> list[str | None]:
        """`Scene.datetime` of all."""
        return self._asked(np.arange(len(self)), lambda maker, places: maker.datetimes(places))

    def cloud_covers(self) -> list[float | None]:
        """`Scene.cloud_cover` of all."""
        return self._asked(np.arange(len(self)), lambda maker, places: maker.cloud_covers(places))

    def by_maker(
        self, numbers: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], SceneMaker, NDArray[np.int64]]]:
        """Divide scenes by who makes them: which of `numbers` (k,), the maker, and their places there."""
        own = self.maker[numbers]
        order = np.argsort(own, kind="stable")
        for at in np.split(order, np.flatnonzero(np.diff(own[order])) + 1):
            if at.size:
                yield at, self.makers[own[at[0]]], self.place[numbers[at]]

    def _in_use(self) -> SceneList:
        """Let go of those who make none of its scenes."""
        used = np.unique(self.maker)
        number = np.zeros(len(self.makers), dtype=np.int32)
        number[used] = np.arange(used.size)
        makers = [self.makers[which] for which in used.tolist()]
        return SceneList(self.columns, makers, number[self.maker], self.place)

    def _made(self, numbers: NDArray[np.int64]) -> list[Scene]:
        made: list[Scene] = self._asked(numbers, lambda maker, places: maker.scenes(places))
        names = self.columns.ids[numbers].tolist()
        return [
            scene if scene.scene_id == name else replace(scene, scene_id=name)
            for scene, name in zip(made, names, strict=True)
        ]

    def _asked(self, numbers: NDArray[np.int64], ask: Any) -> list[Any]:
        found: list[Any] = [None] * len(numbers)
        for at, maker, places in self.by_maker(numbers):
            for number, one in zip(at.tolist(), ask(maker, places), strict=True):
                found[number] = one
        return found


def joined_arrays(parts: Sequence[NDArray[Any]], order: NDArray[np.int64] | None) -> NDArray[Any]:
    """Put arrays one behind the other, then in `order` if there is one. There is never a second copy."""
    if order is None:
        return np.concatenate(parts)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    found = np.empty((len(order), *parts[0].shape[1:]), dtype=parts[0].dtype)
    start = 0
    for part in parts:
        found[place[start : start + len(part)]] = part
        start += len(part)
    return found


def are_none(values: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Tell which values are None, (n,)."""
    return np.fromiter((value is None for value in values.tolist()), dtype=np.bool_, count=len(values))


def objects(values: Iterable[Any]) -> NDArray[np.object_]:
    """Collect values in an array (n,), whatever they are."""
    listed = list(values)
    found = np.empty(len(listed), dtype=object)
    found[:] = listed
    return found
