"""Where a training of the embedded prompter keeps its things, and on what it computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.finetune.prompter.prompter_model import PrompterShape


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlace:
    """Where a training run keeps its things, and on what it computes."""

    work: Path
    """Rendered tiles, checkpoints and logs; kept between runs."""
    device: str = "cpu"
    seed: int = 0
    shape: PrompterShape = field(default_factory=PrompterShape)
    start: Path | None = None
    """Exported prompter that the language stage goes on from; None: from nothing (`carry_on`)."""
    compiled: bool = False
    """Compile the language model for training; needs a C++ compiler, and pays from a few dozen steps on."""

    @property
    def train_tiles(self) -> Path:
        return self.work / "train"

    @property
    def valid_tiles(self) -> Path:
        return self.work / "valid"

    def checkpoints(self, stage: str) -> Path:
        return self.work / stage
