"""The place of a training of the embedded prompter: its folder, its device and its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.finetune.prompter.prompter_model import PrompterShape


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlace:
    """Where a training keeps its files, and on which device it computes."""

    work: Path
    """Rendered tiles, checkpoints and logs; kept between runs."""
    device: str = "cpu"
    seed: int = 0
    shape: PrompterShape = field(default_factory=PrompterShape)
    start: Path | None = None
    """Exported prompter that the training continues from (`carry_on`). None: it starts from nothing."""
    compiled: bool = False
    """Whether the language model is compiled. This needs a C++ compiler and pays after a few dozen steps."""

    @property
    def train_tiles(self) -> Path:
        return self.work / "train"

    @property
    def valid_tiles(self) -> Path:
        return self.work / "valid"

    def checkpoints(self, stage: str) -> Path:
        return self.work / stage
