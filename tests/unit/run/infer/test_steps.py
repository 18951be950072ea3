"""What one block goes through, with hand-written fakes at every seam."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from prompt.fakes_gate import FakeGate
from prompt.fakes_prompt import FakePrompter
from prompt.fakes_verifier import FakeVerifier
from segment.fakes_segment import FakeSegmenter

from pipeline.errors import ModelError
from pipeline.grid.lattice import place_scenes
from pipeline.grid.source import SourceOptions
from pipeline.grid.tiles import Plan
from pipeline.prompt.looks.gate import Look
from pipeline.prompt.looks.verifier import LooksAt
from pipeline.prompt.whole_prompter import WholePrompter
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, preset_tables
from pipeline.run.infer.attempts import MAX_CRASHES, MAX_LONE_CRASHES, ONE_BY_ONE_AFTER, AttemptJournal
from pipeline.run.infer.deadlines import LoopThread, OverdueError
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.shared_models import SharedModels
from pipeline.run.infer.steps import PromptStep, RunContext, SegmentStep
from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tile_answers import (
    MaskCrop,
    Prompt,
    Reason,
    TilePrompts,
    TileStatus,
)
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice, Window
from pipeline.segment.mask_features import PLAIN
from pipeline.segment.mask_model.mask_model import MaskAnswer, masks_or_nothing
from pipeline.segment.mask_ranker import MaskRanker
from pipeline.segment.proposals import EverythingOptions, Proposals
from pipeline.segment.segmenter import Embedding
from pipeline.write.records.block_records import read_block_record
from pipeline.write.records.record_keys import AlikeKeys, key_of
from pipeline.write.run_dir import RunDir

QUERIES = ("tanks", "lakes")
BOX = Prompt(box_xyxy=(2.0, 3.0, 8.0, 9.0))


def make_context(
    folder: Path,
    *,
    verifier: dict[str, object] | None = None,
    limits: dict[str, object] | None = None,
    **gate: object,
) -> RunContext:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=40, height=40)
    lattice = TileLattice(grid=grid, tile_px=24, halo_px=2, block_tiles=2)
    area = AreaOptions(whole_scene=True)
    source = SourceOptions(hrefs=("scene.tif",))
    tables = {"gate": gate, "verifier": verifier or {}, "limits": limits or {}}
    preset = build_preset({**preset_tables("embedded"), **tables})
    config = RunConfig(
        queries=QUERIES, area=area, source=source, grid=GridChoice(), preset_name="embedded", preset=preset
    )
    plan = Plan(
        lattice=lattice,
        mode="scene",
        inside=np.ones((2, 2), bool),
        aoi_grid=None,
        scenes=(),
        only_in_halos=(),
        places=place_scenes((), lattice.grid),
    )
    (folder / "blocks").mkdir(parents=True)
    return RunContext(
        config=config,
        plan=plan,
        scene_sources=(),
        run_dir=str(folder),
        fingerprint="f" * 64,
        keys=AlikeKeys("f" * 64),
        model_ids={"prompter": "p", "segmenter": "s"},
    )


def make_image(context: RunContext, **changes: object) -> BlockImage:
    lattice = context.lattice
    tiles = tuple(lattice.tiles_of_block(0, 0))
    block = BlockSpec(
        block_row=0,
        block_col=0,
        core=lattice.block_core(0, 0),
        read=Window.around([t.read for t in tiles]),
        tiles=tiles,
    )
    shape = block.read.shape
    image = {
        "block": block,
        "rgb": np.full((*shape, 3), 90, np.uint8),
        "valid": np.ones(shape, bool),
        **changes,
    }
    return BlockImage(**image)  # type: ignore[arg-type]


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return make_context(tmp_path / "run")


def test_every_tile_gets_one_answer_per_query_and_bad_pixels_cost_no_call(context: RunContext) -> None:
    valid = np.ones((40, 40), bool)
    valid[:, 18:] = False  # the right-hand tiles see nothing but two columns of halo
    valid[20:, :] = True  # and two rows of halo
    image = make_image(context, valid=valid, unreadable={"r00001c00000": "read failed at row 21"})
    prompter = FakePrompter({("r00000c00000", "tanks"): (BOX,)})
    answers = asyncio.run(PromptStep(context, prompter).prompt(image))
    told = {(a.tile_id, a.query_index): (a.status, a.reason) for a in answers}
    assert len(answers) == len(told) == 8
    assert told["r00000c00000", 0] == (TileStatus.FOUND, Reason.NONE)
    assert told["r00000c00000", 1] == (TileStatus.EMPTY, Reason.PROMPTER)
    assert told["r00000c00001", 0] == (TileStatus.EMPTY, Reason.NODATA)
    assert told["r00001c00000", 1] == (TileStatus.FAILED, Reason.UNREADABLE)
    assert [tile_id for tile_id, _ in prompter.asked] == ["r00000c00000", "r00001c00001"]


def test_tiles_under_clouds_cost_no_call_and_the_record_counts_their_pixels(context: RunContext) -> None:
    hidden = np.zeros((40, 40), bool)
    hidden[:20, 20:] = True  # the core of the upper right tile
    hidden[30:, :10] = True  # a quarter of the core of the lower left one
    image = make_image(context, valid=~hidden, hidden=hidden)
    prompter = FakePrompter({("r00001c00000", "tanks"): (BOX,)})
    answers = asyncio.run(PromptStep(context, prompter).prompt(image))
    assert {a.tile_id for a in answers if a.reason is Reason.CLOUD} == {"r00000c00001"}
    assert "r00000c00001" not in [tile_id for tile_id, _ in prompter.asked]
    summary = SegmentStep(context, FakeSegmenter()).commit(image, answers)
    assert (summary.found, summary.empty, summary.nodata, summary.failed) == (1, 3, 1, 0)
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    told = {row.tile.tile_id: (row.valid_px, row.cloud_px) for row in record.tiles if row.query_index == 0}
    assert told == {
        "r00000c00000": (400, 0),
        "r00000c00001": (0, 400),
        "r00001c00000": (300, 100),
        "r00001c00001": (400, 0),
    }


def test_a_gate_looks_at_tiles_with_imagery_and_its_judgement_is_committed(tmp_path: Path) -> None:
    context = make_context(tmp_path / "run", mode="tile", threshold=0.5, audit_share=0.0)
    valid = np.ones((40, 40), bool)
    valid[:20, 20:] = False  # the core of the upper right tile
    image = make_image(context, valid=valid, unreadable={"r00001c00000": "read failed"})
    gate = FakeGate({("r00000c00000", "tanks"): 0.1, ("r00000c00000", "lakes"): 0.8})
    prompter = FakePrompter({("r00000c00000", "lakes"): (BOX,)})
    answers = asyncio.run(PromptStep(context, prompter, gate).prompt(image))
    assert [look.key for look in gate.looks] == ["r00000c00000", "r00001c00001"]
    assert prompter.asked == [("r00000c00000", ("lakes",)), ("r00001c00001", QUERIES)]
    SegmentStep(context, FakeSegmenter()).commit(image, answers)
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    told = {(row.tile.tile_id, row.query_index): (row.status, row.reason, row.gate_p) for row in record.tiles}
    assert told["r00000c00000", 0] == (TileStatus.EMPTY, Reason.GATE, 0.1)
    assert told["r00000c00000", 1] == (TileStatus.FOUND, Reason.NONE, 0.8)
    assert told["r00000c00001", 0] == (TileStatus.EMPTY, Reason.NODATA, None)
    assert told["r00001c00000", 0] == (TileStatus.FAILED, Reason.UNREADABLE, None)
    assert told["r00001c00001", 1] == (TileStatus.EMPTY, Reason.PROMPTER, 1.0)


def test_a_parent_look_speaks_for_all_tiles_with_imagery_of_its_block(tmp_path: Path) -> None:
    context = make_context(tmp_path / "run", mode="parent", threshold=0.5, audit_share=0.0)
    image = make_image(context, unreadable={"r00001c00000": "read failed"})
    gate = FakeGate({("b00000_00000", "tanks"): 0.2})
    prompter = FakePrompter({})
    answers = asyncio.run(PromptStep(context, prompter, gate).prompt(image))
    (look,) = gate.looks
    assert [tile.tile_id for tile in look.tiles] == ["r00000c00000", "r00000c00001", "r00001c00001"]
    assert [queries for _, queries in prompter.asked] == [("lakes",)] * 3
    assert [a.reason for a in answers if a.query_index == 0] == [
        Reason.GATE,
        Reason.GATE,
        Reason.UNREADABLE,
        Reason.GATE,
    ]
    nothing = make_image(context, valid=np.zeros((40, 40), bool))
    assert {a.reason for a in asyncio.run(PromptStep(context, prompter, gate).prompt(nothing))} == {
        Reason.NODATA
    }
    assert len(gate.looks) == 1, "a block without imagery costs no look"


def test_an_exception_on_one_tile_is_that_tiles_failure(context: RunContext) -> None:
    class Moody(FakePrompter):
        async def prompt(self, image, queries):  # type: ignore[no-untyped-def]
            if image.tile.tile_id == "r00000c00001":
                raise ValueError("no idea")
            return await super().prompt(image, queries)

    answers = asyncio.run(PromptStep(context, Moody({})).prompt(make_image(context)))
    failed = [a for a in answers if a.status is TileStatus.FAILED]
    assert {a.tile_id for a in failed} == {"r00000c00001"}
    assert {a.error for a in failed} == {"ValueError: no idea"}
    assert {a.reason for a in failed} == {Reason.MODEL_ERROR}


def test_a_dead_engine_is_not_a_tiles_failure(context: RunContext) -> None:
    class Dead(FakePrompter):
        async def prompt(self, image, queries):  # type: ignore[no-untyped-def]
            raise ModelError("the engine is gone")

    with pytest.raises(ModelError, match="gone"):
        asyncio.run(PromptStep(context, Dead({})).prompt(make_image(context)))


def test_one_embedding_per_tile_for_all_queries_and_the_record_says_everything(context: RunContext) -> None:
    image = make_image(context)
    table = {
        ("r00000c00000", "tanks"): (BOX,),
        ("r00000c00000", "lakes"): (BOX, BOX),
        ("r00001c00001", "lakes"): (BOX,),
    }
    answers = asyncio.run(PromptStep(context, FakePrompter(table)).prompt(image))
    segmenter = FakeSegmenter()
    summary = SegmentStep(context, segmenter).commit(image, answers)
    assert (summary.found, summary.empty, summary.failed) == (2, 2, 0)
    assert summary.n_embeddings == 2
    assert segmenter.embedded == ["r00000c00000", "r00001c00001"]
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    rows = {(row.tile.tile_id, row.query_index): row for row in record.tiles}
    first = rows["r00000c00000", 0]
    assert first.labels is not None
    assert (first.labels[3:9, 2:8] == 1).all()
    assert first.labels.sum() == 36
    assert first.fragments[0].anchor == 3 * 40 + 2
    assert len(rows["r00000c00000", 1].fragments) == 1  # the duplicate mask went
    assert rows["r00000c00001", 0].status is TileStatus.EMPTY


def test_a_verifier_rejects_masks_and_the_record_says_which(tmp_path: Path) -> None:
    context = make_context(tmp_path / "run", verifier={"mode": "crop", "threshold": 0.5})
    image = make_image(context)
    other = Prompt(box_xyxy=(12.0, 12.0, 16.0, 18.0))
    points = Prompt(box_xyxy=None, points_xy=((5.0, 5.0),), point_labels=(1,))
    table = {
        ("r00000c00000", "tanks"): (points, BOX, other),  # the first has no mask, the second is rejected
        ("r00000c00000", "lakes"): (BOX,),  # rejected: nothing is left
        ("r00000c00001", "tanks"): (BOX,),  # not judged
        ("r00001c00000", "lakes"): (points,),  # no mask at all
    }
    verifier = FakeVerifier(
        {
            ("r00000c00000", "tanks"): (0.49, 0.5),
            ("r00000c00000", "lakes"): (0.1,),
            ("r00000c00001", "tanks"): (None,),
        }
    )
    answers = asyncio.run(PromptStep(context, FakePrompter(table)).prompt(image))
    with asyncio.Runner() as loop:
        summary = SegmentStep(context, FakeSegmenter(), LooksAt(verifier=verifier, run=loop.run)).commit(
            image, answers
        )
    assert (summary.found, summary.empty, summary.failed) == (2, 2, 0)
    assert verifier.asked == [("r00000c00000", "tanks"), ("r00000c00000", "lakes"), ("r00000c00001", "tanks")]
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    rows = {(row.tile.tile_id, row.query_index): row for row in record.tiles}
    kept = rows["r00000c00000", 0]
    assert kept.verified == (None, 0.49, 0.5)
    assert [fragment.prompt_index for fragment in kept.fragments] == [2]
    gone = rows["r00000c00000", 1]
    assert (gone.status, gone.reason, gone.verified, gone.prompts, gone.labels) == (
        TileStatus.EMPTY,
        Reason.VERIFIER,
        (0.1,),
        (BOX,),
        None,
    )
    assert (rows["r00000c00001", 0].status, rows["r00000c00001", 0].verified) == (TileStatus.FOUND, (None,))
    assert (rows["r00001c00000", 1].reason, rows["r00001c00000", 1].verified) == (Reason.PROMPTER, ())


def test_tiles_with_an_answer_are_encoded_together_and_the_record_is_the_same(context: RunContext) -> None:
    """Of four tiles three have an answer: two are encoded in one call, the third alone."""

    class Batching(FakeSegmenter):
        calls: ClassVar[list[int]] = []

        def embed_many(self, images: Sequence[TileImage]) -> list[Embedding]:
            self.calls.append(len(images))
            return [self.embed(image) for image in images]

    table = {(name, "tanks"): (BOX,) for name in ("r00000c00000", "r00000c00001", "r00001c00001")}
    path = RunDir(context.run_dir).block("b00000_00000")
    image = make_image(context)
    answers = asyncio.run(PromptStep(context, FakePrompter(table)).prompt(image))
    SegmentStep(context, FakeSegmenter()).commit(image, answers)
    singly = read_block_record(path, key_of(context.keys, "b00000_00000").fingerprint)
    Path(str(path)).unlink()
    config = context.config
    drawn_by = replace(config.preset.segmenter, tile_batch=2)
    batched = replace(context, config=replace(config, preset=replace(config.preset, segmenter=drawn_by)))
    summary = SegmentStep(batched, Batching()).commit(image, answers)
    assert Batching.calls == [2]
    assert (summary.found, summary.failed) == (3, 0)
    together = read_block_record(path, key_of(context.keys, "b00000_00000").fingerprint)
    assert together.n_embeddings == singly.n_embeddings == 3
    for one, other in zip(singly.tiles, together.tiles, strict=True):
        assert one.fragments == other.fragments
        assert one.labels is other.labels is None or np.array_equal(one.labels, other.labels)


def test_examples_reject_masks_and_the_record_says_which(context: RunContext) -> None:
    """The classifier wants 30 px and more: of 36 and 24 px, and of 24 px alone."""

    class Seeing(FakeSegmenter):
        def propose(
            self, embedding: Embedding, prompts: Sequence[Prompt], rules: EverythingOptions
        ) -> Proposals:
            raise NotImplementedError("there are prompts")

        def feature_map(self, embedding: Embedding) -> NDArray[np.float32]:
            return np.zeros((1, 2, 2), dtype=np.float32)

    other = Prompt(box_xyxy=(12.0, 12.0, 16.0, 18.0))
    table = {("r00000c00000", "tanks"): (BOX, other), ("r00000c00000", "lakes"): (other,)}
    weights = np.array([0.0, *(5.0 * (name == "log_area_px") for name in PLAIN)])
    ranker = MaskRanker(weights=weights, intercept=-5.0 * np.log(30), ridge=1.0)
    seen = replace(context, ranker=ranker)
    image = make_image(seen)
    answers = asyncio.run(PromptStep(seen, FakePrompter(table)).prompt(image))
    summary = SegmentStep(seen, Seeing()).commit(image, answers)
    assert (summary.found, summary.empty, summary.failed) == (1, 3, 0)
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    kept, gone = record.tiles[:2]
    large = 1 / (1 + (30 / 36) ** 5)
    small = 1 / (1 + (30 / 24) ** 5)
    assert kept.verified == pytest.approx((large, small))
    assert [fragment.prompt_index for fragment in kept.fragments] == [0]
    assert (gone.status, gone.reason, gone.prompts) == (TileStatus.EMPTY, Reason.VERIFIER, (other,))
    assert gone.verified == pytest.approx((small,))


def test_a_prompt_without_a_mask_is_recorded_as_empty_with_a_reason(context: RunContext) -> None:
    image = make_image(context)
    points_only = Prompt(box_xyxy=None, points_xy=((5.0, 5.0),), point_labels=(1,))
    answers = asyncio.run(
        PromptStep(context, FakePrompter({("r00000c00000", "tanks"): (points_only,)})).prompt(image)
    )
    summary = SegmentStep(context, FakeSegmenter()).commit(image, answers)
    assert (summary.found, summary.empty) == (0, 4)
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    assert record.tiles[0].error == "no prompt gave a mask with pixels"


def test_a_block_that_keeps_killing_its_process_is_given_up(context: RunContext) -> None:
    image = make_image(context)
    journal = AttemptJournal(RunDir(context.run_dir).attempts)
    for _ in range(MAX_CRASHES):
        journal.begin("b00000_00000", "prompt")  # attempts of processes that died
    answers = asyncio.run(PromptStep(context, FakePrompter({})).prompt(image))
    assert {(a.status, a.reason) for a in answers} == {(TileStatus.FAILED, Reason.CRASHED)}
    assert len(answers) == 8


class Death(BaseException):
    """Stands for the end of a process: nothing behind it is done."""


def until_it_lives(do: Callable[[], BlockSummary]) -> tuple[BlockSummary, int]:
    """Do a step again and again, as fresh processes would; returns what came, and how many died before."""
    deaths = 0
    while True:
        try:
            return do(), deaths
        except (Death, ModelError):
            deaths += 1


def committed(context: RunContext) -> dict[str, tuple[TileStatus, Reason, str]]:
    """tile_id -> what the record says of the query that found something."""
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    return {row.tile.tile_id: (row.status, row.reason, row.error) for row in record.tiles[::2]}


class KillingSegmenter(FakeSegmenter):
    def __init__(self, *kills: str) -> None:
        super().__init__()
        self._kills = kills

    def embed(self, image: TileImage) -> Embedding:
        if image.tile.tile_id in self._kills:
            raise Death
        return super().embed(image)


def found_everywhere(context: RunContext) -> tuple[BlockImage, tuple[TilePrompts, ...]]:
    image = make_image(context)
    table = {(tile.tile_id, "tanks"): (BOX,) for tile in image.block.tiles}
    return image, asyncio.run(PromptStep(context, FakePrompter(table)).prompt(image))


def test_a_tile_that_kills_the_segmenter_is_set_aside_and_its_neighbours_are_committed(
    context: RunContext,
) -> None:
    image, answers = found_everywhere(context)
    summary, deaths = until_it_lives(
        lambda: SegmentStep(context, KillingSegmenter("r00000c00001")).commit(image, answers)
    )
    assert (summary.found, summary.failed, deaths) == (3, 1, 3)
    told = committed(context)
    assert {name for name, (status, *_) in told.items() if status is TileStatus.FOUND} == {
        "r00000c00000",
        "r00001c00000",
        "r00001c00001",
    }
    assert told["r00000c00001"][1] is Reason.CRASHED
    assert json.loads(summary.failures)[0][:3] == ["crashed", "", 1]


def test_a_tile_that_hangs_in_the_segmenter_costs_one_process_and_nothing_else(tmp_path: Path) -> None:
    context = make_context(tmp_path / "run", limits={"tile_s": 0.3})
    image, answers = found_everywhere(context)
    end = threading.Event()

    class Hanging(FakeSegmenter):
        def embed(self, image: TileImage) -> Embedding:
            if image.tile.tile_id == "r00001c00000":
                end.wait()
            return super().embed(image)

    summary, deaths = until_it_lives(lambda: SegmentStep(context, Hanging()).commit(image, answers))
    end.set()
    assert (summary.found, summary.failed, deaths) == (3, 1, 1)
    assert committed(context)["r00001c00000"] == (
        TileStatus.FAILED,
        Reason.TIMEOUT,
        "the segmenter did not come back within 0.3 s (tile_s under [limits])",
    )


def test_a_broken_device_is_given_up_after_few_processes(context: RunContext) -> None:
    """Every tile ends the process with an error that only a fresh one clears: the whole block fails, and what
    the prompter said of empty tiles stands.
    """
    image, answers = found_everywhere(context)

    class Lost(FakeSegmenter):
        def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
            raise ModelError(
                "SAM2's mask decoder failed: CUDA error: an illegal memory access", retryable=True
            )

    summary, deaths = until_it_lives(lambda: SegmentStep(context, Lost()).commit(image, answers))
    assert (summary.found, summary.failed) == (0, 4)
    assert deaths == ONE_BY_ONE_AFTER + MAX_LONE_CRASHES
    assert {reason for _, reason, _ in committed(context).values()} == {Reason.CRASHED}
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    assert {row.reason for row in record.tiles[1::2]} == {Reason.PROMPTER}


def test_a_prompter_that_holds_up_its_loop_is_found_by_who_watches(tmp_path: Path) -> None:
    """The call blocks the loop, so no timeout inside it can help."""
    context = make_context(tmp_path / "run", limits={"tile_s": 0.3})
    image = make_image(context)
    end = threading.Event()

    class Blocking(FakePrompter):
        async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
            if image.tile.tile_id == "r00001c00001":
                end.wait()
            return await super().prompt(image, queries)

    step = PromptStep(context, Blocking({}))
    loop = LoopThread("held up", 0.3)
    with pytest.raises(OverdueError) as late:
        loop.run(step.prompt(image))
    error = step.held_up(late.value)
    assert error.retryable
    assert "r00001c00001" in str(error)
    end.set()
    loop.close()
    answers = asyncio.run(PromptStep(context, FakePrompter({})).prompt(image))
    assert {a.tile_id for a in answers if a.reason is Reason.TIMEOUT} == {"r00001c00001"}
    assert {a.reason for a in answers if a.tile_id != "r00001c00001"} == {Reason.PROMPTER}


def test_a_look_at_a_block_that_takes_too_long_rejects_nothing(tmp_path: Path) -> None:
    context = make_context(
        tmp_path / "run", limits={"tile_s": 0.2}, mode="parent", threshold=0.5, audit_share=0.0
    )

    class Slow(FakeGate):
        async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
            await asyncio.Event().wait()
            raise AssertionError

    prompter = FakePrompter({})
    answers = asyncio.run(PromptStep(context, prompter, Slow({})).prompt(make_image(context)))
    assert len(prompter.asked) == 4
    assert {(a.reason, a.gate_p) for a in answers} == {(Reason.PROMPTER, None)}


def test_an_error_of_one_call_is_its_tiles_failure_and_the_next_tile_is_segmented(
    context: RunContext,
) -> None:
    image = make_image(context)
    table = {(tile.tile_id, "tanks"): (BOX,) for tile in image.block.tiles}
    answers = asyncio.run(PromptStep(context, FakePrompter(table)).prompt(image))

    class Full(FakeSegmenter):
        def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
            if embedding.tile.tile_id == "r00000c00000":
                raise ModelError("SAM2's mask decoder failed: CUDA out of memory")
            return super().segment(embedding, prompts)

    SegmentStep(context, Full()).commit(image, answers)
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    told = [(row.status, row.reason) for row in record.tiles if row.query_index == 0]
    assert told == [(TileStatus.FAILED, Reason.MODEL_ERROR), *[(TileStatus.FOUND, Reason.NONE)] * 3]


def test_a_block_that_comes_again_is_worked_on_alone(context: RunContext) -> None:
    """A death counts against every block in flight; alone on its second attempt, an innocent one gets
    through.
    """
    seen: list[tuple[str, int]] = []
    working = 0

    class Watched(FakePrompter):
        async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
            nonlocal working
            working += 1
            await asyncio.sleep(0.01)
            seen.append((image.tile.tile_id, working))
            working -= 1
            return await super().prompt(image, queries)

    image = make_image(context)
    first, *others = image.block.tiles
    blocks = [
        replace(image, block=replace(image.block, block_row=number, tiles=(tile,)))
        for number, tile in enumerate([first, *others[:2]])
    ]
    AttemptJournal(RunDir(context.run_dir).attempts).begin(
        blocks[0].block.block_id, "prompt"
    )  # its process died

    async def ask_all() -> None:
        step = PromptStep(context, Watched({}))
        await asyncio.gather(*(step.prompt(block) for block in blocks))

    asyncio.run(ask_all())
    assert dict(seen)[first.tile_id] == 1
    assert sorted(count for _, count in seen) == [1, 1, 2], "the other two work side by side"


class FakeMaskModel:
    """Draws the upper left corner for "tanks", and finds no "lakes"."""

    model_id = "fake"
    one_mask = True
    n_embeddings = 0

    def answer(self, image: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        self.n_embeddings += 1
        corner = np.zeros((1, *image.tile.read.shape), dtype=np.bool_)
        corner[0, :6, :6] = True
        return [masks_or_nothing(corner if query == "tanks" else corner[:0], [0.5]) for query in queries]

    def close(self) -> None:
        raise AssertionError("a step closes no model")


def test_a_mask_model_is_asked_in_place_of_a_segmenter(context: RunContext) -> None:
    class Models(SharedModels):
        def mask_model(self, config: RunConfig) -> FakeMaskModel:
            return FakeMaskModel()

        def segmenter(self, config: RunConfig, lattice: TileLattice) -> FakeSegmenter:
            raise AssertionError("there is no segmenter to load")

    image = make_image(context)
    answers = asyncio.run(PromptStep(context, WholePrompter()).prompt(image))
    summary = SegmentStep(context, models=Models()).commit(image, answers)
    assert (summary.found, summary.empty, summary.failed) == (4, 0, 0)  # tiles with something
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    assert record.n_embeddings == 4
    told = {(row.status, row.reason) for row in record.tiles if row.query_index == 0}
    assert told == {(TileStatus.FOUND, Reason.NONE)}
    assert {row.reason for row in record.tiles if row.query_index == 1} == {Reason.PROMPTER}
    assert all(row.prompts == (Prompt(box_xyxy=(0, 0, 6, 6)),) for row in record.tiles if row.fragments)
