"""Published facts of checkpoints (`pipeline/models/published.toml`): size, shape, licence, and where from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.options import parse_table, read_toml
from pipeline.prompt.checkpoint_memory import NUMBER_BYTES, EngineShape

PUBLISHED_FILE = Path(__file__).parents[2] / "models" / "published.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """What was published about a checkpoint."""

    parameters: int
    """Numbers in its weights."""
    licence: str
    """Under which licence its weights are, in a sentence."""
    source: str
    """Where all of this is written."""
    stored: str = "bfloat16"
    """Type of the numbers in its files."""
    layers: int | None = None
    kv_heads: int | None = None
    head_width: int | None = None

    @property
    def weights_bytes(self) -> int:
        """Size of the weights in its files, without their headers."""
        return self.parameters * NUMBER_BYTES[self.stored]

    @property
    def shape(self) -> EngineShape:
        return EngineShape(
            layers=self.layers, kv_heads=self.kv_heads, head_width=self.head_width, stored=self.stored
        )


@cache
def published_models() -> dict[str, PublishedModel]:
    """Read all facts: hub id -> facts."""
    tables = read_toml(PUBLISHED_FILE, "the published facts of checkpoints")
    return {name: parse_table(PublishedModel, table, f"published.{name}") for name, table in tables.items()}
