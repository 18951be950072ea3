"""How nouns travel between Ray operators: scalars and bytes only, one row per block.

Lists of arrays silently become pickled objects or change shape in Ray; plain `bytes` columns do not. Every
codec has its inverse beside it. Pixels go from the reader's array to the models without a copy.

What a row weighs, and how much memory a flow of such rows may take, is said here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.schema.imagery import BlockImage, ScenePixels
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import BlockSpec, TileLattice, Window
from pipeline.write.records.label_codec import decode_labels, encode_labels

Row = dict[str, Any]

LEAST_STORE_BYTES = 64 * 2**20
"""Object-store limit of a flow of small rows: below it, texts and Ray's own estimates weigh more than the
pixels.
"""


def block_to_row(block: BlockSpec) -> Row:
    """Turn a block into three scalars. The lattice, which every actor knows, restores the rest."""
    tiles = [(tile.tile_row, tile.tile_col) for tile in block.tiles]
    return {"block_row": block.block_row, "block_col": block.block_col, "tiles": json.dumps(tiles).encode()}


def row_to_block(row: Mapping[str, Any], lattice: TileLattice) -> BlockSpec:
    """Undo `block_to_row` on the lattice that the block was cut from."""
    tiles = tuple(lattice.tile(r, c) for r, c in json.loads(bytes(row["tiles"])))
    block_row = int(row["block_row"])
    block_col = int(row["block_col"])
    return BlockSpec(
        block_row=block_row,
        block_col=block_col,
        core=lattice.block_core(block_row, block_col),
        read=Window.around([tile.read for tile in tiles]),
        tiles=tiles,
    )


def image_to_table(image: BlockImage) -> pa.Table:
    """One row: the columns of `block_to_row`, pixels as raw bytes (H*W*3 uint8), validity and what is
    hidden as packed bits, unreadable tiles as JSON, scenes as run lengths.

    The pixels are not copied: the table looks at the memory of `image.rgb`, which must not be written to
    afterwards.
    """
    scenes = image.scenes
    row = {
        **block_to_row(image.block),
        "unreadable": json.dumps([dict(image.unreadable), dict(image.unread_for)]).encode(),
        "scene_numbers": json.dumps(scenes.numbers).encode(),
        "scene_px": b"" if scenes.image is None else encode_labels(scenes.image),
        "hidden": b"" if image.hidden is None else np.packbits(image.hidden).tobytes(),
    }
    table = pa.Table.from_pylist([row]).append_column("rgb", _one_value(np.ascontiguousarray(image.rgb)))
    return table.append_column("valid", _one_value(np.packbits(image.valid)))


def table_to_image(table: pa.Table, lattice: TileLattice) -> BlockImage:
    """Inverse of `image_to_table`; further columns do not matter. The pixels are a read-only view of the
    table's memory.
    """
    (row,) = table.drop_columns(["rgb", "valid"]).to_pylist()
    block = row_to_block(row, lattice)
    height, width = block.read.shape
    rgb = _value_bytes(table["rgb"]).reshape(height, width, 3)
    bits = np.unpackbits(_value_bytes(table["valid"]), count=height * width)
    unreadable, unread_for = json.loads(row["unreadable"])
    hidden = None
    if row["hidden"]:
        packed = np.frombuffer(row["hidden"], dtype=np.uint8)
        hidden = np.unpackbits(packed, count=height * width).view(np.bool_).reshape(height, width)
    return BlockImage(
        block=block,
        rgb=rgb,
        valid=bits.view(np.bool_).reshape(height, width),
        unreadable=unreadable,
        unread_for=unread_for,
        hidden=hidden,
        scenes=ScenePixels(
            numbers=tuple(json.loads(row["scene_numbers"])),
            image=decode_labels(row["scene_px"]) if row["scene_px"] else None,
        ),
    )


def _one_value(array: NDArray[np.uint8]) -> pa.Array:
    """An Arrow array of one binary value: the bytes of `array`, which is not copied. Large, because offsets
    of 32 bits end at 2 GiB.
    """
    offsets = pa.py_buffer(np.array([0, array.nbytes], dtype=np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(array)])


def _value_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Inverse of `_one_value`: a read-only view. (`column[0].as_buffer()` would be a copy.)"""
    array = next(chunk for chunk in column.chunks if len(chunk))
    _, offsets, data = array.buffers()
    first, last = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + 2]
    value = np.frombuffer(data, dtype=np.uint8)[first:last]
    value.flags.writeable = False
    return value


def image_row_bytes(lattice: TileLattice) -> int:
    """Bytes of the largest row that `image_to_table` makes on a lattice: three bytes and two bits per pixel
    of a block's read window.
    """
    grid = lattice.grid
    side_px = lattice.shard_px + 2 * lattice.halo_px
    pixels = min(side_px, grid.height) * min(side_px, grid.width)
    return 3 * pixels + 2 * -(-pixels // 8)


def store_limit_bytes(row_bytes: int, in_flight: Sequence[int]) -> int:
    """Compute how much of the object store keeps every stage busy and lets nothing more pile up.

    Args:
        row_bytes: size of the heaviest row between stages.
        in_flight: per stage, the rows that its actors have at once, worked on and waiting.

    A row on its way lies in the store twice: as the input of a stage, and while a stage makes it. That is
    `sum(in_flight)` inputs (those of the first stage weigh nothing) and one output of every stage but the
    last. Ray Data reserves half of the limit, evenly for its operators: the stages, and the one that emits
    rows. An operator starts a row only while its share of the other half can hold it. So that half must hold
    one row per operator beside those on their way, and the limit is twice that.
    """
    stages = len(in_flight)
    on_their_way = sum(in_flight[1:]) + stages - 1
    operators = stages + 1
    return max(2 * (on_their_way + operators) * row_bytes, LEAST_STORE_BYTES)


def prompts_to_bytes(prompts: Sequence[TilePrompts]) -> bytes:
    """Write all answers of a block as one JSON document."""
    return json.dumps([asdict(p) for p in prompts]).encode()


def bytes_to_prompts(data: bytes) -> tuple[TilePrompts, ...]:
    """Undo `prompts_to_bytes`."""
    return tuple(_tile_prompts(item) for item in json.loads(bytes(data)))


def _tile_prompts(item: dict[str, Any]) -> TilePrompts:
    prompts = tuple(
        Prompt(
            box_xyxy=None if p["box_xyxy"] is None else tuple(p["box_xyxy"]),
            points_xy=tuple((x, y) for x, y in p["points_xy"]),
            point_labels=tuple(p["point_labels"]),
            label=p["label"],
            feature_id=p["feature_id"],
            attributes=p["attributes"],
        )
        for p in item["prompts"]
    )
    return TilePrompts(
        **{**item, "status": TileStatus(item["status"]), "reason": Reason(item["reason"]), "prompts": prompts}
    )
