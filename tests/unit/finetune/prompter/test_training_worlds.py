"""Training tiles come from training worlds, repeatably, with every class often enough to learn it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.prompter import training_worlds
from pipeline.finetune.prompter.prompter_data import CHUNK, DrawnTile
from pipeline.finetune.prompter.samples import describe_tile
from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.render import render


@pytest.fixture(scope="module")
def chunk() -> list[DrawnTile]:
    return training_worlds.draw_chunk(0)


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
        assert (
            not tile.labels[(tile.rgb == 0).all(-1)].any()
            or (tile.labels[(tile.rgb == 0).all(-1)] > 0).mean() < 0.01
        )


def test_plain_tiles_are_the_rendered_pixels_at_scale_one() -> None:
    first = training_worlds.FIRST_VALID_SEED
    tiles = training_worlds._draw_group(np.random.default_rng([first, 17]), first, plain=True, wide=False)
    rng = np.random.default_rng([first, 17])
    row0, col0 = (int(value) for value in rng.integers(-30_000, 30_000, 2))
    top, left = (int(rng.integers(0, 1152 - 256 + 1)) for _ in range(2))
    window = Window(row0=row0 + top, col0=col0 + left, row1=row0 + top + 256, col1=col0 + left + 256)
    expected = render(World.from_seed(first), window)
    assert np.array_equal(tiles[0].rgb, expected.rgb)
    assert np.array_equal(tiles[0].labels > 0, expected.labels > 0)


def test_plain_and_narrow_draws_ask_for_no_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("no sensor was wanted")

    monkeypatch.setattr(training_worlds, "draw_sensor", refuse)
    monkeypatch.setattr(training_worlds, "CHUNK", training_worlds.GROUP)
    training_worlds.draw_chunk(0, plain=True)
    training_worlds.draw_chunk(0, wide=False)
    with pytest.raises(AssertionError, match="no sensor"):
        training_worlds.draw_chunk(0)


def test_scales_are_wide_with_known_shares() -> None:
    rng = np.random.default_rng(0)
    scales = np.asarray([training_worlds._drawn_scale(rng, wide=True) for _ in range(4000)])
    assert np.mean(scales == 1.0) == pytest.approx(0.3, abs=0.03)
    assert scales.min() >= 0.25
    assert scales.max() <= 5.0
    assert 0.005 < np.mean(scales < 0.4) < 0.03  # 10 % of all, of them ln(0.4 / 0.25) / ln(20)
    assert 0.005 < np.mean(scales > 3.0) < 0.03
    assert np.mean((scales < 0.75) | (scales > 1.35)) > 0.3
    narrow = [training_worlds._drawn_scale(rng, wide=False) for _ in range(500)]
    assert min(narrow) >= 0.75
    assert max(narrow) <= 1.35


def test_a_close_view_is_placed_where_the_far_view_saw_the_most() -> None:
    """Counted over groups, chosen places hold more classes than random ones."""
    kinds = {True: 0, False: 0}
    for seed in range(100_200, 100_212):
        for chosen in (True, False):
            rng = np.random.default_rng(seed)
            row0, col0 = (
                training_worlds._chosen_place(rng, seed, 4.0)
                if chosen
                else training_worlds._random_place(rng)
            )
            window = Window(row0=row0, col0=col0, row1=row0 + 1152, col1=col0 + 1152)
            seen = render(World.from_seed(seed, scale=4.0), window)
            kinds[chosen] += len({item.class_name for item in seen.objects})
    assert kinds[True] > 1.3 * kinds[False]


def test_the_most_distant_view_renders_and_asks_for_nothing_too_small() -> None:
    rendering = render(
        World.from_seed(100_001, scale=training_worlds.FULL_SCALES[0]),
        Window(row0=0, col0=0, row1=1152, col1=1152),
    )
    class_of = {k + 1: CLASSES.index(item.class_name) for k, item in enumerate(rendering.objects)}
    truth = describe_tile(rendering.labels[:256, :256], class_of, n_classes=len(CLASSES))
    sides = truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]
    assert len(rendering.objects) > 100
    assert len(sides)
    assert sides.min() >= 8


def test_a_distant_cut_avoids_objects_too_small_to_list() -> None:
    """One side of the patch is full of 6-px squares, the other of 20-px ones; aimed cuts alone take either
    side.
    """
    labels = np.zeros((training_worlds.PATCH_PX,) * 2, np.int32)
    for row in range(20, 1100, 100):
        for col in range(20, 1100, 100):
            side = 6 if col < 500 else 20
            labels[row : row + side, col : col + side] = labels.max() + 1
    kind_of = np.asarray([-1] + [0] * int(labels.max()))
    rng = np.random.default_rng(3)
    clear = [training_worlds._clearest_place(rng, labels, kind_of)[1] for _ in range(60)]
    aimed = [training_worlds._place(rng, labels, kind_of, aimed=True)[1] for _ in range(60)]
    assert np.mean(np.asarray(clear) > 450) > np.mean(np.asarray(aimed) > 450) + 0.15


def test_evaluation_seeds_are_out_of_reach() -> None:
    groups = CHUNK // training_worlds.GROUP
    last_default = training_worlds.FIRST_TRAIN_SEED + (7680 // CHUNK) * groups
    assert 1000 < training_worlds.FIRST_TRAIN_SEED < last_default <= training_worlds.FIRST_VALID_SEED
