"""What each token of a packed reply is told, on replies small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pipeline
from pipeline.finetune.prompter.packing import NOWHERE, TokenTable, segment_of
from pipeline.finetune.prompter.samples import GRID, TileObjects
from pipeline.finetune.prompter.tokenizer import NEXT_OBJECT, OBJECTS_CLOSE, cell_open, load_tokenizer
from pipeline.finetune.prompter.training_queries import TrainingQuery

MODEL = Path(pipeline.__file__).parent / "models" / "embedded-prompter"


def tile_of(boxes: list[tuple[int, int, int, int]], kinds: list[int]) -> TileObjects:
    box = np.asarray(boxes, np.float32).reshape(-1, 4)
    return TileObjects(
        class_ids=np.asarray(kinds, np.int64),
        boxes_xyxy=box,
        points_xy=(box[:, :2] + box[:, 2:]) / 2,
        owner=np.full((GRID, GRID), -1, np.int64),
        coverage=np.zeros((GRID, GRID, 9), np.float32),
    )


def test_every_token_about_an_object_points_at_its_cell() -> None:
    table = TokenTable.of(load_tokenizer(MODEL))
    truth = tile_of(
        [(0, 0, 20, 20), (100, 0, 120, 20), (30, 60, 50, 80)], [1, 0, 1]
    )  # points (10, 10), (110, 10), (40, 70)
    ids, weights, cells = segment_of(table, TrainingQuery(text="buildings", class_id=1), truth)
    spoken = [
        (table.tokenizer.decode([token]), cell) for token, cell in zip(ids, cells, strict=True) if cell >= 0
    ]
    first = 0
    second = 2 * GRID + 1
    assert spoken == [
        (" some", first),
        ("[", first),
        (cell_open(first), first),
        *[(number, first) for number in ("10", "10", "0", "0", "20", "20")],
        (NEXT_OBJECT, second),
        (cell_open(second), second),
        *[(number, second) for number in ("40", "70", "30", "60", "50", "80")],
        (OBJECTS_CLOSE, NOWHERE),
    ]
    assert all(weight > 0 for weight, cell in zip(weights, cells, strict=True) if cell >= 0)


def test_an_absent_class_points_nowhere() -> None:
    table = TokenTable.of(load_tokenizer(MODEL))
    ids, _, cells = segment_of(table, TrainingQuery(text="lakes", class_id=2), tile_of([(0, 0, 20, 20)], [1]))
    assert [
        (table.tokenizer.decode([token]), cell) for token, cell in zip(ids, cells, strict=True) if cell >= 0
    ] == [(" none", NOWHERE)]
