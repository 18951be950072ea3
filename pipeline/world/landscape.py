"""One world: a seed, a size multiplier, the classes that it leaves out, and maybe one of two dates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from pipeline.errors import InputError
from pipeline.world.classes import CLASSES
from pipeline.world.edits import Edits
from pipeline.world.style import Style, absent_classes, derive_style

MIN_SCALE = 0.25
MAX_SCALE = 5.0


@dataclass(frozen=True, kw_only=True)
class World:
    """An infinite landscape: every pixel is a pure function of this object and its global row and column."""

    seed: int
    scale: float = 1.0
    """Multiplier of all object sizes and textures; 1.0 suits 256-px tiles."""
    absent: frozenset[str] = field(default_factory=frozenset)
    """Classes that never occur in this world."""
    edits: Edits | None = None
    """Which of two dates this is. None: the world that does not change."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(
                "a world's seed must be an integer from 0 to 2**63 - 1",
                came=str(self.seed),
                remedy="choose another seed",
            )
        if not MIN_SCALE <= self.scale <= MAX_SCALE:
            bounds = f"[{MIN_SCALE}, {MAX_SCALE}]"
            raise InputError(
                f"a world's scale must lie in {bounds}",
                came=str(self.scale),
                remedy="use 1.0 unless you augment",
            )
        unknown = sorted(self.absent - set(CLASSES))
        if unknown:
            known = ", ".join(CLASSES)
            raise InputError(
                "absent classes must be classes of the world",
                came=", ".join(unknown),
                remedy=f"choose from {known}",
            )

    @classmethod
    def from_seed(cls, seed: int, *, scale: float = 1.0, edits: Edits | None = None) -> World:
        """Make the world of a seed. It lacks the one or two classes that this seed leaves out."""
        return cls(seed=seed, scale=scale, absent=absent_classes(seed), edits=edits)

    @property
    def present(self) -> tuple[str, ...]:
        """Classes that this world may hold, in CLASSES order."""
        return tuple(name for name in CLASSES if name not in self.absent)

    @property
    def style(self) -> Style:
        """Look and land use, derived from the seed alone."""
        return _style(self.seed)


@lru_cache(maxsize=256)
def _style(seed: int) -> Style:
    return derive_style(seed)
