from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World


def test_from_seed() -> None:
    world = World.from_seed(3, scale=1.5)
    assert world == World.from_seed(3, scale=1.5)
    assert world.scale == 1.5
    assert set(world.present) | world.absent == set(CLASSES)
    assert not set(world.present) & world.absent


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1, "scale": 0.1}, "scale"),
        ({"seed": 1, "scale": float("nan")}, "scale"),
        ({"seed": 1, "absent": frozenset({"ship"})}, "ship"),
    ],
)
def test_bad_worlds_are_refused(kwargs: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        World(**kwargs)  # type: ignore[arg-type]
