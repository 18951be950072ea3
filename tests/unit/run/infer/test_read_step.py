"""Reads that kill their process or do not come back, and what the others read meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from prompt.fakes_prompt import FakePrompter
from run.infer.oracle_context import oracle_context
from segment.fakes_segment import FakeSegmenter

from pipeline.errors import SourceError
from pipeline.load.reader import CogReader, TileReader
from pipeline.load.source_breaker import SourceBreaker
from pipeline.run.infer import read_step
from pipeline.run.infer.attempts import ONE_BY_ONE_AFTER
from pipeline.run.infer.block_rows import image_to_table, table_to_image
from pipeline.run.infer.read_step import ReadStep
from pipeline.run.infer.steps import PromptStep, RunContext, SegmentStep
from pipeline.schema.imagery import BlockImage, ScenePixels
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import BlockSpec

BAD = "r00001c00000"
"""The tile at which a `FakeReader` dies or hangs, alone or with its block."""


def make_context(folder: Path, **limits: object) -> RunContext:
    """A claimed run over two scenes of one place: four tiles, one block."""
    return oracle_context(folder, n_scenes=2, **limits)


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return make_context(tmp_path)


def the_block(context: RunContext) -> BlockSpec:
    (block,) = context.plan.blocks()
    return block


class Death(BaseException):
    """Stands for the end of a process: nothing behind it is done."""


class FakeReader:
    """Grey pixels. A read that holds the tile `kills` ends the process; one that holds `hangs` waits."""

    def __init__(self, kills: str = "", hangs: str = "", end: threading.Event | None = None) -> None:
        self.kills = kills
        self.hangs = hangs
        self.end = end or threading.Event()
        self.reads: list[int] = []
        """Tiles of each read."""
        self.followers: list[FakeReader] = []

    def read(self, block: BlockSpec) -> BlockImage:
        names = [tile.tile_id for tile in block.tiles]
        self.reads.append(len(names))
        if self.kills in names:
            raise Death
        if self.hangs in names:
            self.end.wait()
        return BlockImage(
            block=block,
            rgb=np.full((*block.read.shape, 3), 90, np.uint8),
            valid=np.ones(block.read.shape, bool),
        )

    def left_behind(self) -> FakeReader:
        self.followers.append(FakeReader(self.kills, self.hangs, self.end))
        return self.followers[-1]


_reads: TileReader = FakeReader()


def test_reading_is_noted_and_ends_with_the_read(context: RunContext) -> None:
    reader = FakeReader()
    step = ReadStep(context, reader)
    for _ in range(ONE_BY_ONE_AFTER + 2):
        assert step.read(the_block(context)).rgb[0, 0].tolist() == [90, 90, 90]
    assert reader.reads == [4] * (ONE_BY_ONE_AFTER + 2), "a block that comes again is no block that kills"
    assert context.journal.noted() == {}


def test_the_tile_that_kills_its_reader_is_set_aside_and_the_others_are_read(context: RunContext) -> None:
    """Two processes end inside the decoder, the third at the tile, and the fourth leaves it out."""
    block = the_block(context)
    for _ in range(3):
        with pytest.raises(Death):
            ReadStep(context, FakeReader(kills=BAD)).read(block)
    reader = FakeReader(kills=BAD)
    image = table_to_image(image_to_table(ReadStep(context, reader).read(block)), context.lattice)
    assert reader.reads == [1, 1, 1]
    assert set(image.unreadable) == {BAD}
    assert image.unread_for == {BAD: "crashed"}
    prompter = FakePrompter({})
    answers = asyncio.run(PromptStep(context, prompter).prompt(image))
    assert {a.tile_id: (a.status, a.reason) for a in answers} == {
        "r00000c00000": (TileStatus.EMPTY, Reason.PROMPTER),
        "r00000c00001": (TileStatus.EMPTY, Reason.PROMPTER),
        BAD: (TileStatus.FAILED, Reason.CRASHED),
        "r00001c00001": (TileStatus.EMPTY, Reason.PROMPTER),
    }
    summary = SegmentStep(context, FakeSegmenter()).commit(image, answers)
    assert (summary.empty, summary.failed) == (3, 1)


def test_a_read_that_hangs_fails_its_own_tile(tmp_path: Path) -> None:
    context = make_context(tmp_path, tile_s=0.2, block_s=0.3)
    first = FakeReader(hangs=BAD)
    step = ReadStep(context, first)
    image = step.read(the_block(context))
    first.end.set()
    assert image.unreadable == {BAD: "reading did not come back within 0.2 s (tile_s under [limits])"}
    assert image.unread_for == {BAD: "timeout"}
    second = first.followers[0]
    third = second.followers[0]
    assert (first.reads, second.reads, third.reads) == ([4], [1, 1, 1], [1])
    assert image.valid[:20].all()
    assert context.journal.noted() == {}, "no process had to end for it"


def test_a_process_that_left_many_reads_behind_must_start_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds a thread and open files. The tile at which it ended is not tried again."""
    monkeypatch.setattr(read_step, "MOST_LEFT_BEHIND", 2)
    context = make_context(tmp_path, tile_s=0.2, block_s=0.3)
    reader = FakeReader(hangs=BAD)
    with pytest.raises(SourceError, match="2 reads did not come back") as raised:
        ReadStep(context, reader).read(the_block(context))
    assert raised.value.retryable
    fresh = FakeReader(hangs=BAD)
    assert ReadStep(context, fresh).read(the_block(context)).unread_for == {BAD: "timeout"}
    assert fresh.reads == [1, 1, 1]
    reader.end.set()


