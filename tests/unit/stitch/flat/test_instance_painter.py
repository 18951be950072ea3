"""Blocks of the reference painter on a row of three tiles, one of them closed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.stitch.flat.flat_components import resolve
from pipeline.stitch.flat.flat_matches import match_seams
from pipeline.stitch.flat.flat_sources import fragment_table
from pipeline.stitch.flat.instance_painter import InstancePainter
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions


def painter_of(source: SimpleNamespace, lattice: object, options: StitchOptions) -> InstancePainter:
    cache = TileCache(source, lattice)  # type: ignore[arg-type]
    table = fragment_table(source.records(), lattice)  # type: ignore[arg-type]
    matches = match_seams(lattice, cache, table, options)  # type: ignore[arg-type]
    index, components = resolve(lattice, table, matches, options)  # type: ignore[arg-type]
    return InstancePainter(
        lattice,  # type: ignore[arg-type]
        cache,
        table,
        index=index,
        components=components,
        keep_share=options.keep_share,
    )


def reaching_out(worlds: SimpleNamespace) -> tuple[SimpleNamespace, object]:
    """The left tile sees a bar whole that reaches 2 px into the middle core, where nothing was found."""
    lattice = worlds.make_lattice((10, 30), 10, 5, 1)
    left = np.zeros((10, 15), dtype=np.uint16)
    left[4, 7:12] = 1
    return worlds.ArraySource(lattice=lattice, tiles={(0, 0): left}), lattice


def test_a_whole_object_goes_on_in_the_neighbours_core(worlds: SimpleNamespace) -> None:
    source, lattice = reaching_out(worlds)
    painter = painter_of(source, lattice, StitchOptions())
    assert np.argwhere(painter.block(0, 0) == 1).tolist() == [[4, 7], [4, 8], [4, 9]]
    assert np.argwhere(painter.block(0, 1)).tolist() == [[4, 0], [4, 1]]
    assert not painter.block(0, 2).any()
    assert [painter.blocked(0, col).tolist() for col in range(3)] == [[], [], []]


def test_without_complete_first_every_tile_paints_its_own_core(worlds: SimpleNamespace) -> None:
    source, lattice = reaching_out(worlds)
    painter = painter_of(source, lattice, StitchOptions(complete_first=False))
    assert (painter.block(0, 0) > 0).sum() == 3
    assert not painter.block(0, 1).any()


def test_a_closed_core_stays_empty_and_names_what_it_stopped(worlds: SimpleNamespace) -> None:
    source, lattice = reaching_out(worlds)
    source.closed = frozenset({(0, 1)})
    painter = painter_of(source, lattice, StitchOptions())
    assert not painter.block(0, 1).any()
    assert [painter.blocked(0, col).tolist() for col in range(3)] == [[], [1], []]


def test_a_label_without_a_fragment_is_refused(worlds: SimpleNamespace) -> None:
    source, lattice = reaching_out(worlds)
    painter = painter_of(source, lattice, StitchOptions())
    source.tiles[0, 0] = source.tiles[0, 0] * np.uint16(3)
    with pytest.raises(RecordError, match="hold id 3, but it has 1 fragments"):
        painter.block(0, 0)
