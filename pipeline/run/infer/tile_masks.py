"""What a tile and query are between segmenting and flattening, and how a mask model is asked for it.

1. `record_of` makes the record of a tile from a prompter's answer, `failed_record` and `unsegmented` those of
   what went wrong.
2. `judged_masks` leaves out what a verifier, or examples, speak against.
3. `masks_by_query` asks a mask model all queries of a tile at once. What it draws comes with the box of each
   mask as its prompt, so that all later steps are those of prompted masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import ModelError
from pipeline.prompt.looks.verifier import Judged
from pipeline.run.infer.attempts import SetAside
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Reason, TilePrompts, TileRecord, TileStatus
from pipeline.schema.tiling import TileSpec
from pipeline.segment.mask_model.mask_crops import crops_of
from pipeline.segment.mask_model.mask_model import MaskAnswer, MaskModel, no_answer


@dataclass(frozen=True, kw_only=True, slots=True)
class TileMasks:
    """One tile and query between segmenting and flattening."""

    record: TileRecord
    masks: tuple[MaskCrop, ...] | None = None
    """None: nothing was segmented."""


def judged_masks(found: TileMasks, judged: Judged) -> TileMasks:
    """The masks that pass; EMPTY(verifier) when there were some and none does. The record keeps all
    probabilities.
    """
    record = replace(found.record, verified=judged.verified)
    if not judged.kept:
        return TileMasks(record=replace(record, status=TileStatus.EMPTY, reason=Reason.VERIFIER))
    return TileMasks(record=record, masks=judged.kept)


def unsegmented(answer: TilePrompts, why: SetAside) -> TilePrompts:
    """The answer about a tile that is set aside. Where nothing was to be segmented it stands."""
    if answer.status is not TileStatus.FOUND:
        return answer
    return replace(answer, status=TileStatus.FAILED, reason=why.reason, prompts=(), error=why.error)


def failed_record(record: TileRecord, error: str) -> TileRecord:
    """The record of a tile whose segmenter failed."""
    return replace(record, status=TileStatus.FAILED, reason=Reason.MODEL_ERROR, error=error)


def record_of(tile: TileSpec, answer: TilePrompts) -> TileRecord:
    """A record that says what the prompter answered."""
    return TileRecord(
        tile=tile,
        query_index=answer.query_index,
        status=answer.status,
        reason=answer.reason,
        error=answer.error,
        reply=answer.reply,
        rationale=answer.rationale,
        prompts=answer.prompts,
        n_dropped=answer.n_dropped,
        truncated_reply=answer.truncated_reply,
        n_calls=answer.n_calls,
        gate_p=answer.gate_p,
        audited=answer.audited,
    )


def masks_by_query(
    model: MaskModel, view: TileImage, answers: Sequence[TilePrompts], *, queries: Sequence[str], split: bool
) -> list[TileMasks]:
    """Ask a mask model every query about a tile whose answer is FOUND; the other answers stand.

    Arguments and errors are those of `answered_by_query`.
    """
    return [
        TileMasks(record=record_of(view.tile, answer), masks=masks)
        for answer, masks in answered_by_query(model, view, answers, queries=queries, split=split)
    ]


def answered_by_query(
    model: MaskModel, view: TileImage, answers: Sequence[TilePrompts], *, queries: Sequence[str], split: bool
) -> list[tuple[TilePrompts, tuple[MaskCrop, ...] | None]]:
    """Put what a mask model says in place of every answer that is FOUND, with the boxes of its masks as
    prompts. Returns all answers, each with its masks; None: there are none.

    `queries`: by `query_index` of the answers. `split`: connected parts are objects of their own. Raises a
    retryable ModelError when only a fresh process can go on.
    """
    asked = [answer for answer in answers if answer.status is TileStatus.FOUND]
    given = iter(_given(model, view, [queries[answer.query_index] for answer in asked]) if asked else [])
    return [
        _answered(answer, next(given), view, split) if answer.status is TileStatus.FOUND else (answer, None)
        for answer in answers
    ]


def _given(model: MaskModel, view: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
    try:
        return model.answer(view, queries)
    except Exception as error:
        if isinstance(error, ModelError) and error.retryable:
            raise
        return [no_answer(Reason.MODEL_ERROR, f"{type(error).__name__}: {error}") for _ in queries]


def _answered(
    asked: TilePrompts, answer: MaskAnswer, view: TileImage, split: bool
) -> tuple[TilePrompts, tuple[MaskCrop, ...] | None]:
    masks, prompts = crops_of(answer, view.valid, split=split)
    said = replace(
        asked,
        status=answer.status,
        reason=answer.reason,
        error=answer.error,
        rationale=answer.text,
        reply=answer.text,
        prompts=prompts,
        n_calls=1,
    )
    return said, masks if answer.status is TileStatus.FOUND else None
