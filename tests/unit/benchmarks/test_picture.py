"""The picture of the seam comparison: which places it shows and what colours mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmarks.seams import picture
from benchmarks.seams.adapters.exchange import Outputs
from benchmarks.seams.score import Pixels, Score, pixels_of, score
from benchmarks.seams.world import SeamWorld
from PIL import Image

LABELS = np.zeros((120, 160), dtype=np.int32)
LABELS[20:40, 50:70], LABELS[80:100, 50:70], LABELS[60:62, 5:155] = 1, 2, 3
WORLD = SeamWorld(labels=LABELS, kind=("medium", "medium", "long"), seed=0)
CROSSING = np.array([True, True, True])
WINDOW = (slice(10, 50), slice(40, 80))
LOWER = (slice(70, 110), slice(40, 80))


def judged(raster: np.ndarray) -> tuple[Pixels, Score]:
    pixels = pixels_of(Outputs(raster=raster), LABELS.shape)
    return pixels, score(LABELS, pixels)


def broken() -> np.ndarray:
    """Object 1 cut in two at column 60, object 2 gone, object 3 whole."""
    raster = LABELS.copy()
    raster[20:40, 60:70] = 7
    raster[LABELS == 2] = 0
    return raster


def test_places_are_over_seams_and_not_exact_for_most() -> None:
    cut = LABELS.copy()
    gone = LABELS.copy()
    cut[20:40, 60:70] = 7
    gone[LABELS == 2] = 0
    scores = [judged(image)[1] for image in (cut, broken(), gone, gone)]
    (window,) = picture.places(
        WORLD, 60, CROSSING, scores
    )  # object 2 is wrong three times, object 1 twice, 3 never
    assert (LABELS[window] == 2).sum() == 400
    assert picture.places(WORLD, 60, np.array([True, False, True]), scores[:1])[0][0].start < 20
    assert picture.places(WORLD, 60, CROSSING, [judged(LABELS)[1]]) == []


def test_a_thin_object_is_shown_at_one_crossing() -> None:
    raster = LABELS.copy()
    raster[LABELS == 3] = 0
    (window,) = picture.places(WORLD, 60, CROSSING, [judged(raster)[1]])
    rows, cols = window
    assert rows.stop - rows.start == cols.stop - cols.start == 120, "as much as fits"
    assert cols.start < 60 < cols.stop


def test_pale_is_exact_and_every_other_output_has_its_own_colour() -> None:
    pixels, got = judged(broken())
    outputs = picture._outputs_in(pixels, LABELS.shape[1], WINDOW)
    np.testing.assert_array_equal(outputs > 0, broken()[WINDOW] > 0)
    colours = picture._colours(outputs, got)
    assert tuple(colours[0, 0]) == picture.WHITE
    left = tuple(colours[20, 15])
    right = tuple(colours[20, 25])
    assert left != right
    assert {left, right} <= set(picture.VIVID)
    whole = picture._outputs_in(judged(LABELS)[0], LABELS.shape[1], WINDOW)
    assert tuple(picture._colours(whole, judged(LABELS)[1])[20, 15]) == picture.PALE
    assert picture._missed(outputs, LABELS[WINDOW], 3).tolist() == [False] * 4
    nothing = picture._outputs_in(pixels, LABELS.shape[1], LOWER)
    assert picture._missed(nothing, LABELS[LOWER], 3).tolist() == [False, False, True, False]


def test_the_smaller_of_two_overlapping_outputs_lies_on_top() -> None:
    index = np.concatenate([np.arange(0, 6), np.arange(2, 4)])
    pixels = Pixels(start=np.array([0, 6, 8]), index=index)
    assert picture._outputs_in(pixels, 6, (slice(0, 1), slice(0, 6))).tolist() == [[1, 1, 2, 2, 1, 1]]


def test_lines_lie_where_they_belong() -> None:
    image = np.full((40, 40, 3), 255, dtype=np.uint8)
    outlined = picture._outlined(image, LABELS[WINDOW], np.array([False, True, False, False]))
    assert tuple(outlined[10, 15]) == picture.RED
    assert tuple(outlined[20, 20]) == picture.WHITE
    lines = picture._with_borders(image, WINDOW, 60)
    assert tuple(lines[0, 20]) == picture.BLUE, "column 60 is column 20 of the window"
    assert (lines[:, :20] == 255).all()


def test_the_file_has_a_cell_for_every_place_and_method(tmp_path: Path) -> None:
    shown = {"ours": judged(LABELS), "cut (one)": judged(broken())}
    picture.draw(tmp_path / "seams.png", WORLD, 60, [WINDOW, LOWER], shown)
    with Image.open(tmp_path / "seams.png") as image:
        assert image.size == (600, 435)
        colours = {colour for _, colour in image.convert("RGB").getcolors(10**6) or []}
    assert {picture.PALE, picture.RED} <= colours
