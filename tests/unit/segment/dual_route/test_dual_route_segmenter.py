"""Two routes that are written out, and an inner segmenter that fills a square around every point.

With real models: the last test, of random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from segment.dual_route.tiny_phrases import write_clip, write_sam3
from segment.tiny_sam2 import TINY_CONFIG, make_tile, write_checkpoint

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.build_segmenter import SegmenterOptions, build_segmenter
from pipeline.segment.dual_route.dual_options import DualRouteOptions
from pipeline.segment.dual_route.dual_route_segmenter import DualRouteSegmenter, box_window, point_prompts
from pipeline.segment.segmenter import Embedding, Segmenter

_: type[Segmenter] = DualRouteSegmenter

BOX = (20.0, 10.0, 60.0, 30.0)
"""40 x 20 px."""


class Squares:
    """Fills 8 x 8 px around every point, and remembers the prompts and pictures."""

    model_id = "squares"
    n_embeddings = 0

    def __init__(self) -> None:
        self.prompts: list[Sequence[Prompt]] = []
        self.pictures: list[NDArray[np.uint8]] = []

    def embed(self, image: TileImage) -> Embedding:
        self.n_embeddings += 1
        self.pictures.append(image.rgb)
        height, width = image.rgb.shape[:2]
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=None,
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        self.prompts.append(prompts)
        masks = []
        for index, prompt in enumerate(prompts):
            mask = np.zeros(embedding.shape_px, np.bool_)
            for x, y in prompt.points_xy:
                mask[max(int(y) - 4, 0) : int(y) + 4, max(int(x) - 4, 0) : int(x) + 4] = True
            masks.append(MaskCrop(row0=0, col0=0, mask=mask, score=0.8, prompt_index=index))
        return masks


class Maps:
    """One peak in the middle of the left half, and one in that of the right half, which is lower."""

    def __init__(self, *, flat: bool = False) -> None:
        self.flat = flat
        self.asked: list[str] = []

    def similarity(self, rgb: NDArray[np.uint8], phrase: str) -> NDArray[np.float32]:
        self.asked.append(phrase)
        found = np.zeros((5, 10), np.float32)
        if not self.flat:
            found[2, 2], found[2, 7] = 1.0, 0.5
        return found


class Columns:
    """Marks the first columns of a picture."""

    def __init__(self, n: int) -> None:
        self.n = n

    def find(self, rgb: NDArray[np.uint8], phrase: str) -> tuple[NDArray[np.bool_], float]:
        mask = np.zeros(rgb.shape[:2], np.bool_)
        mask[:, : self.n] = True
        return mask, 0.6 if self.n else 0.0


def options(**changes: Any) -> DualRouteOptions:
    return DualRouteOptions(**{"clip": "a/b", "sam3": "c/d", **changes})


def drawn(segmenter: DualRouteSegmenter, valid: NDArray[np.bool_] | None = None) -> MaskCrop | None:
    image = make_tile(48, 80)
    if valid is not None:
        image = TileImage(tile=image.tile, rgb=image.rgb, valid=valid)
    prompt = Prompt(box_xyxy=BOX, label="storage tank")
    masks = segmenter.segment(segmenter.embed(image), [prompt])
    return masks[0] if masks else None


def where(crop: MaskCrop | None) -> tuple[int, int, int, int] | None:
    """Rows and columns of the tile that a full mask covers."""
    if crop is None:
        return None
    assert crop.mask.all()
    height, width = crop.mask.shape
    return crop.row0, crop.row0 + height, crop.col0, crop.col0 + width


def test_points_lie_where_the_map_is_high_and_mean_one_object() -> None:
    """By hand: cells of 4 x 4 px; the centres (2.5, 2.5) and (7.5, 2.5) lie at (10, 10) and (30, 10) px."""
    inner, matcher = Squares(), Maps()
    crop = drawn(DualRouteSegmenter(inner, options(routes="a"), matcher=matcher, finder=None))
    assert matcher.asked == ["storage tank"]
    assert inner.pictures[0].shape == (20, 40, 3)
    ((prompt,),) = inner.prompts
    assert prompt.points_xy == ((10, 10), (30, 10))
    assert crop is not None
    assert (crop.row0, crop.col0, crop.mask.shape, crop.score) == (16, 26, (8, 28), 0.8)
    assert int(crop.mask.sum()) == 2 * 64


def test_by_the_released_rules_every_point_is_an_object() -> None:
    inner = Squares()
    drawn(DualRouteSegmenter(inner, options(rules="released"), matcher=Maps(), finder=Columns(40)))
    (prompts,) = inner.prompts
    assert [prompt.points_xy for prompt in prompts] == [((10.0, 10.0),)], "only the cell of at least 0.8"
    inner = Squares()
    drawn(DualRouteSegmenter(inner, options(rules="released"), matcher=Maps(flat=True), finder=Columns(40)))
    assert len(inner.prompts[0]) == 9


@pytest.mark.parametrize(
    ("n_columns", "flat", "expected", "score"),
    [
        (12, False, (16, 24, 26, 32), 0.7),  # both: the left square, cut off at column 12
        (0, False, None, None),  # B empty: A alone, two squares
        (20, True, (10, 30, 20, 40), 0.6),  # no point: B alone
        (0, True, None, None),  # neither
    ],
)
def test_routes_are_fused_and_put_back(
    n_columns: int, flat: bool, expected: tuple[int, int, int, int] | None, score: float | None
) -> None:
    segmenter = DualRouteSegmenter(Squares(), options(), matcher=Maps(flat=flat), finder=Columns(n_columns))
    crop = drawn(segmenter)
    if n_columns == 0 and not flat:
        assert crop is not None
        assert int(crop.mask.sum()) == 128
        return
    assert where(crop) == expected
    assert (None if crop is None else crop.score) == (score if score is None else pytest.approx(score))


def test_no_mask_reaches_into_what_is_no_imagery() -> None:
    valid = np.ones((48, 80), np.bool_)
    valid[:, 28:] = False
    crop = drawn(DualRouteSegmenter(Squares(), options(routes="b"), matcher=None, finder=Columns(20)), valid)
    assert where(crop) == (10, 30, 20, 28)


@pytest.mark.parametrize(
    "prompt",
    [Prompt(box_xyxy=BOX), Prompt(box_xyxy=None, points_xy=((1, 1),), point_labels=(1,), label="tank")],
)
def test_a_prompt_without_box_or_phrase_is_refused(prompt: Prompt) -> None:
    segmenter = DualRouteSegmenter(Squares(), options(), matcher=Maps(), finder=Columns(3))
    with pytest.raises(ModelError, match="a box and a phrase"):
        segmenter.segment(segmenter.embed(make_tile(48, 80)), [prompt])


def test_boxes_are_rounded_outwards_and_keep_a_pixel() -> None:
    window = box_window((1.5, 2.0, 3.2, 4.0), (10, 10))
    assert (window.row0, window.row1, window.col0, window.col1) == (2, 4, 1, 4)
    window = box_window((9.9, 12.0, 40.0, 12.0), (10, 10))
    assert (window.row0, window.row1, window.col0, window.col1) == (9, 10, 9, 10)


def test_points_are_shares_of_the_picture() -> None:
    (one,) = point_prompts([(0.5, 0.25), (1.0, 1.0)], (40, 20), apart=False)
    assert one.points_xy == ((10, 10), (20, 40))
    assert len(point_prompts([(0.5, 0.25), (1.0, 1.0)], (40, 20), apart=True)) == 2


def test_real_models_of_random_weights_go_through(tmp_path: Path) -> None:
    """SAM2, CLIP and SAM3 of the real classes: a mask inside the box, the same twice, one encoding a box."""
    (tmp_path / "config.yaml").write_text(TINY_CONFIG)
    write_checkpoint(tmp_path / "config.yaml", tmp_path / "model.safetensors")
    clip, sam3 = write_clip(tmp_path / "clip"), write_sam3(tmp_path / "sam3")
    dual = DualRouteOptions(clip=str(clip), sam3=str(sam3), clip_px=64, text_threshold=0.0)
    segmenter = build_segmenter(
        SegmenterOptions(checkpoint=str(tmp_path / "model.safetensors"), device="cpu", dual=dual)
    )
    assert isinstance(segmenter, DualRouteSegmenter)
    assert segmenter.model_id.endswith(f"+clip:{clip}+sam3:{sam3}+paper")
    image = make_tile(96, 96)
    prompts = [Prompt(box_xyxy=(10, 20, 70, 60), label="storage tank")] * 2
    masks = segmenter.segment(segmenter.embed(image), prompts)
    assert segmenter.n_embeddings == 2
    assert len(masks) in (0, 2)
    for mask in masks:
        assert mask.row0 >= 20
        assert mask.col0 >= 10
        assert mask.row0 + mask.mask.shape[0] <= 60
        assert mask.col0 + mask.mask.shape[1] <= 70
        assert 0 <= mask.score <= 1
    if masks:
        assert np.array_equal(masks[0].mask, masks[1].mask)
