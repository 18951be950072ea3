"""What each token of a packed reply is told, on replies small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.finetune.prompter.packing import (
    NOWHERE,
    Pack,
    TokenTable,
    attention_mask,
    collate,
    image_positions,
    pack_tile,
    segment_of,
)
from pipeline.finetune.prompter.samples import GRID, TileObjects
from pipeline.finetune.prompter.tokenizer import NEXT_OBJECT, OBJECTS_CLOSE, cell_open, load_tokenizer
from pipeline.finetune.prompter.training_queries import QuerySampler, TrainingQuery

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


def test_a_segment_sees_the_prefix_and_itself_alone() -> None:
    """Two tokens of prefix, then two of the first segment, one of the second, one of padding."""
    torch = pytest.importorskip("torch")
    mask = attention_mask(torch.tensor([[1, 1, 2, 0]]), 2)
    assert mask.shape == (1, 1, 6, 6)
    seen = (mask[0, 0] == 0).int().tolist()
    assert seen[:5] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
    ]


def test_image_positions_count_rows_and_columns_after_the_prefix() -> None:
    """Time, row, column: text counts in all three, the image stands still in time."""
    positions = image_positions(2)
    assert positions.shape == (3, 2 + 81)
    assert positions[:, :4].T.tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 2, 3]]
    assert positions[:, 2 + 10].tolist() == [2, 3, 3]
    assert positions[:, -1].tolist() == [2, 10, 10]


def test_a_pack_is_full_and_its_segments_count_from_the_image() -> None:
    table = TokenTable.of(load_tokenizer(MODEL))
    truth = tile_of([(0, 0, 20, 20)], [1])
    pack = pack_tile(table, QuerySampler(), truth, rng=np.random.default_rng(0), budget=200)
    assert 100 < len(pack.ids) <= 200
    assert pack.segment == sorted(pack.segment)
    assert set(pack.segment) == set(range(1, max(pack.segment) + 1))
    starts = [place for place, position in enumerate(pack.position) if position == 0]
    assert starts == [pack.segment.index(number) for number in range(1, max(pack.segment) + 1)]


def test_a_batch_is_padded_and_holds_the_largest_object_of_a_cell() -> None:
    """The two objects of class 1 share cell 0; the larger one is the second of its class."""
    pytest.importorskip("torch")
    truth = tile_of([(8, 8, 16, 16), (0, 0, 26, 26), (100, 0, 120, 20)], [1, 1, 0])
    pack = Pack(
        ids=[5, 6, 7], segment=[1, 1, 1], position=[0, 1, 2], weight=[0.0, 1.0, 4.0], cell=[-1, 0, -1]
    )
    batch = collate([pack], [truth], pad=9, multiple=4)
    assert batch.ids.tolist() == [[5, 6, 7, 9]]
    assert batch.segment.tolist() == [[1, 1, 1, 0]]
    assert batch.weight.tolist() == [[0.0, 1.0, 4.0, 0.0]]
    assert batch.cell.tolist() == [[-1, 0, -1, -1]]
    found = {
        tuple(index): numbers
        for index, numbers in zip(batch.cell_index.tolist(), batch.cell_numbers.tolist(), strict=True)
    }
    assert found == {(0, 0): [13, 13, 0, 0, 26, 26], (0, 3): [110, 10, 100, 0, 120, 20]}
    ranks = dict(zip(map(tuple, batch.cell_index.tolist()), batch.cell_rank.tolist(), strict=True))
    assert ranks == {(0, 0): 1, (0, 3): 0}
