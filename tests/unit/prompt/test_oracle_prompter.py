from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from prompt_tiles import PATIENT, UTM, grid, lattice, tile_image
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.prompt.oracle_prompter import OraclePrompter, interior_points, object_prompts
from pipeline.prompt.prompter import Prompter
from pipeline.schema.tile_answers import Reason, TileStatus

_: type[Prompter] = OraclePrompter


def write_labels(path: Path, labels: NDArray[np.uint32]) -> str:
    height, width = labels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint32", "crs": UTM}
    with rasterio.open(path, "w", transform=Affine(1, 0, 500_000, 0, -1, 40_000), **profile) as file:
        file.write(labels, 1)
    return f"oracle:{path}"


def scene() -> NDArray[np.uint32]:
    labels = np.zeros((80, 100), np.uint32)
    labels[5:15, 8:20] = 700_001
    labels[30, 31] = 3
    return labels


def test_every_visible_object_becomes_box_and_points(tmp_path: Path) -> None:
    prompter = OraclePrompter(write_labels(tmp_path / "l.tif", scene()), grid())
    image = tile_image(lattice(grid(), tile_px=60, halo_px=10))
    answers = asyncio.run(prompter.prompt(image, ["anything", "else"]))
    assert [(a.query_index, a.status, a.reason) for a in answers] == [
        (0, TileStatus.FOUND, Reason.NONE),
        (1, TileStatus.FOUND, Reason.NONE),
    ]
    boxes = {p.box_xyxy: p for p in answers[0].prompts}
    assert set(boxes) == {(8, 5, 20, 15), (31, 30, 32, 31)}
    assert boxes[31, 30, 32, 31].points_xy == ((31.5, 30.5),)
    assert len(boxes[8, 5, 20, 15].points_xy) == 2
    assert sorted(p.label for p in answers[0].prompts) == ["oracle:1", "oracle:2"]
    prompter.close()


def test_nothing_visible_is_empty(tmp_path: Path) -> None:
    prompter = OraclePrompter(write_labels(tmp_path / "l.tif", scene()), grid())
    (answer,) = asyncio.run(
        prompter.prompt(tile_image(lattice(grid(), tile_px=60, halo_px=10), 1, 2), ["anything"])
    )
    assert (answer.status, answer.reason, answer.prompts) == (TileStatus.EMPTY, Reason.PROMPTER, ())


def test_labels_agree_with_the_truth_of_the_same_tile(tmp_path: Path) -> None:
    """The oracle segmenter finds object n of the tile by the label `oracle:n`."""
    from pipeline.world.oracle import OracleTruth, parse_oracle

    text = write_labels(tmp_path / "l.tif", scene())
    image = tile_image(lattice(grid(), tile_px=60, halo_px=10))
    labels = OracleTruth.on_grid(parse_oracle(text), grid()).tile(image.tile).labels
    (answer,) = asyncio.run(OraclePrompter(text, grid()).prompt(image, ["anything"]))
    for prompt in answer.prompts:
        assert prompt.box_xyxy is not None
        x0, y0, x1, y1 = (int(v) for v in prompt.box_xyxy)
        assert (
            labels[y0:y1, x0:x1] == int(prompt.label.removeprefix("oracle:"))
        ).all()  # both objects fill their boxes


def test_unaligned_or_missing_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        OraclePrompter(f"oracle:{tmp_path / 'none.tif'}", grid())
    with pytest.raises(InputError):
        OraclePrompter(write_labels(tmp_path / "small.tif", scene()[:40]), grid())


def test_unreadable_truth_fails_the_tile_and_raises_nothing(tmp_path: Path) -> None:
    text = write_labels(tmp_path / "l.tif", scene())
    prompter = OraclePrompter(text, grid())
    (tmp_path / "l.tif").write_bytes(b"gone")
    (answer,) = asyncio.run(
        prompter.prompt(tile_image(lattice(grid(), tile_px=60, halo_px=10)), ["anything"])
    )
    assert (answer.status, answer.reason) == (TileStatus.FAILED, Reason.MODEL_ERROR)
    assert "l.tif" in answer.error


@settings(PATIENT, max_examples=200)
@given(arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)))
def test_boxes_are_pixel_edges_and_points_are_inside(labels: NDArray[np.int32]) -> None:
    prompts = object_prompts(labels)
    assert [p.label for p in prompts] == [f"oracle:{n}" for n in np.unique(labels) if n]
    for prompt in prompts:
        mask = labels == int(prompt.label.removeprefix("oracle:"))
        rows, cols = np.nonzero(mask)
        assert prompt.box_xyxy == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        assert 1 <= len(prompt.points_xy) == len(prompt.point_labels) <= 2
        assert all(mask[int(y), int(x)] and x % 1 == y % 1 == 0.5 for x, y in prompt.points_xy)


def test_points_of_a_bar_spread_along_it() -> None:
    bar = np.ones((3, 21), dtype=np.bool_)
    (x0, y0), (x1, y1) = interior_points(bar)
    assert y0 == 1.5
    assert abs(x1 - x0) > 8
    assert 0 < y1 < 3
