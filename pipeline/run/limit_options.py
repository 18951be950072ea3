"""How long a step may take, and after how many failures a source or a whole run is given up.

None of it changes what models answer, so none enters the fingerprint: a run that stopped at a limit is
resumed with another.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """The `[limits]` table."""

    tile_s: float = 900.0
    """Longest time in seconds that one step (reading, asking, segmenting) may take for one tile, waiting for
    the engine included. A tile that takes longer is FAILED(timeout).
    """
    block_s: float = 3600.0
    """Longest time that reading a block or verifying its masks may take. Then its tiles are done singly."""
    source_failures: int = 5
    """Failures in a row after which a remote scene, or a host with several scenes, is given up: its tiles are
    FAILED(unreadable) at once. 0: never.
    """
    source_pause_s: float = 60.0
    """Pause after which a source that was given up is tried again. It doubles with every try, up to ten
    minutes.
    """
    first_failures: int = 32
    """The run stops when so many tiles have failed for one reason and none has been judged. 0: never."""
    failures_in_row: int = 256
    """The run stops when so many tiles in a row have failed for one reason. 0: never."""

    def __post_init__(self) -> None:
        for name in ("tile_s", "block_s", "source_pause_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is a positive number of seconds, got {getattr(self, name)}")
        for name in ("source_failures", "first_failures", "failures_in_row"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}; 0 means never")
