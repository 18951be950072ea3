"""What the models of a run did, counted from its block records, which cover every start of the run."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.prompt.looks.gate_audit import GateCounts
from pipeline.write.records.block_records import BlockCounts

CUT_REPLIES = "replies_cut_at_token_limit"
"""Key of that counter in run.json."""


@dataclass(kw_only=True)
class ModelCounts:
    """What the models did, over all committed blocks."""

    encodings: int = 0
    """Image encodings of the segmenter: must equal `encoded_tiles`."""
    encoded_tiles: int = 0
    calls: int = 0
    """Of the prompter; a gate's looks are not among them."""
    gate: GateCounts = field(default_factory=GateCounts)
    masks_verified: int = 0
    """Masks that a verifier judged; 0 without one."""
    cut_replies: int = 0
    """Replies that ended at the token limit: what they would have named after it is missing."""

    def add(self, block: BlockCounts) -> None:
        """Count one block."""
        self.encodings += block.n_embeddings
        self.encoded_tiles += len({row.tile.tile_id for row in block.tiles if row.n_prompts})
        self.calls += sum(row.n_calls for row in block.tiles)
        self.cut_replies += sum(row.truncated_reply for row in block.tiles)
        self.gate.add(block.tiles)
        self.masks_verified += sum(p is not None for row in block.tiles for p in row.verified)

    def counters(self) -> dict[str, int]:
        """Give the counts as run.json has them."""
        plain = {
            "image_encodings": self.encodings,
            "tiles_with_prompts": self.encoded_tiles,
            "prompter_calls": self.calls,
            CUT_REPLIES: self.cut_replies,
        }
        return plain | ({"masks_verified": self.masks_verified} if self.masks_verified else {})
