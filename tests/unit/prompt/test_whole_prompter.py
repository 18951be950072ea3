"""The whole tile as a prompt, for a mask model."""

from __future__ import annotations

import asyncio

import numpy as np

from pipeline.prompt.build_prompter import PrompterOptions, build_prompter, check_prompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, TileStatus
from pipeline.schema.tiling import RunGrid, TileSpec, Window


def test_every_query_gets_the_read_window_as_a_box() -> None:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=44, height=30)
    window = Window(row0=4, col0=2, row1=24, col1=33)
    tile = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
    image = TileImage(tile=tile, rgb=np.zeros((20, 31, 3), np.uint8), valid=np.ones((20, 31), np.bool_))
    options = PrompterOptions(kind="whole", model="")
    assert check_prompter(options, grid) == ()
    prompter = build_prompter(options, grid)
    answers = asyncio.run(prompter.prompt(image, ["tanks", "pools"]))
    prompter.close()
    assert [answer.query_index for answer in answers] == [0, 1]
    for answer in answers:
        assert answer.status is TileStatus.FOUND
        assert answer.prompts == (Prompt(box_xyxy=(0.0, 0.0, 31.0, 20.0)),)
        assert answer.n_calls == 0
    assert options.serves_any_grid
    assert prompter.model_id == "whole"
