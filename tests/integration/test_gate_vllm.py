"""Gate and verifier of the shipped prompter in the real vLLM engine.

Nothing here pins what these weights answer: expected values come from the prompter's own greedy replies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from shared_engine import SharedEngine

from pipeline.prompt.build_prompter import build_gate, build_verifier
from pipeline.prompt.looks.gate import GateOptions, Look, parent_look, tile_look
from pipeline.prompt.looks.verifier import VerifierOptions, crop_around
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tile_answers import MaskCrop
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice, Window
from pipeline.world.landscape import World
from pipeline.world.render import render

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUERIES = ("storage tanks", "where could a plane land?", "houses", "volcanoes")
GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=768, height=768)
LATTICE = TileLattice(grid=GRID, tile_px=256, halo_px=32, block_tiles=4)


@dataclass
class Served:
    engine: SharedEngine
    image: BlockImage

    @property
    def prompter(self) -> VllmPrompter:
        return self.engine.real

    def tile(self, number: int) -> TileImage:
        return self.image.tile_image(self.image.block.tiles[number])


@pytest.fixture(scope="module")
def served(shared_engine: SharedEngine) -> Served:
    tiles = tuple(LATTICE.tiles_of_block(0, 0))
    read = Window.around([tile.read for tile in tiles])
    rgb = render(World.from_seed(29), Window(row0=0, col0=0, row1=768, col1=768)).rgb
    block = BlockSpec(block_row=0, block_col=0, core=LATTICE.block_core(0, 0), read=read, tiles=tiles)
    return Served(shared_engine, BlockImage(block=block, rgb=rgb, valid=np.ones((768, 768), bool)))


def gate_of(served: Served, mode: Any) -> Any:
    return build_gate(GateOptions(mode=mode), served.engine.options, served.prompter, GRID)


def test_a_look_is_one_token_and_agrees_with_the_prompters_own_decision(served: Served) -> None:
    """The gate reads P(some) before the token that the prompter then writes: above one half it writes "some".

    Only where both named the same subject: the gate decodes it on a grey picture, the prompter on the tile.
    """
    gate = gate_of(served, "tile")
    compared = 0
    served.engine.run(gate.look(tile_look(served.tile(0)), QUERIES))  # leads are decoded once
    for number in (0, 5, 10, 15):
        image = served.tile(number)
        before = served.prompter.n_calls
        given = served.engine.run(gate.look(tile_look(image), QUERIES))
        assert served.prompter.n_calls - before == len(QUERIES)
        assert all(p is not None and 0 <= p <= 1 for p in given)
        again = served.engine.run(gate.look(Look(key="other", rgb=image.rgb, tiles=(image.tile,)), QUERIES))
        assert again == pytest.approx(given, abs=1e-3)
        leads = [served.engine.run(gate._decider._lead(query)) for query in QUERIES]
        for p, lead, answer in zip(
            given, leads, served.engine.run(served.prompter.prompt(image, QUERIES)), strict=True
        ):
            assert lead.endswith("I see")
            said = re.match(re.escape(lead) + r" (some|none)", answer.reply)
            if said and abs(p - 0.5) > 0.01:
                assert (p > 0.5) == (said[1] == "some"), (p, answer.reply)
                compared += 1
    assert compared >= 4


def test_a_parent_look_is_one_picture_for_all_tiles(served: Served) -> None:
    look = parent_look(served.image, LATTICE, served.image.block.tiles)
    assert look.rgb.shape == (832, 832, 3)  # 4 cores of 192 px and a halo on both sides
    given = served.engine.run(gate_of(served, "parent").look(look, QUERIES))
    assert len(given) == len(QUERIES)
    assert all(p is not None and 0 <= p <= 1 for p in given)


def test_a_mask_is_judged_by_the_crop_around_it(served: Served) -> None:
    options = VerifierOptions(mode="crop", pad=0.5, min_side=0.5)
    verifier = build_verifier(options, served.engine.options, GRID, served.prompter)
    assert verifier is not None
    image = served.tile(5)
    masks = [
        MaskCrop(row0=r, col0=c, mask=np.ones((20, 30), bool), score=1.0, prompt_index=0)
        for r, c in ((10, 10), (150, 200))
    ]
    given = served.engine.run(verifier.verify(image, QUERIES[2], masks))
    gate = gate_of(served, "tile")  # the two ask the same of this checkpoint
    for p, mask in zip(given, masks, strict=True):
        crop = crop_around(mask, image.tile.read.shape, options)
        look = Look(
            key="crop", rgb=image.rgb[crop.row0 : crop.row1, crop.col0 : crop.col1], tiles=(image.tile,)
        )
        assert served.engine.run(gate.look(look, [QUERIES[2]])) == pytest.approx([p], abs=1e-3)
    verifier.close()
    assert served.engine.run(served.prompter.prompt(image, QUERIES[:1])), (
        "a shared engine outlives the verifier"
    )
