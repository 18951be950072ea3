"""Ray's actors called in this process: a block's row goes in at one end and a committed record comes out."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
from label_worlds import LabelWorld, write_label_world

from pipeline.errors import ModelError
from pipeline.files.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB
from pipeline.grid.source import SourceOptions
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.events.stage_times import read_times
from pipeline.run.infer.actors import RUN, TIMES, PromptActor, ReadActor, SegmentActor
from pipeline.run.infer.block_rows import block_to_row, image_to_table, table_to_image
from pipeline.run.infer.steps import RunContext
from pipeline.run.prepare import RunRequest, claim, plan_request
from pipeline.schema.imagery import BlockImage
from pipeline.schema.tile_answers import TilePrompts, TileStatus
from pipeline.schema.tiling import BlockSpec, Window
from pipeline.write.records.block_records import read_block_record
from pipeline.write.records.record_keys import key_of
from pipeline.write.run_dir import RunDir

LABELS = np.zeros((40, 40), dtype=np.int64)
LABELS[4:8, 18:22] = 1
LABELS[30:34, 30:36] = 2


@pytest.fixture
def world(tmp_path: Path) -> LabelWorld:
    """40 x 40 px: one thing over the seam of the two upper tiles, one in the lower right tile."""
    return write_label_world(tmp_path / "world", LABELS)


@pytest.fixture
def context(world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A claimed run of oracle models."""
    monkeypatch.setenv("GDAL_CACHEMAX", str(SMALL_CACHE_MB))
    return claimed(world, tmp_path / "run")


