"""The rules by which the steps of a run and of an evaluation treat models. Each rule stands here once.

1. `ask_journalled`  work whose process died before is asked alone
2. `ask_each`        images are asked together, or one by one where a process died; those set aside are not
3. `asked_safely`    an exception on one image, or none within its time, is a failed answer; a dead engine
                     raises
4. `ViewMasks`       a view is embedded once; an exception of the segmenter becomes an error text
5. `unseen_reason`   a tile without enough imagery, or under clouds, costs no model call
6. `verified`        the looks of a verifier at one piece of work are taken together
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.prompt.looks.verifier import DrawnMasks, Judged, LooksAt
from pipeline.run.infer.attempts import Attempt, AttemptJournal, Room
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import BlockRecord, MaskCrop, Prompt, Reason, TilePrompts, TileStatus
from pipeline.segment.mask_features import describe_masks
from pipeline.segment.mask_ranker import MaskRanker
from pipeline.segment.proposals import EverythingOptions, Proposals, sift
from pipeline.segment.segmenter import Embedding, ProposingSegmenter, Segmenter
from pipeline.write.run_dir import RunDir

NO_PIXELS = "no prompt gave a mask with pixels"
"""Error of a FOUND answer that turned EMPTY(prompter)."""

NO_OBJECT = "no mask of the grid of points passed the filters of [everything]"
"""The same, where the prompts were a grid of points."""


class EarlierAnswers(Protocol):
    """Records of a run to which queries are added (`added.asked_before`)."""

    def joined(self, run_dir: RunDir, added: BlockRecord) -> BlockRecord:
        """Put the rows of earlier queries before those of the new ones. Raises RecordError."""
        ...


def failure_text(error: Exception) -> str:
    """Make the error text of a failed tile: type and message."""
    return f"{type(error).__name__}: {error}"


def alike(
    tile_id: str, n_queries: int, status: TileStatus, reason: Reason, error: str = ""
) -> list[TilePrompts]:
    """Give the same answer to every query about a tile."""
    return [
        TilePrompts(tile_id=tile_id, query_index=q, status=status, reason=reason, error=error)
        for q in range(n_queries)
    ]


def unseen_reason(view: TileImage, *, min_valid_share: float, max_cloud_share: float) -> Reason | None:
    """Say why a tile is empty although no model looks at it. None: it is looked at.

    NODATA: its read window has less imagery than `min_valid_share` of its pixels, clouded or not, or its core
    has none. CLOUD: clouds hide more than `max_cloud_share` of the imagery of its core, or so much that less
    than `min_valid_share` of the read window or no pixel of the core is left.
    """
    cloud_px = view.core_hidden_px
    core_px = int(view.core_valid.sum())
    clear = float(view.valid.mean()) if view.valid.size else 0.0
    clouds = 0.0 if view.hidden is None else float(view.hidden.mean())
    if clear + clouds < min_valid_share or core_px + cloud_px == 0:
        return Reason.NODATA
    if core_px == 0 or clear < min_valid_share or cloud_px / (core_px + cloud_px) > max_cloud_share:
        return Reason.CLOUD
    return None


type Failed = Callable[[Reason, str], list[TilePrompts]]
"""Makes the failed answers about one image from a reason and an error text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageToAsk:
    """One image that a prompter is to be asked about."""

    tile_id: str
    ask: Callable[[], Awaitable[list[TilePrompts]]]
    failed: Failed


async def ask_journalled(
    name: str,
    *,
    journal: AttemptJournal,
    room: Room,
    ask: Callable[[Attempt], Awaitable[tuple[TilePrompts, ...]]],
) -> tuple[TilePrompts, ...]:
    """Ask about the block or part `name`, noting the attempt; alone, when an earlier attempt died.

    What `ask` raises passes, and leaves the attempt open.
    """
    async with room.enter(alone=journal.died_before(name, "prompt")):
        attempt = journal.begin(name, "prompt")
        answers = await ask(attempt)
        attempt.end()
    return answers


async def ask_each(
    images: Sequence[ImageToAsk], attempt: Attempt, limit_s: float | None = None
) -> tuple[TilePrompts, ...]:
    """Ask about images, and give the answers in their order. `limit_s`: longest time in seconds for one.

    Raises ModelError.
    """

    async def one(image: ImageToAsk) -> list[TilePrompts]:
        why = attempt.verdict(image.tile_id)
        if why is not None:
            return image.failed(why.reason, why.error)
        with attempt.working_on(image.tile_id):
            return await asked_safely(image.ask, image.failed, limit_s)

    if attempt.one_by_one:
        answers = [await one(image) for image in images]
    else:
        answers = await asyncio.gather(*(one(image) for image in images))
    return tuple(answer for of_image in answers for answer in of_image)


