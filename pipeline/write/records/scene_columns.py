"""Which scene gave each pixel of a tile's core, as columns of a block record.

A tile that one scene filled costs a list of one number. Only where several scenes gave pixels does the record
hold an image of them, in run lengths. Both columns stand with the tile's first query and are null elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tile_answers import BlockRecord
from pipeline.write.records.label_codec import decode_labels, encode_labels

SCENE_COLUMNS = (("scene_numbers", pa.list_(pa.int32())), ("scene_px", pa.binary()))
"""Scenes that gave valid pixels to the core (places among those that the block reads, ascending;
`record_keys.BlockKey.scenes`), and for two or
more of them a label image (`label_codec`) over the core: 1 + index into that list, 0 = no imagery.

A record that does not know its scenes lacks both columns.
"""


def scene_columns(record: BlockRecord, first_row: Mapping[str, int]) -> dict[str, list[object]]:
    """Make both columns, one value per row. `first_row`: tile_id -> row of the tile's first query."""
    numbers: list[object] = [None] * len(record.tiles)
    pixels: list[object] = [None] * len(record.tiles)
    for tile_id, scenes in record.scenes.items():
        numbers[first_row[tile_id]] = list(scenes.numbers)
        pixels[first_row[tile_id]] = None if scenes.image is None else encode_labels(scenes.image)
    return dict(zip([name for name, _ in SCENE_COLUMNS], (numbers, pixels), strict=True))


def scene_pixels(table: pa.Table) -> dict[tuple[int, int], ScenePixels]:
    """Read (tile_row, tile_col) -> scenes of the tile's core from a record's table; empty when not known.

    Raises ValueError when an image is damaged.
    """
    if any(name not in table.column_names for name, _ in SCENE_COLUMNS):
        return {}
    rows = zip(
        *(table[name].to_pylist() for name in ("tile_row", "tile_col", "scene_numbers", "scene_px")),
        strict=True,
    )
    return {
        (row, col): ScenePixels(numbers=tuple(numbers), image=None if blob is None else decode_labels(blob))
        for row, col, numbers, blob in rows
        if numbers is not None
    }
