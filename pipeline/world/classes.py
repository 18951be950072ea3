"""What the procedural world can hold. The order is part of the format: class code = index + 1."""

from __future__ import annotations

from typing import Final

CLASSES: tuple[str, ...] = (
    "storage_tank",
    "building",
    "lake",
    "ripe_field",
    "green_field",
    "runway",
    "pool",
    "greenhouse",
    "solar_array",
)
"""Every class that a world may hold; each world leaves one or two of them out."""

# Codes used by the compiled renderer: index into CLASSES plus one, 0 = scenery without a label.
SCENERY: Final = 0
TANK: Final = 1
BUILDING: Final = 2
LAKE: Final = 3
RIPE: Final = 4
GREEN: Final = 5
RUNWAY: Final = 6
POOL: Final = 7
GREENHOUSE: Final = 8
SOLAR: Final = 9