def claimed(world: LabelWorld, out: Path) -> RunContext:
    """A claimed run of oracle models: 2 x 2 tiles of 20 px cores and 4 px halos, one block."""
    oracle = f"oracle:{world.labels}"
    tables = merge_tables(
        preset_tables("embedded"),
        {
            "prompter": {"kind": "oracle", "model": oracle},
            "segmenter": {"kind": "oracle", "checkpoint": oracle},
            "tiles": {"px": 28, "halo_px": 4, "block_tiles": 2},
        },
    )
    config = RunConfig(
        queries=("things",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=(str(world.scene),)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(tables),
    )
    return claim(plan_request(RunRequest(config=config, out=str(out), runner="local"))).context


def the_block(context: RunContext) -> BlockSpec:
    lattice = context.lattice
    tiles = tuple(lattice.tiles_of_block(0, 0))
    read = Window.around([tile.read for tile in tiles])
    return BlockSpec(block_row=0, block_col=0, core=lattice.block_core(0, 0), read=read, tiles=tiles)


def first_run(image: BlockImage) -> pa.Table:
    """A row as a reader of one run makes it."""
    table = image_to_table(image).append_column(RUN, pa.array([0]))
    return table.append_column(TIMES, pa.array(["[]"]))


async def only(actor: PromptActor, batch: pa.Table) -> pa.Table:
    (answered,) = [table async for table in actor(batch)]
    return answered


def test_a_block_goes_through_the_three_actors(context: RunContext, world: LabelWorld) -> None:
    row = pa.Table.from_pylist([block_to_row(the_block(context)) | {RUN: 0}])
    pixels = ReadActor([context])(row)
    assert pixels.num_rows == 1
    image = table_to_image(pixels, context.lattice)
    with rasterio.open(world.scene) as scene:
        np.testing.assert_array_equal(image.rgb, np.moveaxis(scene.read(), 0, 2))
    assert image.valid.all()

    answered = asyncio.run(only(PromptActor([context]), pixels))
    assert answered.column_names == [*pixels.column_names, "answers"]
    untouched = answered.drop_columns(["answers", TIMES])
    assert untouched.equals(pixels.drop_columns([TIMES])), "the pixels go on untouched"
    assert [one.stage for one in read_times(answered[TIMES][0].as_py())] == ["read", "load", "prompt"]
    answers = json.loads(answered["answers"][0].as_py())
    told = {item["tile_id"]: (item["status"], len(item["prompts"])) for item in answers}
    assert told == {
        "r00000c00000": ("found", 1),
        "r00000c00001": ("found", 1),
        "r00001c00000": ("empty", 0),
        "r00001c00001": ("found", 1),
    }

    committed = SegmentActor([context])(answered)
    (summary,) = committed.to_pylist()
    assert summary.pop("elapsed_s") >= 0
    stages = [one.stage for one in read_times(summary.pop("times"))]
    assert stages == ["read", "load", "prompt", "load", "segment"]
    assert summary == {
        "block_id": "b00000_00000",
        "found": 3,
        "empty": 1,
        "nodata": 0,
        "failed": 0,
        "n_embeddings": 3,
        "n_calls": 0,
        "failures": "[]",
        "failed_tiles": "[]",
    }, "an oracle calls no model"
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    shown = {
        tile.tile.tile_id: int((tile.labels > 0).sum()) for tile in record.tiles if tile.labels is not None
    }
    assert shown == {"r00000c00000": 16, "r00000c00001": 16, "r00001c00001": 24}


def test_blocks_of_several_runs_go_through_the_same_actors(tmp_path: Path) -> None:
    """Two runs whose labels differ: every block is answered and committed as its own run has it."""
    worlds = [write_label_world(tmp_path / name, labels) for name, labels in (("a", LABELS), ("b", LABELS.T))]
    runs = [claimed(world, tmp_path / f"run{number}") for number, world in enumerate(worlds)]
    reader, prompter, segmenter = ReadActor(runs), PromptActor(runs), SegmentActor(runs)
    for number in (0, 1, 0):
        row = block_to_row(the_block(runs[number])) | {RUN: number}
        pixels = reader(pa.Table.from_pylist([row]))
        with rasterio.open(worlds[number].scene) as scene:
            image = table_to_image(pixels, runs[number].lattice)
            np.testing.assert_array_equal(image.rgb, np.moveaxis(scene.read(), 0, 2))
        segmenter(asyncio.run(only(prompter, pixels)))
    for run, labels in zip(runs, (LABELS, LABELS.T), strict=True):
        record = read_block_record(
            RunDir(run.run_dir).block("b00000_00000"), key_of(run.keys, "b00000_00000").fingerprint
        )
        shown = np.zeros(labels.shape, dtype=np.bool_)
        for tile in record.tiles:
            if tile.labels is not None:
                shown[tile.tile.read.slices_in(run.lattice.grid.window)] |= tile.labels > 0
        np.testing.assert_array_equal(shown, labels > 0)


def test_each_actor_keeps_as_much_of_the_imagery_as_it_needs(context: RunContext) -> None:
    """Decoded blocks: the reader's cache is the large one, the models' is small."""
    ReadActor([context])
    assert os.environ["GDAL_CACHEMAX"] == str(PROCESS_CACHE_MB)
    PromptActor([context])
    assert os.environ["GDAL_CACHEMAX"] == str(SMALL_CACHE_MB)
    ReadActor([context])
    SegmentActor([context])
    assert os.environ["GDAL_CACHEMAX"] == str(SMALL_CACHE_MB)


def test_a_batch_is_one_block(context: RunContext) -> None:
    row = block_to_row(the_block(context)) | {RUN: 0}
    with pytest.raises(ValueError, match="too many values"):
        ReadActor([context])(pa.Table.from_pylist([row, row]))


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("retryable", [True, False])
def test_a_dead_engine_ends_the_process_of_either_models_actor(
    context: RunContext, monkeypatch: pytest.MonkeyPatch, retryable: bool
) -> None:
    """Ray then starts the actor anew. An error that no restart can heal is raised instead."""

    def end(code: int) -> None:
        raise Ended(code)

    class Dead:
        async def prompt(self, image: BlockImage) -> tuple[TilePrompts, ...]:
            raise ModelError("the engine is gone", retryable=retryable)

        def commit(self, image: BlockImage, answers: Sequence[TilePrompts]) -> None:
            raise ModelError("the engine is gone", retryable=retryable)

    monkeypatch.setattr(os, "_exit", end)
    block = the_block(context)
    image = BlockImage(
        block=block, rgb=np.zeros((*block.read.shape, 3), np.uint8), valid=np.ones(block.read.shape, np.bool_)
    )
    batch = first_run(image)
    prompter = PromptActor([context])
    segmenter = SegmentActor([context])
    monkeypatch.setattr(prompter, "_steps", [Dead()])
    monkeypatch.setattr(segmenter, "_steps", [Dead()])
    expected = Ended if retryable else ModelError
    with pytest.raises(expected):
        asyncio.run(only(prompter, batch))
    with pytest.raises(expected):
        segmenter(batch.append_column("answers", pa.array([b"[]"], type=pa.large_binary())))


def test_an_unreadable_block_is_a_failure_of_its_tiles_and_no_crash(context: RunContext) -> None:
    """Imagery that went away after the plan: four failed tiles, committed, none of them embedded."""
    block = the_block(context)
    image = BlockImage(
        block=block,
        rgb=np.zeros((*block.read.shape, 3), np.uint8),
        valid=np.zeros(block.read.shape, np.bool_),
        unreadable={tile.tile_id: "read failed" for tile in block.tiles},
    )
    answered = asyncio.run(only(PromptActor([context]), first_run(image)))
    (summary,) = SegmentActor([context])(answered).to_pylist()
    assert (summary["failed"], summary["found"], summary["n_embeddings"], summary["n_calls"]) == (4, 0, 0, 0)
    record = read_block_record(
        RunDir(context.run_dir).block("b00000_00000"), key_of(context.keys, "b00000_00000").fingerprint
    )
    assert {(tile.status, tile.error) for tile in record.tiles} == {(TileStatus.FAILED, "read failed")}
