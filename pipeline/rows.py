"""How nouns travel between Ray operators: scalars and bytes only, one row per block.

Ray infers column types from each batch, so lists of arrays silently become pickled objects or change shape; plain
`bytes` columns do not, and cost a fraction (measured in the project's Ray notes). Every function here has its inverse
beside it, and `inverse(f(x)) == x` is tested.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.schema import BlockImage, BlockSpec, Prompt, Reason, TileLattice, TilePrompts, TileStatus, Window

Row = dict[str, Any]


def block_to_row(block: BlockSpec) -> Row:
    """A block as three scalars; the lattice, known to every actor, restores the rest."""
    tiles = [(tile.tile_row, tile.tile_col) for tile in block.tiles]
    return {"block_row": block.block_row, "block_col": block.block_col, "tiles": json.dumps(tiles).encode()}


def row_to_block(row: Mapping[str, Any], lattice: TileLattice) -> BlockSpec:
    """Inverse of `block_to_row` on the lattice that the block was cut from."""
    tiles = tuple(lattice.tile(r, c) for r, c in json.loads(bytes(row["tiles"])))
    block_row, block_col = int(row["block_row"]), int(row["block_col"])
    return BlockSpec(
        block_row=block_row,
        block_col=block_col,
        core=lattice.block_core(block_row, block_col),
        read=bounding_window([tile.read for tile in tiles]),
        tiles=tiles,
    )


def bounding_window(windows: Sequence[Window]) -> Window:
    """The smallest window that holds all of `windows` (at least one)."""
    return Window(
        row0=min(w.row0 for w in windows),
        col0=min(w.col0 for w in windows),
        row1=max(w.row1 for w in windows),
        col1=max(w.col1 for w in windows),
    )


def image_to_row(image: BlockImage) -> Row:
    """Pixels as raw bytes (H*W*3 uint8), validity as packed bits, unreadable tiles as JSON."""
    return {
        **block_to_row(image.block),
        "rgb": image.rgb.tobytes(),
        "valid": np.packbits(image.valid).tobytes(),
        "unreadable": json.dumps(dict(image.unreadable)).encode(),
    }


def row_to_image(row: Mapping[str, Any], lattice: TileLattice) -> BlockImage:
    """Inverse of `image_to_row`."""
    block = row_to_block(row, lattice)
    height, width = block.read.shape
    rgb = np.frombuffer(bytes(row["rgb"]), dtype=np.uint8).reshape(height, width, 3)
    bits = np.unpackbits(np.frombuffer(bytes(row["valid"]), dtype=np.uint8), count=height * width)
    return BlockImage(
        block=block, rgb=rgb, valid=bits.view(np.bool_).reshape(height, width), unreadable=json.loads(bytes(row["unreadable"]))
    )


def prompts_to_bytes(prompts: Sequence[TilePrompts]) -> bytes:
    """All answers of a block as one JSON document."""
    return json.dumps([asdict(p) for p in prompts]).encode()


def bytes_to_prompts(data: bytes) -> tuple[TilePrompts, ...]:
    """Inverse of `prompts_to_bytes`."""
    return tuple(_tile_prompts(item) for item in json.loads(bytes(data)))


def _tile_prompts(item: dict[str, Any]) -> TilePrompts:
    prompts = tuple(
        Prompt(
            box_xyxy=None if p["box_xyxy"] is None else tuple(p["box_xyxy"]),
            points_xy=tuple((x, y) for x, y in p["points_xy"]),
            point_labels=tuple(p["point_labels"]),
            label=p["label"],
        )
        for p in item["prompts"]
    )
    return TilePrompts(**{**item, "status": TileStatus(item["status"]), "reason": Reason(item["reason"]), "prompts": prompts})
