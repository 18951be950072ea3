"""Parameters of the merge. Those in `StitchOptions` shape the result and are recorded in run.json."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TRUSTED_PX = 2**15 - 1
"""Largest `StitchOptions.trusted_margin_px`: 15 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StitchOptions:
    """Thresholds of flattening, matching and painting. Raises ValueError for values that make no sense."""

    tau: float = 0.5
    """Two pieces of a seam match when the mean of their covered shares reaches this. Above 1 nothing does.
    """
    min_overlap_px: int = 8
    """Common pixels that two pieces need. Pieces below twice this need half of the larger one instead.
    """
    complete_first: bool = True
    """Paint an object from the one tile that saw it whole, as far as `keep_share` allows. Without such a tile
    each paints its own core."""
    keep_share: float = 0.97
    """A fragment gives way to a whole view of its object that covers at least this share of its core pixels.
    Less covered, it stays beside the view, so that this share of all that tiles found is published. 0: it
    always gives way.
    """
    trusted_margin_px: int = 4
    """Distance in px that a view should keep from its tile's border, where models are worst. Of several whole
    views of an object, the best score among those that keep it is painted; nearer ones give way.
    MAX_TRUSTED_PX: distance decides, the score only on a tie.
    """
    audit: bool = False
    """Take an object apart along its weakest matches where one tile saw two whole, touching objects in it."""
    rescue_share: float = 0.0
    """A neighbour may see an object whole in its halo that the owner of the pixels missed. It is shown if at
    least this share of it is free of other objects; 0 = never. Objects near seams then have two chances to be
    found, all others one.
    """
    min_area_px: int = 0
    """Instances painted with fewer pixels are left out of raster, table and polygons."""
    nms_iou: float = 0.8
    """Only the better one is kept of two masks of one tile with a larger intersection over union."""
    min_visible_share: float = 0.5
    """A mask is dropped when better ones leave a smaller share of it; 0 keeps each that has a pixel left."""

    split_tiles: int = 10_000
    """An object of more tiles is published in several rows with one instance_id."""
    part_tiles: int = 64
    """Side in tiles (rounded up to whole blocks) of the squares that cut such an object into rows."""

    def __post_init__(self) -> None:
        if not self.tau > 0.0:
            raise ValueError(f"tau must be above 0, got {self.tau}")
        if self.min_overlap_px < 1:
            raise ValueError(f"min_overlap_px must be at least 1, got {self.min_overlap_px}")
        if self.min_area_px < 0:
            raise ValueError(f"min_area_px must not be negative, got {self.min_area_px}")
        if self.split_tiles < 1 or self.part_tiles < 1:
            raise ValueError(
                f"split_tiles and part_tiles must be at least 1, got {self.split_tiles} and {self.part_tiles}"
            )
        if not 0.0 <= self.min_visible_share <= 1.0:
            raise ValueError(f"min_visible_share must lie in [0, 1], got {self.min_visible_share}")
        if not 0 <= self.trusted_margin_px <= MAX_TRUSTED_PX:
            raise ValueError(
                f"trusted_margin_px must lie in [0, {MAX_TRUSTED_PX}], got {self.trusted_margin_px}"
            )
        if not 0.0 <= self.keep_share <= 1.0:
            raise ValueError(f"keep_share must lie in [0, 1], got {self.keep_share}")
        if not 0.0 <= self.rescue_share <= 1.0:
            raise ValueError(f"rescue_share must lie in [0, 1], got {self.rescue_share}")
        if not 0.0 < self.nms_iou <= 1.0:
            raise ValueError(f"nms_iou must be above 0 and at most 1, got {self.nms_iou}")

    @property
    def rescues(self) -> bool:
        """Objects without a core pixel are shown if whole. Without `complete_first` nobody paints them."""
        return self.complete_first and self.rescue_share > 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeOptions:
    """How the merge is divided into tasks. Does not change the result."""

    super_tile_tiles: int = 32
    """S: seams are resolved in squares of S x S tiles (rounded up to whole blocks); a task holds the
    fragments of one.
    """

    def __post_init__(self) -> None:
        if self.super_tile_tiles < 1:
            raise ValueError(f"super_tile_tiles must be at least 1, got {self.super_tile_tiles}")
