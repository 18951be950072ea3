"""What the models answered about a tile, and what is committed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tiling import TileSpec, Window

SCORE_SCALE = 254
"""Published score byte = round(score * 254), so 255 stays free as fill."""

SCORE_Q_SCALE = 65535
"""Scores inside the merge are integers in 1/65535, so that sums do not depend on the order of addition."""


class TileStatus(StrEnum):
    """What became of one planned tile: planned = found + empty + failed."""

    FOUND = "found"
    EMPTY = "empty"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a tile is empty or failed. NONE belongs to `found` alone."""

    NONE = ""
    OUTSIDE_AOI = "outside_aoi"
    NODATA = "nodata"
    CLOUD = "cloud"
    GATE = "gate"
    PROMPTER = "prompter"
    VERIFIER = "verifier"
    UNREADABLE = "unreadable"
    MALFORMED = "malformed"
    MODEL_ERROR = "model_error"
    CRASHED = "crashed"
    TIMEOUT = "timeout"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Geometry for the segmenter, in continuous coordinates (x right, y down) of the tile's read window, 0 at
    its left and top edge."""

    box_xyxy: tuple[float, float, float, float] | None
    """x0 < x1 and y0 < y1, inside the window, except what the released parser gives in an evaluation. None:
    points alone."""
    points_xy: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    """1 = inside the object, 0 = outside; one per point."""
    label: str = ""
    """Free text from the reply or the prompt file; the query is kept apart."""
    feature_id: str = ""
    attributes: str = ""
    """This and the field before it: id and attributes (a JSON object) of the known location it is from."""

    def __post_init__(self) -> None:
        if self.box_xyxy is None and not self.points_xy:
            raise ValueError("a prompt needs a box or at least one point")
        if len(self.points_xy) != len(self.point_labels):
            n = len(self.points_xy)
            raise ValueError(f"{n} points need as many labels, got {len(self.point_labels)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TilePrompts:
    """A prompter's answer for one tile and one query: FOUND with prompts, EMPTY or FAILED."""

    tile_id: str
    query_index: int
    status: TileStatus
    reason: Reason
    prompts: tuple[Prompt, ...] = ()
    reply: str = ""
    """The model's text, verbatim (of the last attempt)."""
    rationale: str = ""
    """The text of the thinking block, if the reply has one."""
    error: str = ""
    n_dropped: int = 0
    """Items of the reply that could not be used (malformed, degenerate, duplicate)."""
    truncated_reply: bool = False
    """Whether the reply hit the token limit; its complete items were salvaged."""
    n_calls: int = 0
    """Model calls spent, retries included."""
    gate_p: float | None = None
    """A gate's probability that something is there. None: no gate judged."""
    audited: bool = False
    """Whether the gate rejected the tile and the audit's random sample asks the prompter all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskCrop:
    """One mask of a tile, cropped to its bounding box. A mask without pixels is not a MaskCrop."""

    row0: int
    """Top row of the crop in the tile's read window."""
    col0: int
    mask: NDArray[np.bool_]
    """(h, w); True = object."""
    score: float
    """The segmenter's own estimate of mask quality, 0..1."""
    prompt_index: int
    """Index into TilePrompts.prompts."""
    stability: float | None = None
    """IoU, 0..1, of the mask with itself at a higher and a lower threshold. None: not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """One local instance of one tile after flattening: integers only, so that sums never depend on order."""

    local: int
    """1..n, the value in the label image; ordered by smallest pixel of the read window."""
    prompt_index: int
    score_q: int
    """round(score * 65535)."""
    full_px: int
    """Pixels in the read window."""
    core_px: int
    """Pixels in the core; 0 = ghost (the neighbour owns all of it)."""
    anchor: int
    """Smallest global pixel index row * grid.width + col over its CORE pixels; -1 for a ghost."""
    window: Window
    """Bounding window of the whole fragment on the run grid."""
    censored: int
    """Bit set N=1, E=2, S=4, W=8 of borders of the read window that lie inside the grid: the mask or its
    box comes within 2 px of them."""
    margin: int
    """Pixels from the bounding window to the nearest border of the read window that lies inside the grid;
    2**31 - 1: there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileRecord:
    """One row of a block record: one tile and one query, with everything the merge needs."""

    tile: TileSpec
    query_index: int
    status: TileStatus
    reason: Reason
    error: str = ""
    reply: str = ""
    rationale: str = ""
    prompts: tuple[Prompt, ...] = ()
    n_dropped: int = 0
    truncated_reply: bool = False
    n_calls: int = 0
    valid_px: int = 0
    """Valid pixels of the core."""
    cloud_px: int = 0
    """Pixels of the core that are imagery under clouds in every scene."""
    labels: NDArray[np.uint16] | None = None
    """(H, W) over tile.read, 0 = background, 1..n = Fragment.local; None when nothing was found."""
    fragments: tuple[Fragment, ...] = ()
    gate_p: float | None = None
    audited: bool = False
    verified: tuple[float | None, ...] = ()
    """Per prompt, a verifier's probability that its mask is right (None: not judged). Empty: no verifier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRecord:
    """The committed result of one block. Its presence on disk means the block is done."""

    block_id: str
    fingerprint: str
    """Of the block's inputs (`record_keys.BlockKey`); a record with another one does not count."""
    tiles: tuple[TileRecord, ...]
    valid: Mapping[str, NDArray[np.bool_]]
    """tile_id -> (h, w) validity over tile.core; all tiles of the record have an entry."""
    scenes: Mapping[str, ScenePixels] = field(default_factory=dict)
    """tile_id -> which scene gave each valid pixel of tile.core; tiles of unknown scenes have no entry."""
    inputs: str = ""
    """What the fingerprint is of, as JSON. Empty: not known."""
    n_embeddings: int = 0
    """Image encodings that this block needed. One that a cache had kept counts like one that was made."""
    elapsed_s: float = 0.0
