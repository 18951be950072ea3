"""Grounding DINO over the real class with random weights: what it finds means nothing, its form does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from prompt.tiny_grounding import write_grounding

from pipeline.errors import InputError, ModelError
from pipeline.prompt.build_prompter import PrompterOptions, build_prompter, check_prompter
from pipeline.prompt.grounding_prompter import (
    GroundingOptions,
    GroundingPrompter,
    check_grounding,
    phrase_of,
)
from pipeline.prompt.prompter import Prompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, TileSpec, Window

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=44, height=30)
WINDOW = Window(row0=0, col0=0, row1=30, col1=44)
TILE = TileImage(
    tile=TileSpec(tile_row=0, tile_col=0, core=WINDOW, read=WINDOW),
    rgb=np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8),
    valid=np.ones((30, 44), dtype=np.bool_),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grounding(tmp_path_factory.mktemp("grounding"))


def prompter_of(folder: Path, threshold: float) -> Prompter:
    options = PrompterOptions(
        kind="grounding-dino",
        model=str(folder),
        grounding=GroundingOptions(box_threshold=threshold, text_threshold=0.0, device="cpu"),
    )
    assert check_prompter(options, GRID) == ()
    return build_prompter(options, GRID)


@pytest.mark.parametrize(
    ("query", "phrase"),
    [
        ("Storage tanks", "storage tanks."),
        ("where are pools? ", "where are pools."),
        ("no. 7 hangar", "no  7 hangar."),
    ],
)
def test_a_query_is_one_phrase(query: str, phrase: str) -> None:
    assert phrase_of(query) == phrase


def test_boxes_lie_in_the_tile_and_come_best_first(folder: Path) -> None:
    prompter = prompter_of(folder, 0.0)
    assert isinstance(prompter, GroundingPrompter)
    boxes, scores = prompter.find(TILE.rgb, "tanks")
    assert boxes.shape == (20, 4)
    assert (boxes >= 0).all()
    assert (boxes[:, [0, 2]] <= 44).all()
    assert (boxes[:, [1, 3]] <= 30).all()
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    tanks, again = asyncio.run(prompter.prompt(TILE, ["tanks", "tanks"]))
    assert (tanks.status, tanks.reason, tanks.query_index, again.query_index) == (
        TileStatus.FOUND,
        Reason.NONE,
        0,
        1,
    )
    assert tanks.prompts == again.prompts
    sound = boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])]
    np.testing.assert_allclose([prompt.box_xyxy for prompt in tanks.prompts], sound)
    assert (len(tanks.prompts) + tanks.n_dropped, tanks.n_calls) == (20, 1)
    prompter.close()


def test_no_box_above_the_threshold_is_nothing_here(folder: Path) -> None:
    (answer,) = asyncio.run(prompter_of(folder, 1.0).prompt(TILE, ["tanks"]))
    assert (answer.status, answer.reason, answer.reply) == (TileStatus.EMPTY, Reason.PROMPTER, "0 boxes")


def test_an_error_with_one_query_is_its_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompter = prompter_of(folder, 0.0)
    assert isinstance(prompter, GroundingPrompter)
    find = prompter.find

    def sometimes(rgb: np.ndarray, query: str) -> object:
        if query == "bad":
            raise RuntimeError("out of memory")
        return find(rgb, query)

    monkeypatch.setattr(prompter, "find", sometimes)
    bad, good = asyncio.run(prompter.prompt(TILE, ["bad", "tanks"]))
    assert (bad.status, bad.reason, bad.error) == (
        TileStatus.FAILED,
        Reason.MODEL_ERROR,
        "RuntimeError: out of memory",
    )
    assert good.status is TileStatus.FOUND


def test_another_threshold_is_another_run_and_another_device_is_not() -> None:
    def pinned(**changes: object) -> dict[str, object]:
        options = GroundingOptions(**changes)  # type: ignore[arg-type]
        return PrompterOptions(kind="grounding-dino", model="m", grounding=options).result_parameters()

    assert pinned() == pinned(device="cpu")
    assert pinned() != pinned(box_threshold=0.3)
    assert pinned() != pinned(revision="a1b2")
    with pytest.raises(ValueError, match="scores from 0 to 1"):
        GroundingOptions(text_threshold=3)


def test_a_folder_without_one_is_refused_before_it_loads(tmp_path: Path) -> None:
    check_grounding("IDEA-Research/grounding-dino-base")
    with pytest.raises(InputError, match="Grounding DINO"):
        check_grounding(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "sam3"}')
    with pytest.raises(InputError, match="sam3"):
        check_grounding(str(tmp_path))
    with pytest.raises(ModelError, match="does not load"):
        GroundingPrompter(str(tmp_path), GroundingOptions(device="cpu"))