async def asked_safely(
    ask: Callable[[], Awaitable[list[TilePrompts]]], failed: Failed, limit_s: float | None = None
) -> list[TilePrompts]:
    """Ask about one image. When the model raises or takes longer than `limit_s` seconds, the answers are
    those of `failed`. Raises ModelError.
    """
    try:
        async with asyncio.timeout(limit_s) as clock:
            return await ask()
    except ModelError:
        raise
    except Exception as error:
        if limit_s is not None and clock.expired():
            return failed(Reason.TIMEOUT, late_text("the models", limit_s))
        return failed(Reason.MODEL_ERROR, failure_text(error))


def late_text(who: str, limit_s: float) -> str:
    """Make the error text of a tile that took too long."""
    return f"{who} did not come back within {limit_s:g} s (tile_s under [limits])"


class ViewMasks:
    """Makes the masks of one view. It is embedded when the first prompts come, and not again."""

    def __init__(self, segmenter: Segmenter, view: TileImage, embedding: Embedding | None = None) -> None:
        """`embedding`: the view's own, where it was made before."""
        self._segmenter = segmenter
        self._view = view
        self._embedding = embedding

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) of the view; True = imagery."""
        return self._view.valid

    def sees(self, place_rc: tuple[int, int]) -> bool:
        """Whether a pixel of the view is imagery."""
        return bool(self._view.valid[place_rc])

    def draw(self, prompts: Sequence[Prompt]) -> tuple[tuple[MaskCrop, ...], str]:
        """Draw the masks. Returns them and an error text; empty: no error. Raises a retryable ModelError when
        only a fresh process can go on, because the next view would fail like this one.
        """
        try:
            return tuple(self._segmenter.segment(self.embedding(), prompts)), ""
        except Exception as error:
            if isinstance(error, ModelError) and error.retryable:
                raise
            return (), failure_text(error)

    def propose(
        self, prompts: Sequence[Prompt], rules: EverythingOptions
    ) -> tuple[Proposals, tuple[Prompt, ...], str]:
        """Draw every object of a grid of points. Returns the masks, one prompt for each, and an error text,
        as `draw` does. Raises a retryable ModelError.
        """
        assert isinstance(self._segmenter, ProposingSegmenter), "every segmenter that ships proposes"
        try:
            found = self._segmenter.propose(self.embedding(), prompts, rules)
            return *sift(found, prompts, rules), ""
        except Exception as error:
            if isinstance(error, ModelError) and error.retryable:
                raise
            return Proposals(), (), failure_text(error)

    def ranked(self, masks: Sequence[MaskCrop], ranker: MaskRanker) -> tuple[list[float], str]:
        """Judge masks by examples. Returns a probability for each, and an error text, as `draw` does.
        Raises a retryable ModelError.
        """
        try:
            return ranker.probabilities(self.described(masks)), ""
        except Exception as error:
            if isinstance(error, ModelError) and error.retryable:
                raise
            return [], failure_text(error)

    def described(self, masks: Sequence[MaskCrop]) -> NDArray[np.float64]:
        """(n, D) features of masks of the view. Raises what the segmenter raises."""
        assert isinstance(self._segmenter, ProposingSegmenter), "every segmenter that ships has features"
        embedding = self.embedding()
        return describe_masks(
            masks,
            rgb=self._view.rgb,
            feature_map=self._segmenter.feature_map(embedding),
            square_px=embedding.square_px,
        )

    def embedding(self) -> Embedding:
        """The view's embedding, made once. Raises what the segmenter raises."""
        self._embedding = self._embedding or self._segmenter.embed(self._view)
        return self._embedding


def verified[T](
    items: Iterable[T],
    looks: LooksAt | None,
    threshold: float,
    *,
    masks_of: Callable[[T], DrawnMasks],
    judged: Callable[[T, Judged], T],
) -> Iterable[T]:
    """Take out the masks that a verifier rejects; items without masks come back as they are.

    Without a verifier nothing is collected: the masks of one item are in memory at a time. Raises ModelError.
    """
    if looks is None:
        return items
    held = list(items)
    drawn = [masks_of(item) for item in held]
    verdicts = looks.judge(drawn, threshold)
    return [
        judged(item, verdict) if masks.masks else item
        for item, masks, verdict in zip(held, drawn, verdicts, strict=True)
    ]