def test_a_block_read_tile_by_tile_has_the_same_pixels(context: RunContext) -> None:
    block = the_block(context)
    whole = ReadStep(context).read(block)
    for _ in range(ONE_BY_ONE_AFTER):
        context.journal.begin(block.block_id, "read")  # attempts of processes that died
    singly = ReadStep(context).read(block)
    np.testing.assert_array_equal(singly.rgb, whole.rgb)
    np.testing.assert_array_equal(singly.valid, whole.valid)
    assert singly.scenes.numbers == whole.scenes.numbers == (0,)
    assert singly.scenes.image is None
    assert singly.hidden is None


def test_which_scene_gave_a_pixel_survives_reading_tile_by_tile(context: RunContext) -> None:
    """The left half of the first scene is nodata; the second shows it."""
    block = the_block(context)
    for _ in range(ONE_BY_ONE_AFTER):
        context.journal.begin(block.block_id, "read")

    class Halves(CogReader):
        def read(self, block: BlockSpec) -> BlockImage:
            height, width = block.read.shape
            cols = np.arange(block.read.col0, block.read.col1)
            which = np.where(cols < 20, 2, 1).astype(np.uint16)
            return BlockImage(
                block=block,
                rgb=np.zeros((height, width, 3), np.uint8),
                valid=np.ones((height, width), bool),
                scenes=ScenePixels(numbers=(0, 1), image=np.broadcast_to(which, (height, width))),
            )

    image = ReadStep(context, Halves((), context.lattice.grid)).read(block)
    assert image.scenes.numbers == (0, 1)
    assert image.scenes.image is not None
    assert (image.scenes.image[:, :20] == 2).all()
    assert (image.scenes.image[:, 20:] == 1).all()


def test_a_source_whose_reads_hang_is_given_up(tmp_path: Path) -> None:
    """The breaker outlives the readers that are left behind."""
    context = make_context(tmp_path, tile_s=0.2, block_s=0.2, source_failures=2)
    end = threading.Event()

    class Stuck(CogReader):
        def _own_pixels(self, *_: object, **__: object) -> object:  # type: ignore[override]
            end.wait()
            raise AssertionError

        def left_behind(self) -> CogReader:
            fresh = super().left_behind()
            fresh.__class__ = Stuck
            return fresh

    reader = Stuck(context.scene_sources[:1], context.lattice.grid, breaker=SourceBreaker(2, 60.0))
    before = time.monotonic()
    image = ReadStep(context, reader).read(the_block(context))
    end.set()
    assert len(image.unreadable) == 4
    given_up = [text for text in image.unreadable.values() if "given up after 2 failures in a row" in text]
    assert len(given_up) == 3, "the block and one tile were waited for"
    assert time.monotonic() - before < 60
