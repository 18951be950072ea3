"""What the driver keeps of phase two: sums per query, and the QA table made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.run.merge.audit_tasks import AuditCounts
from pipeline.run.merge.finished_rows import RowCounts, SeamDensity
from pipeline.run.merge.resolve_tasks import ResolveCounts
from pipeline.stitch.block_picture import FoundPixels
from pipeline.stitch.join import JoinStats
from pipeline.stitch.supertile_seams import SCORE_BINS

Bounds = tuple[float, float, float, float]


def join_bounds(parts: Iterable[Bounds | None]) -> Bounds | None:
    """Bounds xmin, ymin, xmax, ymax around several; None when there are none."""
    boxes = np.array([part for part in parts if part is not None], dtype=np.float64).reshape(-1, 4)
    if not len(boxes):
        return None
    low = boxes[:, :2].min(axis=0).tolist()
    high = boxes[:, 2:].max(axis=0).tolist()
    return low[0], low[1], high[0], high[1]


@dataclass(kw_only=True)
class Tally:
    """Sums of one query; adding parts in any order gives the same."""

    rows: RowCounts = field(default_factory=RowCounts)
    ground: SeamDensity = field(default_factory=SeamDensity)
    joined: JoinStats = field(default_factory=lambda: JoinStats(n_roots=0, n_edges=0, n_bytes=0))
    n_fragments: int = 0
    n_ghosts: int = 0
    n_edges: int = 0
    n_disputed: int = 0
    audit: AuditCounts | None = None
    found: FoundPixels = field(default_factory=FoundPixels)
    scores: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SCORE_BINS, dtype=np.int64))

    def add_seams(self, part: ResolveCounts) -> None:
        self.n_fragments += part.n_fragments
        self.n_ghosts += part.n_ghosts
        self.n_edges += part.n_edges
        self.n_disputed += part.n_disputed
        self.scores = self.scores + part.scores

    def add_audit(self, found: AuditCounts) -> None:
        self.audit = found
        self.n_edges -= found.cut_edges

    def add_rows(self, part: RowCounts) -> None:
        mine = self.rows
        self.rows = RowCounts(
            n_rows=mine.n_rows + part.n_rows,
            n_objects=mine.n_objects + part.n_objects,
            area_px=mine.area_px + part.area_px,
            n_truncated=mine.n_truncated + part.n_truncated,
            n_one_sided=mine.n_one_sided + part.n_one_sided,
            n_rescued=mine.n_rescued + part.n_rescued,
            at_seam=mine.at_seam + part.at_seam,
            n_unknown_m2=mine.n_unknown_m2 + part.n_unknown_m2,
            left_out=mine.left_out + part.left_out,
            bounds=join_bounds([mine.bounds, part.bounds]),
        )

    def add_ground(self, part: SeamDensity) -> None:
        self.ground = SeamDensity(
            seam_px=self.ground.seam_px + part.seam_px, core_px=self.ground.core_px + part.core_px
        )

    def add_found(self, part: FoundPixels) -> None:
        self.found = FoundPixels(
            given_px=self.found.given_px + part.given_px, kept_px=self.found.kept_px + part.kept_px
        )

    def figures(self) -> dict[str, Any]:
        """The QA table of one query, as plain values for run.json.

        `match_scores`: mutual-best pairs of pieces over all seams in SCORE_BINS bins of 0..1; a good
        threshold lies in its valley. `density`: objects per megapixel whose bounding box is centred where a
        neighbouring tile sees too, against the rest; far from a ratio of 1 on a large region, the model
        behaves differently near tile borders. `rescued`: objects that the owner of their pixels missed.
        `left_out`: objects that were found and not published, by reason (`LeftOut`).
        `disputed`: matches refused because a tile saw one end whole, beside another label. `audit`: pairs of
        whole, touching fragments of one tile that were joined, the components that held them, and the edges
        cut to part them; null when nobody looked.

        `pixels`: `given` were found by tiles in their own cores, `kept` of them show an object after the
        merge. `published` are those of all rows: without objects outside the AOI or below the smallest area,
        and with what whole views add. `kept_share` is null where nothing was found.
        """
        inner_px = self.ground.core_px - self.ground.seam_px
        seam = _per_megapixel(self.rows.at_seam, self.ground.seam_px)
        inner = _per_megapixel(self.rows.n_objects - self.rows.at_seam, inner_px)
        return {
            "match_scores": self.scores.tolist(),
            "density": {
                "seam_per_mpx": seam,
                "interior_per_mpx": inner,
                "ratio": None if seam is None or not inner else round(seam / inner, 4),
                "seam_px": self.ground.seam_px,
                "interior_px": inner_px,
            },
            "fragments": self.n_fragments,
            "ghosts": self.n_ghosts,
            "edges": self.n_edges,
            "objects": self.rows.n_objects,
            "rows": self.rows.n_rows,
            "truncated": self.rows.n_truncated,
            "one_sided": self.rows.n_one_sided,
            "rescued": self.rows.n_rescued,
            "area_unknown": self.rows.n_unknown_m2,
            "left_out": asdict(self.rows.left_out),
            "disputed": self.n_disputed,
            "audit": None
            if self.audit is None
            else {name: getattr(self.audit, name) for name in ("contradictions", "components", "cut_edges")},
            "pixels": {
                "given": self.found.given_px,
                "kept": self.found.kept_px,
                "kept_share": share(self.found.kept_px, self.found.given_px),
                "published": self.rows.area_px,
            },
        }


def share(part: int, whole: int) -> float | None:
    """The share in 1/10000, rounded down, so that 1 means all; None of nothing."""
    return part * 10_000 // whole / 10_000 if whole else None


def _per_megapixel(count: int, px: int) -> float | None:
    return round(count / px * 1e6, 4) if px else None
