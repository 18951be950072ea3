"""Training tiles come from training worlds, repeatably, with every class often enough to learn it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune import prompter_world
from pipeline.finetune.prompter_data import CHUNK, DrawnTile
from pipeline.finetune.samples import describe_tile
from pipeline.world.classes import CLASSES


@pytest.fixture(scope="module")
def chunk() -> list[DrawnTile]:
    return prompter_world.draw_chunk(0)


def test_a_chunk_is_whole_and_most_of_its_tiles_hold_something(chunk: list[DrawnTile]) -> None:
    assert len(chunk) == CHUNK
    truths = [describe_tile(tile.labels, tile.class_of, n_classes=len(CLASSES)) for tile in chunk]
    assert np.mean([len(truth.class_ids) > 0 for truth in truths]) > 0.5
    assert len(np.unique(np.concatenate([truth.class_ids for truth in truths]))) >= 6


def test_every_label_of_a_tile_has_a_class(chunk: list[DrawnTile]) -> None:
    for tile in chunk:
        assert set(np.unique(tile.labels).tolist()) - {0} <= set(tile.class_of)
        assert tile.rgb.shape == (*tile.labels.shape, 3)


def test_black_parts_hold_nothing(chunk: list[DrawnTile]) -> None:
    spoiled = [tile for tile in chunk if (tile.rgb == 0).all(-1).mean() > 0.05]
    assert spoiled
    for tile in spoiled:
        assert not tile.labels[(tile.rgb == 0).all(-1)].any() or (tile.labels[(tile.rgb == 0).all(-1)] > 0).mean() < 0.01


def test_evaluation_seeds_are_out_of_reach() -> None:
    groups = CHUNK // prompter_world.GROUP
    last_default = prompter_world.FIRST_TRAIN_SEED + (7680 // CHUNK) * groups
    assert 1000 < prompter_world.FIRST_TRAIN_SEED < last_default <= prompter_world.FIRST_VALID_SEED
