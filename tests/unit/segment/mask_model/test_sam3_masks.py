"""SAM3 asked by words over the real class with random weights: what it finds means nothing, its form does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from segment.dual_route.tiny_phrases import write_sam3
from segment.mask_model.mask_tiles import tile_of

from pipeline.errors import ModelError
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.mask_model.sam3_masks import Sam3Masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam3(tmp_path_factory.mktemp("sam3"))


def model_of(folder: Path, threshold: float) -> Sam3Masks:
    return Sam3Masks(
        MaskModelOptions(kind="sam3-text", checkpoint=str(folder), threshold=threshold, device="cpu")
    )


TILE = tile_of(np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8))


def test_every_instance_is_a_mask_and_the_picture_is_encoded_once(folder: Path) -> None:
    model = model_of(folder, 0.0)
    tank, pool, again = model.answer(TILE, ["storage tank", "pool", "storage tank"])
    assert model.n_embeddings == 1
    assert tank.status is TileStatus.FOUND
    assert (tank.masks.shape[1:], tank.masks.dtype) == ((30, 44), np.bool_)
    assert len(tank.masks) > 1
    assert all(0 < score <= 1 for score in tank.scores)
    np.testing.assert_array_equal(tank.masks, again.masks)
    joined, best = model._finder.find(TILE.rgb, "storage tank")
    np.testing.assert_array_equal(tank.masks.any(axis=0), joined)
    assert best >= max(tank.scores)
    assert pool.scores != tank.scores


def test_nothing_above_the_threshold_is_nothing_here(folder: Path) -> None:
    (answer,) = model_of(folder, 1.0).answer(TILE, ["storage tank"])
    assert (answer.status, answer.reason) == (TileStatus.EMPTY, Reason.PROMPTER)


def test_what_goes_wrong_with_one_query_fails_it_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(folder, 0.0)
    find = model._finder.instances

    def sometimes(seen: object, query: str) -> object:
        if query == "bad":
            raise RuntimeError("out of memory")
        return find(seen, query)  # type: ignore[arg-type]

    monkeypatch.setattr(model._finder, "instances", sometimes)
    good, bad = model.answer(TILE, ["tank", "bad"])
    assert (good.status, bad.status, bad.reason) == (TileStatus.FOUND, TileStatus.FAILED, Reason.MODEL_ERROR)
    assert bad.error == "RuntimeError: out of memory"


def test_a_folder_without_one_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SAM3 does not load"):
        model_of(tmp_path, 0.5)
