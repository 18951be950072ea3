from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.assess.draw_units import (
    KINDS,
    Wanted,
    cell_strata,
    draw,
    object_strata,
    point_strata,
)
from pipeline.assess.sampling_frame import FAR, INSIDE, GroundFrame, ObjectsFrame


def objects(n: int) -> ObjectsFrame:
    return ObjectsFrame(
        instance_id=np.arange(1, n + 1, dtype=np.uint64),
        score=np.linspace(0.3, 0.9, n),
        at_edge=np.arange(n) % 3 == 0,
        area_px=np.full(n, 100),
    )


def ground() -> GroundFrame:
    """Three cells: with an object, in the same tile without, and in a tile that the prompter found empty."""
    return GroundFrame(
        window=np.array([[0, 0, 10, 10], [0, 10, 10, 20], [10, 0, 20, 10]], dtype=np.int32),
        state=np.array([0, 0, 1], dtype=np.uint8),
        n_px=np.array([[0, 20, 30, 50], [0, 0, 0, 100], [40, 0, 0, 60]], dtype=np.int32),
        px_m2=np.array([0.25, 0.25, 0.25]),
    )


def test_strata_part_everything_that_can_be_drawn() -> None:
    frame = objects(31)
    rows = np.concatenate([each.rows for each in object_strata(frame)])
    assert sorted(rows.tolist()) == list(range(31))
    rows = np.concatenate([each.rows for each in cell_strata(ground())])
    assert sorted(rows.tolist()) == [0, 1, 2]
    points = {each.name: each for each in point_strata(ground())}
    assert sum(each.size for each in points.values()) == 260
    assert points["on objects"].size == 20
    assert points["tile with finds, away from objects"].area_m2 == 150 * 0.25


def test_the_draw_follows_the_seed_and_has_no_unit_twice() -> None:
    wanted = Wanted(objects=20, cells=2, points=40)
    strata, units = draw(objects(60), ground(), wanted, seed=5, query_index=1)
    assert (strata, units) == draw(objects(60), ground(), wanted, seed=5, query_index=1)
    assert units != draw(objects(60), ground(), wanted, seed=6, query_index=1)[1]
    assert units != draw(objects(60), ground(), wanted, seed=5, query_index=0)[1]
    names = [(each.kind, each.row, each.pixel_class, each.ordinal) for each in units]
    assert len(set(names)) == len(names)
    counted = Counter(each.stratum for each in units)
    assert {number: counted[number] for number in range(len(strata))} == {
        number: each.drawn for number, each in enumerate(strata)
    }
    assert [each.kind for each in units] == sorted((each.kind for each in units), key=KINDS.index)


def test_a_point_is_a_pixel_of_its_class() -> None:
    _, units = draw(objects(0), ground(), Wanted(objects=0, cells=0, points=260), seed=0, query_index=0)
    places = {(each.row, each.pixel_class, each.ordinal) for each in units}
    assert len(units) == 260  # every judged pixel, once
    assert {ordinal for row, which, ordinal in places if (row, which) == (0, INSIDE)} == set(range(20))
    assert {ordinal for row, which, ordinal in places if (row, which) == (2, FAR)} == set(range(60))


def test_every_unit_of_a_stratum_has_the_same_chance() -> None:
    n_seeds = 1200
    alone = ObjectsFrame(
        instance_id=np.arange(1, 31, dtype=np.uint64),
        score=np.full(30, 0.5),
        at_edge=np.zeros(30, dtype=np.bool_),
        area_px=np.full(30, 100),
    )
    drawn: Counter[int] = Counter()
    for seed in range(n_seeds):
        _, units = draw(alone, ground(), Wanted(objects=10, cells=0, points=0), seed=seed, query_index=0)
        drawn.update(each.row for each in units)
    shares = np.array([drawn[row] for row in range(30)]) / n_seeds
    assert shares.sum() == pytest.approx(10)
    assert np.abs(shares - 1 / 3).max() < 4.5 * np.sqrt(1 / 3 * 2 / 3 / n_seeds)
