from __future__ import annotations

import asyncio

import pytest
from fakes_prompt import FakePrompter
from prompt_tiles import grid, lattice, tile_image

from pipeline.schema.tile_answers import Prompt, Reason, TileStatus


def test_fake_answers_from_its_table_and_asserts_the_protocol() -> None:
    image = tile_image(lattice(grid()))
    prompt = Prompt(box_xyxy=(1, 2, 3, 4))
    fake = FakePrompter({(image.tile.tile_id, "tanks"): (prompt,)})
    answers = asyncio.run(fake.prompt(image, ["pools", "tanks"]))
    assert [(a.query_index, a.status, a.reason, a.prompts) for a in answers] == [
        (0, TileStatus.EMPTY, Reason.PROMPTER, ()),
        (1, TileStatus.FOUND, Reason.NONE, (prompt,)),
    ]
    with pytest.raises(AssertionError, match="asked about twice"):
        asyncio.run(fake.prompt(image, ["tanks"]))
    fake.close()
    with pytest.raises(AssertionError, match="after close"):
        asyncio.run(fake.prompt(image, ["tanks"]))
