"""Each box on a crop of its own: where the crop lies, and that masks come back to their places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fakes_segment import FakeSegmenter
from hypothesis import given
from hypothesis import strategies as st
from prompt.prompt_tiles import PATIENT

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.build_segmenter import SegmenterOptions
from pipeline.segment.crop_segmenter import MIN_CROP_PX, CropSegmenter, crop_window, cropped, moved
from pipeline.segment.dual_route.dual_options import DualRouteOptions
from pipeline.segment.segmenter import Embedding, Segmenter

MakeTile = Callable[..., TileImage]


class Cropped(FakeSegmenter):
    """Fills boxes, as its parent does, and notes the pictures that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[TileImage] = []

    def embed(self, image: TileImage) -> Embedding:
        self.shown.append(image)
        self.embedded.clear()  # crops of one tile have its name
        return super().embed(image)


_conforms: Segmenter = CropSegmenter(FakeSegmenter(), 0.5)


def pixels(masks: list[MaskCrop], shape: tuple[int, int]) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Masks on the tile."""
    found = []
    for mask in masks:
        whole = np.zeros(shape, dtype=np.bool_)
        height, width = mask.mask.shape
        whole[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width] = mask.mask
        found.append(whole)
    return found


def test_crops_by_hand() -> None:
    """A box of 100 x 40 px in a tile of 512: half of 200 px, and moved in at the corner."""
    window = crop_window((200.0, 300.0, 300.0, 340.0), (512, 512), 0.5)
    assert (window.row0, window.col0, window.row1, window.col1) == (220, 150, 420, 350)
    corner = crop_window((0.0, 480.0, 100.0, 512.0), (512, 512), 0.5)
    assert (corner.row0, corner.col0, corner.row1, corner.col1) == (312, 0, 512, 200)
    small = crop_window((10.0, 10.0, 14.0, 14.0), (512, 512), 0.5)
    assert small.shape == (MIN_CROP_PX, MIN_CROP_PX)
    large = crop_window((0.0, 0.0, 500.0, 90.0), (512, 100), 0.5)
    assert large.shape == (512, 100)


@PATIENT
@given(
    box=st.tuples(st.floats(0, 180), st.floats(0, 100), st.floats(1, 90), st.floats(1, 60)),
    share=st.floats(0.1, 1.0),
)
def test_a_crop_lies_in_the_tile_and_holds_the_box(
    box: tuple[float, float, float, float], share: float
) -> None:
    x0, y0 = box[:2]
    x1 = min(x0 + box[2], 200.0)
    y1 = min(y0 + box[3], 120.0)
    window = crop_window((x0, y0, x1, y1), (120, 200), share)
    assert 0 <= window.row0 < window.row1 <= 120
    assert 0 <= window.col0 < window.col1 <= 200
    assert window.row0 - 1 <= y0
    assert y1 <= window.row1 + 1
    assert window.col0 - 1 <= x0
    assert x1 <= window.col1 + 1


def test_masks_are_those_of_the_tile(tile: MakeTile) -> None:
    """A segmenter that fills boxes draws the same on crops as on the tile, and invalid pixels stay out."""
    image = tile(96, 96, invalid_cols=30)
    prompts = [
        Prompt(box_xyxy=(4.0, 6.0, 20.0, 30.0)),
        Prompt(box_xyxy=None, points_xy=((50.0, 50.0),), point_labels=(1,)),
        Prompt(box_xyxy=(60.0, 70.0, 90.0, 96.0), points_xy=((61.0, 71.0),), point_labels=(1,)),
        Prompt(box_xyxy=(70.0, 0.0, 90.0, 9.0)),  # nothing but nodata
    ]
    whole = FakeSegmenter()
    expected = whole.segment(whole.embed(image), prompts)
    inner = Cropped()
    segmenter = CropSegmenter(inner, 0.4)
    embedding = segmenter.embed(image)
    assert segmenter.n_embeddings == 0
    found = segmenter.segment(embedding, prompts)
    assert [mask.prompt_index for mask in found] == [mask.prompt_index for mask in expected] == [0, 2]
    for mine, theirs in zip(pixels(found, (96, 96)), pixels(expected, (96, 96)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert segmenter.n_embeddings == 4, "the tile for the point, and a crop for each box"
    assert inner.shown[1].rgb.shape == (64, 64, 3)
    np.testing.assert_array_equal(inner.shown[1].rgb, image.rgb[:64, :64])


def test_prompts_and_pictures_move_together(tile: MakeTile) -> None:
    image = tile(96, 96)
    prompt = Prompt(
        box_xyxy=(40.0, 50.0, 60.0, 70.0),
        points_xy=((45.0, 55.0), (1.0, 1.0)),
        point_labels=(1, 0),
        label="a shed",
    )
    window = crop_window((40.0, 50.0, 60.0, 70.0), (96, 96), 0.3)
    there = moved(prompt, window)
    assert (window.row0, window.col0) == (26, 16)
    assert there.box_xyxy == (24.0, 24.0, 44.0, 44.0)
    assert (there.points_xy, there.point_labels, there.label) == (((29.0, 29.0),), (1,), "a shed")
    part = cropped(image, window)
    assert part.tile.read.shape == part.rgb.shape[:2] == (67, 67)
    np.testing.assert_array_equal(part.rgb[29, 29], image.rgb[55, 45])


def test_a_share_is_a_parameter_where_it_counts() -> None:
    plain = SegmenterOptions(kind="sam-onnx", checkpoint="x")
    assert "crop_share" not in plain.result_parameters()
    assert replace(plain, crop_share=0.5).result_parameters()["crop_share"] == 0.5
    with pytest.raises(ValueError, match="crop_share"):
        SegmenterOptions(crop_share=1.5)
    with pytest.raises(ValueError, match="cut their own crops"):
        SegmenterOptions(crop_share=0.5, dual=DualRouteOptions(routes="b", sam3="x/y"))
