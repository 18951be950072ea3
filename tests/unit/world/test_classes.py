from __future__ import annotations

from pipeline.world import classes
from pipeline.world.classes import CLASSES

CODES = {
    "storage_tank": classes.TANK,
    "building": classes.BUILDING,
    "lake": classes.LAKE,
    "ripe_field": classes.RIPE,
    "green_field": classes.GREEN,
    "runway": classes.RUNWAY,
    "pool": classes.POOL,
    "greenhouse": classes.GREENHOUSE,
    "solar_array": classes.SOLAR,
}


def test_a_code_is_the_place_in_the_order_plus_one() -> None:
    assert classes.SCENERY == 0
    assert sorted(CODES.values()) == list(range(1, len(CLASSES) + 1))
    assert {name: CLASSES[code - 1] for name, code in CODES.items()} == {name: name for name in CODES}
