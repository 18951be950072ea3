"""Every rule that runs and evaluations share, alone: who is asked, what fails, what a verifier leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from prompt.fakes_verifier import FakeVerifier

from pipeline.errors import ModelError
from pipeline.prompt.looks.verifier import DrawnMasks, Judged, LooksAt
from pipeline.run.infer.attempts import ONE_BY_ONE_AFTER, AttemptJournal, Room
from pipeline.run.infer.step_rules import (
    Failed,
    ImageToAsk,
    ViewMasks,
    alike,
    ask_each,
    ask_journalled,
    asked_safely,
    unseen_reason,
    verified,
)
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.segmenter import Embedding

BOX = Prompt(box_xyxy=(0.0, 0.0, 2.0, 2.0))


def make_view() -> TileImage:
    window = Window(row0=0, col0=0, row1=4, col1=4)
    tile = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
    return TileImage(tile=tile, rgb=np.zeros((4, 4, 3), np.uint8), valid=np.ones((4, 4), np.bool_))


class CountingSegmenter:
    """One whole mask per prompt; raises what it is given, once per `segment` call that is listed."""

    model_id = "counting"

    def __init__(self, raises: dict[int, Exception] | None = None) -> None:
        self.n_embeddings = 0
        self.n_calls = 0
        self._raises = raises or {}

    def embed(self, image: TileImage) -> Embedding:
        self.n_embeddings += 1
        return Embedding(tile=image.tile, shape_px=(4, 4), square_px=4, valid=image.valid, features=None)

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        self.n_calls += 1
        if self.n_calls in self._raises:
            raise self._raises[self.n_calls]
        return [mask(i) for i in range(len(prompts))]


def mask(prompt_index: int) -> MaskCrop:
    return MaskCrop(prompt_index=prompt_index, row0=0, col0=0, mask=np.ones((2, 2), np.bool_), score=0.5)


def test_the_same_answer_to_every_query() -> None:
    answers = alike("t7", 3, TileStatus.FAILED, Reason.CRASHED, "died")
    assert [a.query_index for a in answers] == [0, 1, 2]
    assert {(a.tile_id, a.status, a.reason, a.error) for a in answers} == {
        ("t7", TileStatus.FAILED, Reason.CRASHED, "died")
    }


def failed(tile_id: str) -> Failed:
    return lambda reason, error: alike(tile_id, 1, TileStatus.FAILED, reason, error)


def asked(tile_id: str, ask: Callable[[], Awaitable[list[TilePrompts]]]) -> ImageToAsk:
    return ImageToAsk(tile_id=tile_id, ask=ask, failed=failed(tile_id))


def ask(
    journal: AttemptJournal, images: Sequence[ImageToAsk], limit_s: float | None = None
) -> dict[str, TilePrompts]:
    """One attempt at block b; tile_id -> answer."""
    answers = asyncio.run(
        ask_journalled(
            "b", journal=journal, room=Room(), ask=lambda attempt: ask_each(images, attempt, limit_s)
        )
    )
    return {answer.tile_id: answer for answer in answers}


def answering(tile_id: str) -> ImageToAsk:
    async def answer() -> list[TilePrompts]:
        return alike(tile_id, 1, TileStatus.EMPTY, Reason.PROMPTER)

    return asked(tile_id, answer)


def test_images_are_asked_together_until_a_process_has_died_twice(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)
    at_once: list[int] = []
    inside = 0

    async def counted() -> list[TilePrompts]:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0.01)
        at_once.append(inside)
        inside -= 1
        return []

    images = [asked(f"t{number}", counted) for number in range(3)]
    for _ in range(ONE_BY_ONE_AFTER):
        ask(journal, images)
        assert max(at_once) == 3
        journal.begin("b", "prompt")
    del at_once[:]
    journal.begin("b", "prompt")
    ask(journal, images)
    assert at_once == [1, 1, 1]


def test_the_image_that_kills_is_found_and_the_others_are_answered(tmp_path: Path) -> None:
    """Each `Death` is the end of a process; the next attempt is made by another one."""
    journal = AttemptJournal(tmp_path)

    class Death(BaseException):
        pass

    async def kill() -> list[TilePrompts]:
        raise Death

    images = [answering("t0"), asked("t1", kill), answering("t2"), asked("t3", kill)]
    deaths = 0
    while True:
        try:
            answers = ask(journal, images)
        except Death:
            deaths += 1
        else:
            break
    assert deaths == 4, "together, alone, then one for each that kills"
    assert {name: (answer.status, answer.reason) for name, answer in answers.items()} == {
        "t0": (TileStatus.EMPTY, Reason.PROMPTER),
        "t1": (TileStatus.FAILED, Reason.CRASHED),
        "t2": (TileStatus.EMPTY, Reason.PROMPTER),
        "t3": (TileStatus.FAILED, Reason.CRASHED),
    }


def test_an_image_that_takes_too_long_fails_alone(tmp_path: Path) -> None:
    async def hang() -> list[TilePrompts]:
        await asyncio.Event().wait()
        raise AssertionError

    answers = ask(AttemptJournal(tmp_path), [asked("slow", hang), answering("quick")], 0.05)
    assert (answers["slow"].reason, answers["quick"].reason) == (Reason.TIMEOUT, Reason.PROMPTER)
    assert answers["slow"].error == "the models did not come back within 0.05 s (tile_s under [limits])"


def test_a_models_own_timeout_is_its_error(tmp_path: Path) -> None:
    async def late() -> list[TilePrompts]:
        raise TimeoutError("the model said so")

    answers = ask(AttemptJournal(tmp_path), [asked("t", late)], 60.0)
    assert (answers["t"].reason, answers["t"].error) == (
        Reason.MODEL_ERROR,
        "TimeoutError: the model said so",
    )


def test_an_attempt_that_raises_stays_open(tmp_path: Path) -> None:
    journal = AttemptJournal(tmp_path)

    async def dying() -> list[TilePrompts]:
        raise ModelError("the engine is gone")

    with pytest.raises(ModelError, match="gone"):
        ask(journal, [asked("t", dying)])
    assert journal.died_before("b", "prompt")


def test_a_models_exception_is_an_answer_and_a_dead_engine_is_not() -> None:
    async def confused() -> list[TilePrompts]:
        raise KeyError("boxes")

    async def dead() -> list[TilePrompts]:
        raise ModelError("the engine is gone")

    (answer,) = asyncio.run(asked_safely(confused, failed("t")))
    assert (answer.reason, answer.error) == (Reason.MODEL_ERROR, "KeyError: 'boxes'")
    with pytest.raises(ModelError, match="gone"):
        asyncio.run(asked_safely(dead, failed("t")))


def test_a_view_is_embedded_once_and_only_when_it_has_prompts() -> None:
    segmenter = CountingSegmenter()
    masks = ViewMasks(segmenter, make_view())
    assert segmenter.n_embeddings == 0
    for prompts in ((BOX,), (BOX, BOX)):
        drawn, error = masks.draw(prompts)
        assert (len(drawn), error) == (len(prompts), "")
    assert segmenter.n_embeddings == 1


def test_a_segmenters_exception_is_a_text_unless_a_fresh_process_helps() -> None:
    segmenter = CountingSegmenter(
        {1: ValueError("odd box"), 2: ModelError("no such device"), 4: ModelError("lost", retryable=True)}
    )
    masks = ViewMasks(segmenter, make_view())
    assert masks.draw((BOX,)) == ((), "ValueError: odd box")
    assert masks.draw((BOX,)) == ((), "ModelError: no such device")
    assert len(masks.draw((BOX,))[0]) == 1
    with pytest.raises(ModelError, match="lost"):
        masks.draw((BOX,))


def drawn_masks(masks: tuple[MaskCrop, ...]) -> DrawnMasks:
    return DrawnMasks(image=make_view(), query="tanks", n_prompts=len(masks), masks=masks)


def kept(_item: tuple[MaskCrop, ...], judged: Judged) -> tuple[MaskCrop, ...]:
    return judged.kept


def test_without_a_verifier_nothing_is_collected() -> None:
    items = iter([(mask(0),)])
    assert verified(items, None, 0.5, masks_of=drawn_masks, judged=kept) is items


def test_a_verifier_leaves_the_masks_it_believes() -> None:
    view = make_view()
    verifier = FakeVerifier({(view.tile.tile_id, "tanks"): [0.9, 0.1]})
    looks = LooksAt(verifier=verifier, run=asyncio.run)
    items = [(mask(0), mask(1)), ()]
    left = list(verified(items, looks, 0.5, masks_of=drawn_masks, judged=kept))
    assert [[m.prompt_index for m in masks] for masks in left] == [[0], []]
    assert left[1] is items[1], "what has no masks is not touched"
    assert verifier.asked == [(view.tile.tile_id, "tanks")]


@pytest.mark.parametrize(
    ("valid", "hidden", "reason"),
    [
        # a core of 2 x 2 in a read window of 4 x 4, written row by row
        ("................", "                ", None),
        ("                ", "                ", Reason.NODATA),
        ("....        ....", "                ", Reason.NODATA),  # imagery in the halo alone
        ("                ", "................", Reason.CLOUD),
        ("....            ", "    .... ..  ...", Reason.CLOUD),  # clear in the halo alone
        ("     .          ", "      .  ..     ", Reason.CLOUD),  # 3 of 4 hidden, more than 70 %
        ("     ..         ", "         ..     ", None),  # half of it hidden
        ("     .          ", "                ", None),
        ("     .          ", "..........      ", Reason.CLOUD),
        ("...... ..  .....", "      .  ..     ", Reason.CLOUD),  # the halo does not count
    ],
)
def test_why_a_tile_costs_no_call(valid: str, hidden: str, reason: Reason | None) -> None:
    read = Window(row0=0, col0=0, row1=4, col1=4)
    core = Window(row0=1, col0=1, row1=3, col1=3)
    clouds = np.array([c == "." for c in hidden]).reshape(4, 4)
    clear = np.array([c == "." for c in valid]).reshape(4, 4) & ~clouds
    view = TileImage(
        tile=TileSpec(tile_row=0, tile_col=0, core=core, read=read),
        rgb=np.zeros((4, 4, 3), np.uint8),
        valid=clear,
        hidden=clouds if clouds.any() else None,
    )
    assert unseen_reason(view, min_valid_share=0.01, max_cloud_share=0.7) is reason


def test_too_little_imagery_is_nodata_and_too_little_left_of_enough_is_cloud() -> None:
    view = make_view()
    clouds = np.zeros((4, 4), np.bool_)
    few = TileImage(tile=view.tile, rgb=view.rgb, valid=np.eye(4) == 1, hidden=clouds)
    assert unseen_reason(few, min_valid_share=0.3, max_cloud_share=1.0) is Reason.NODATA
    clouds[0, 1:] = True
    more = TileImage(tile=view.tile, rgb=view.rgb, valid=np.eye(4) == 1, hidden=clouds)
    assert unseen_reason(more, min_valid_share=0.3, max_cloud_share=1.0) is Reason.CLOUD
    assert unseen_reason(more, min_valid_share=0.25, max_cloud_share=1.0) is None
