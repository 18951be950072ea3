"""A mask model is asked once per tile, and every query has a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.prompt.looks.verifier import Judged
from pipeline.run.infer.attempts import SetAside
from pipeline.run.infer.tile_masks import (
    TileMasks,
    failed_record,
    judged_masks,
    masks_by_query,
    record_of,
    unsegmented,
)
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.mask_model.mask_model import MaskAnswer, masks_or_nothing, no_answer

WINDOW = Window(row0=0, col0=0, row1=6, col1=8)
SPEC = TileSpec(tile_row=0, tile_col=0, core=WINDOW, read=WINDOW)
VALID = np.ones((6, 8), dtype=np.bool_)
VIEW = TileImage(tile=SPEC, rgb=np.zeros((6, 8, 3), np.uint8), valid=VALID)
QUERIES = ("tanks", "pools", "roads")
WHOLE = Prompt(box_xyxy=(0.0, 0.0, 8.0, 6.0))

TWO = np.zeros((1, 6, 8), dtype=np.bool_)
TWO[0, 0:2, 0:3] = True
TWO[0, 4:6, 5:8] = True


@dataclass
class FakeMaskModel:
    """Answers from a table, and keeps what it was asked."""

    answers: dict[str, MaskAnswer | Exception]
    asked: list[tuple[str, ...]] = field(default_factory=list)
    model_id: str = "fake"
    n_embeddings: int = 0
    one_mask: bool = True

    def answer(self, image: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        assert image is VIEW
        assert queries, "nothing to ask is not asked"
        self.asked.append(tuple(queries))
        given = [self.answers[query] for query in queries]
        for one in given:
            if isinstance(one, Exception):
                raise one
        return given  # type: ignore[return-value]

    def close(self) -> None:
        raise AssertionError("a step closes no model")


def whole(index: int, status: TileStatus = TileStatus.FOUND, reason: Reason = Reason.NONE) -> TilePrompts:
    prompts = (WHOLE,) if status is TileStatus.FOUND else ()
    return TilePrompts(tile_id=SPEC.tile_id, query_index=index, status=status, reason=reason, prompts=prompts)


def test_one_call_has_all_queries_and_each_gets_its_own_record() -> None:
    model = FakeMaskModel(
        {
            "tanks": masks_or_nothing(TWO, [0.5], "two of them"),
            "pools": masks_or_nothing(TWO[:0], [], "none"),
            "roads": no_answer(Reason.TIMEOUT, "late"),
        }
    )
    found = masks_by_query(model, VIEW, [whole(q) for q in range(3)], queries=QUERIES, split=True)
    assert model.asked == [QUERIES]
    tanks, pools, roads = (one.record for one in found)
    assert (tanks.status, tanks.rationale, tanks.n_calls) == (TileStatus.FOUND, "two of them", 1)
    assert [prompt.box_xyxy for prompt in tanks.prompts] == [(0, 0, 3, 2), (5, 4, 8, 6)]
    assert found[0].masks is not None
    assert [(mask.row0, mask.col0, mask.score) for mask in found[0].masks] == [(0, 0, 0.5), (4, 5, 0.5)]
    assert (pools.status, pools.reason, pools.rationale, found[1].masks) == (
        TileStatus.EMPTY,
        Reason.PROMPTER,
        "none",
        None,
    )
    assert (roads.status, roads.reason, roads.error, roads.prompts) == (
        TileStatus.FAILED,
        Reason.TIMEOUT,
        "late",
        (),
    )


def test_only_queries_that_need_an_answer_are_asked() -> None:
    model = FakeMaskModel({"pools": masks_or_nothing(TWO, [0.5])})
    answers = [
        whole(0, TileStatus.EMPTY, Reason.CLOUD),
        whole(1),
        whole(2, TileStatus.FAILED, Reason.UNREADABLE),
    ]
    found = masks_by_query(model, VIEW, answers, queries=QUERIES, split=False)
    assert model.asked == [("pools",)]
    assert [one.record.reason for one in found] == [Reason.CLOUD, Reason.NONE, Reason.UNREADABLE]
    assert found[1].masks is not None
    assert len(found[1].masks) == 1
    assert masks_by_query(model, VIEW, answers[:1], queries=QUERIES, split=True)[0].masks is None
    assert len(model.asked) == 1


def test_what_a_model_raises_fails_its_tile_unless_only_a_fresh_process_helps() -> None:
    broken = FakeMaskModel({"tanks": RuntimeError("out of memory")})
    (found,) = masks_by_query(broken, VIEW, [whole(0)], queries=QUERIES, split=True)
    assert (found.record.reason, found.record.error) == (
        Reason.MODEL_ERROR,
        "RuntimeError: out of memory",
    )
    gone = FakeMaskModel({"tanks": ModelError("the GPU is gone", retryable=True)})
    with pytest.raises(ModelError, match="the GPU is gone"):
        masks_by_query(gone, VIEW, [whole(0)], queries=QUERIES, split=True)


def test_a_tile_that_is_set_aside_fails_where_something_was_to_be_segmented() -> None:
    why = SetAside(reason=Reason.CRASHED, error="three deaths")
    aside = unsegmented(whole(0), why)
    assert (aside.status, aside.reason, aside.error, aside.prompts) == (
        TileStatus.FAILED,
        Reason.CRASHED,
        "three deaths",
        (),
    )
    empty = whole(0, TileStatus.EMPTY, Reason.GATE)
    assert unsegmented(empty, why) is empty


def test_masks_that_are_judged_leave_the_tile_empty_when_none_passes() -> None:
    record = record_of(SPEC, whole(0))
    crop = MaskCrop(row0=0, col0=0, mask=TWO[0, :2, :3], score=0.5, prompt_index=0)
    drawn = TileMasks(record=record, masks=(crop,))
    kept = judged_masks(drawn, Judged(kept=(crop,), verified=(0.9,)))
    assert (kept.masks, kept.record.status, kept.record.verified) == ((crop,), TileStatus.FOUND, (0.9,))
    gone = judged_masks(drawn, Judged(kept=(), verified=(0.1,)))
    assert (gone.masks, gone.record.status, gone.record.reason) == (None, TileStatus.EMPTY, Reason.VERIFIER)


def test_a_failed_record_keeps_what_was_said() -> None:
    record = failed_record(record_of(SPEC, whole(2)), "x")
    assert (record.status, record.reason, record.error, record.query_index) == (
        TileStatus.FAILED,
        Reason.MODEL_ERROR,
        "x",
        2,
    )
