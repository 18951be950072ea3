"""Probabilities of block records beside the truth of a small raster, in runs of both kinds of looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_worlds import write_raster
from look_runs import FIRST_TILE, fragment, run_info, write_records

from pipeline.evaluate.calibrate.looks_and_truth import found_pairs, read_masks, read_pairs
from pipeline.evaluate.finished_run.world_truth import Truth
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus
from pipeline.schema.tiling import TileSpec


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    """One tank of 10 x 10 px in the core of the first tile, one row of a second one in its halo alone; no
    pool anywhere.
    """
    labels = np.zeros((64, 128), dtype=np.uint32)
    labels[10:20, 10:20] = 1
    labels[33, 4:8] = 2
    write_raster(tmp_path / "labels.tif", labels)
    queries = (
        {"query": "tanks", "class": "tank", "kind": "explicit"},
        {"query": "pools", "class": "pool", "kind": "absent"},
    )
    return Truth(labels_path=tmp_path / "labels.tif", class_of={1: "tank", 2: "tank"}, queries=queries)


def test_a_tile_is_absent_where_its_window_shows_nothing(truth: Truth, tmp_path: Path) -> None:
    pairs = read_pairs(
        write_records(tmp_path / "run", lambda tile, index: {"gate_p": 0.1 * tile.tile_col}),
        run_info("tile"),
        truth,
    )
    assert len(pairs) == 16
    tanks = slice(0, None, 2)
    pools = slice(1, None, 2)
    # the row of the second tank lies in the window of the first tile (rows 0 to 35) and in the core of the
    # one below it (rows 32 to 63)
    assert pairs.present[tanks].tolist() == [True] + [False] * 7, "four pixels are too few to be there"
    assert pairs.absent[tanks].tolist() == [False, True, False, True, True, True, True, True]
    assert not pairs.present[pools].any()
    assert pairs.absent[pools].all()
    assert len(set(pairs.picture[tanks].tolist())) == 8
    assert pairs.picture[tanks].tolist() == pairs.picture[pools].tolist(), (
        "queries about one tile share its picture"
    )
    assert not pairs.found.any()


def test_of_a_parent_look_every_tile_of_the_block_shares_picture_and_sight(
    truth: Truth, tmp_path: Path
) -> None:
    """The first block shows a tank, so to the gate none of its tiles is empty land, whatever it holds."""
    pairs = read_pairs(
        write_records(tmp_path / "run", lambda tile, index: {"gate_p": 0.5}),
        run_info("parent"),
        truth,
        found={(FIRST_TILE, 0)},
    )
    assert pairs.present[::2].tolist() == [True] + [False] * 7
    assert pairs.absent[::2].tolist() == [False] * 4 + [True] * 4
    assert pairs.absent[1::2].all()
    assert pairs.picture.tolist() == [0] * 8 + [1] * 8
    assert pairs.found.tolist() == [True] + [False] * 15


def test_tiles_that_were_not_judged_are_no_pairs_but_belong_to_the_picture(
    truth: Truth, tmp_path: Path
) -> None:
    def rows(tile: TileSpec, index: int) -> dict[str, Any]:
        return {"reason": Reason.NODATA} if tile.tile_id == FIRST_TILE else {"gate_p": 0.5}

    pairs = read_pairs(write_records(tmp_path / "run", rows), run_info("parent"), truth)
    assert len(pairs) == 14
    assert pairs.absent[::2].tolist() == [False] * 3 + [True] * 4


def test_masks_are_right_when_they_fit_a_true_object(truth: Truth, tmp_path: Path) -> None:
    """On the first tile, asked about tanks: a mask beside the tank, and the tank itself. A third prompt was
    not judged.
    """
    prompts = tuple(Prompt(box_xyxy=(0.0, 0.0, 5.0, 5.0), label=name) for name in "abc")
    labels = np.zeros((36, 36), dtype=np.uint16)
    labels[0:5, 0:5], labels[11:20, 10:20], labels[25:28, 25:28] = 1, 2, 3

    def rows(tile: TileSpec, index: int) -> dict[str, Any]:
        if (tile.tile_id, index) != (FIRST_TILE, 0):
            return {"gate_p": 1.0}
        fragments = tuple(fragment(tile, place, size_px=9) for place in range(3))
        found = {"status": TileStatus.FOUND, "reason": Reason.NONE, "labels": labels, "fragments": fragments}
        return {"gate_p": 1.0, "prompts": prompts, "verified": (0.3, 0.8, None), **found}

    run_dir = write_records(tmp_path / "run", rows)
    masks = read_masks(run_dir, run_info("tile"), truth)
    assert masks.p.tolist() == pytest.approx([0.3, 0.8])
    assert masks.right.tolist() == [False, True]
    assert masks.picture.tolist() == [0, 0]
    assert found_pairs(run_dir, run_info("tile")) == {(FIRST_TILE, 0)}
