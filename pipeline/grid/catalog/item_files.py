"""The files of items as they may be opened, or why nobody may open them.

An href is taken apart, its scheme and host are looked at, and the guard of its catalogue is asked. Items come
by the hundred thousand, and few places hold their files. So where the rest of a URL is plain, what was found
for the first href of a place holds for all others there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError
from pipeline.files.href_guard import deciding_part, require_allowed
from pipeline.files.hrefs import encoded_url, join_access, split_access
from pipeline.files.raster_access import href_kind
from pipeline.files.signing import signer_for
from pipeline.grid.catalog.item_groups import ItemGroup
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChoice
from pipeline.schema.imagery import HrefGuard, QualityMask

_PLAIN = re.compile(r"https?://[a-z0-9.:-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.~+=-]+)+")
"""URLs without a query string, in which nothing is encoded or has to be, and that lead no way up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemFiles:
    """The files of one item, which may be opened."""

    files: tuple[tuple[str, str], ...]
    """One, or red, green and blue: `Scene.href` and `Scene.access` of each."""
    quality: QualityMask | None
    signer: str
    """Of the first one."""
    guard: HrefGuard | None


def refused_files(group: ItemGroup, choice: SceneChoice, options: ItemOptions) -> dict[int, InputError]:
    """Find the items of a group of which nobody may open a file, by number, and why.

    One item of each place is looked at, and all of it where that one is refused.
    """
    columns = [[_place_of(href) for href in group.hrefs(key)] for key in choice.keys]
    masked = choice.mask is not None or options.mask is not None
    members: dict[tuple[object, ...], list[int]] = {}
    for number, places in enumerate(zip(*columns, range(len(group)), strict=True)):
        members.setdefault(places if masked else places[:-1], []).append(number)

    def refused(numbers: list[int]) -> dict[int, InputError]:
        files = files_of(group.part(np.array(numbers, dtype=np.int64)), choice, options)
        return {
            number: own for number, own in zip(numbers, files, strict=True) if isinstance(own, InputError)
        }

    first = refused([numbers[0] for numbers in members.values()])
    return refused([number for numbers in members.values() if numbers[0] in first for number in numbers])


def _place_of(href: str) -> str | tuple[str]:
    """What decides about an href: of a plain one its beginning. One that is not plain is like no other."""
    return deciding_part(href) if _PLAIN.fullmatch(href) else (href,)


def files_of(group: ItemGroup, choice: SceneChoice, options: ItemOptions) -> Iterator[ItemFiles | InputError]:
    """Find the files of each item of a group, in order; or an error where nobody may open one."""
    columns = [group.hrefs(key) for key in choice.keys]
    masked = choice.mask is not None or options.mask is not None
    guard = options.guard
    places = _Places()
    for number in range(len(group)):
        hrefs = [column[number] for column in columns]
        known = [places.signer(href) for href in hrefs]
        try:
            files = [
                _split(href) if signer is None else (href, "")
                for href, signer in zip(hrefs, known, strict=True)
            ]
            quality = choice.quality(group.item(number), options.mask) if masked else None
            for place, (href, access) in enumerate(files):
                if known[place] is None:
                    require_allowed(href, guard)
                    known[place] = places.learned(href, access)
            for file in quality.files if quality else ():
                require_allowed(file.href, guard)
        except InputError as error:
            yield error
            continue
        yield ItemFiles(files=tuple(files), quality=quality, signer=known[0] or "", guard=guard)


def _split(href: str) -> tuple[str, str]:
    """Split an href into what may be shown and what follows `?`. Raises InputError if nobody may open it."""
    href = encoded_url(href)
    href_kind(href)
    return split_access(href)


class _Places:
    """Where files lie that may be opened, and who signs their hrefs."""

    def __init__(self) -> None:
        self._signers: dict[str, str] = {}

    def signer(self, href: str) -> str | None:
        """Name the signer of a plain href of a known place. None: this href has to be looked at."""
        return self._signers.get(deciding_part(href)) if _PLAIN.fullmatch(href) else None

    def learned(self, href: str, access: str) -> str:
        """Name the signer of an href that may be opened, and remember its place."""
        signer = signer_for(join_access(href, access))
        if _PLAIN.fullmatch(href) and not access:
            self._signers[deciding_part(href)] = signer
        return signer
