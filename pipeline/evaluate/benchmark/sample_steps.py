"""The steps of a benchmark: read, prompt, score. Both runners use the same objects.

1. `SampleReader`    part -> the pixels of its images.
2. `SamplePrompter`  pixels -> answers. An image is one tile, as in the papers' protocols.
3. `SampleScorer`    answers -> masks, without those that a verifier rejects -> `score_answer` -> a file.

Attempts, failures and the verifier follow the rules of a run (`run.infer.step_rules`). A failure is committed
like an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.evaluate.benchmark.benchmark import SampleImage, read_image
from pipeline.evaluate.benchmark.kept_answers import KeptAnswers, PromptParts, with_parts
from pipeline.evaluate.benchmark.sample_records import write_part
from pipeline.evaluate.benchmark.score_answer import DrawnAnswer, judged_answer, score_answer
from pipeline.evaluate.benchmark.truth_models import (
    TruthOptions,
    TruthPrompter,
    TruthSegmenter,
    askable,
    image_tile,
)
from pipeline.prompt.build_prompter import PrompterOptions, build_looks, build_prompter, build_verifier
from pipeline.prompt.looks.verifier import DrawnMasks, LooksAt, Verifier, VerifierOptions
from pipeline.prompt.prompter import Prompter
from pipeline.prompt.reply.released_parser import ParserName
from pipeline.run.infer.attempts import Attempt, AttemptJournal, Room, SetAside
from pipeline.run.infer.step_rules import (
    ImageToAsk,
    ViewMasks,
    alike,
    ask_each,
    ask_journalled,
    verified,
)
from pipeline.run.infer.tile_masks import answered_by_query
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import RunGrid
from pipeline.segment.build_segmenter import SegmenterOptions, build_segmenter
from pipeline.segment.mask_model.build_mask_model import build_mask_model
from pipeline.segment.segmenter import Segmenter

ModelSource = Literal["preset", "truth"]

IMAGES_PER_PART = 8
"""Images that are read, asked and committed together: enough to fill the engine's batch, and few to lose."""

NO_GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=1, height=1)
"""Stand-in for a grid, since benchmark images lie on no map. Prompters that need a real one are refused."""


@dataclass(frozen=True, kw_only=True)
class EvaluationContext:
    """What a worker needs to know. Picklable: no weights, no pixels."""

    images: tuple[SampleImage, ...]
    prompter: PrompterOptions
    segmenter: SegmenterOptions
    prompts_from: ModelSource
    masks_from: ModelSource
    side_px: int | None
    """Side in pixels to which images and masks are squashed. None: their own size."""
    boundary_share: float
    """Boundary tolerance as a share of the image diagonal."""
    parser: ParserName = "robust"
    """How replies of the preset's prompter are read."""
    truth: TruthOptions = field(default_factory=TruthOptions)
    """How prompts and masks from the truth are made."""
    prompt_parts: PromptParts = "all"
    """What of each prompt reaches the segmenter."""
    answers_dir: str | None = None
    """Folder in which answers of the preset's prompter are kept, for evaluations that ask the same."""
    verifier: VerifierOptions = field(default_factory=VerifierOptions)
    """Verifier of the preset's own answers; off by default."""
    out_dir: str
    """Absolute path of the evaluation's directory."""
    fingerprint: str

    @property
    def n_parts(self) -> int:
        return -(-len(self.images) // IMAGES_PER_PART)

    def numbers_of(self, part: int) -> range:
        """Give the places of a part's images."""
        return range(part * IMAGES_PER_PART, min((part + 1) * IMAGES_PER_PART, len(self.images)))

    def part_path(self, part: int) -> Path:
        return Path(self.out_dir) / "parts" / f"{part_name(part)}.parquet"

    @property
    def journal(self) -> AttemptJournal:
        return AttemptJournal(Path(self.out_dir) / "attempts")


@dataclass(frozen=True, kw_only=True)
class PartImages:
    """The pixels of one part."""

    part: int
    rgb: tuple[NDArray[np.uint8], ...]
    """One (H, W, 3) per image. An unreadable image is a single black pixel."""
    unreadable: Mapping[int, str]
    """Place within the part -> error text."""


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """Counts of a committed part."""

    part: int
    found: int
    empty: int
    failed: int
    n_embeddings: int


def part_name(part: int) -> str:
    """Name of a part, for its file and for the attempt journal."""
    return f"p{part:05d}"


class SampleReader:
    """Parts -> pixels."""

    def __init__(self, context: EvaluationContext) -> None:
        self._context = context

    def read(self, part: int) -> PartImages:
        """Decode and squash a part's images. One that does not decode is recorded and raises nothing."""
        rgb = []
        unreadable = dict[int, str]()
        for place, number in enumerate(self._context.numbers_of(part)):
            try:
                rgb.append(read_image(self._context.images[number].pixels, self._context.side_px))
            except SourceError as error:
                rgb.append(np.zeros((1, 1, 3), dtype=np.uint8))
                unreadable[place] = str(error)
        return PartImages(part=part, rgb=tuple(rgb), unreadable=unreadable)


class SamplePrompter:
    """Pixels and queries -> answers: image by image, one per askable query."""

    def __init__(self, context: EvaluationContext, prompter: Prompter | None = None) -> None:
        """Without a folder of kept answers the prompter is built now, else when it is asked first."""
        self._context = context
        self._kept = KeptAnswers(context.answers_dir)
        self._built = prompter or (None if self._kept.on else _build_prompter(context))
        self._room = Room()

    @property
    def _prompter(self) -> Prompter:
        if self._built is None:
            self._built = _build_prompter(self._context)
        return self._built

    async def prompt(self, images: PartImages) -> tuple[TilePrompts, ...]:
        """Answer every query of a part. Raises ModelError only when the engine died."""
        name = part_name(images.part)
        answers = self._kept.read(name)
        if answers is None:
            answers = await ask_journalled(
                name,
                journal=self._context.journal,
                room=self._room,
                ask=lambda attempt: ask_each(
                    [self._asked(images, place) for place in range(len(images.rgb))], attempt
                ),
            )
            self._kept.write(name, answers)
        return with_parts(answers, self._context.prompt_parts)

    def _asked(self, images: PartImages, place: int) -> ImageToAsk:
        number = self._context.numbers_of(images.part)[place]
        return ImageToAsk(
            tile_id=image_tile(number, images.rgb[place].shape[:2]).tile_id,
            ask=lambda: self._ask(images, place),
            failed=lambda reason, error: self._failed(images, place, reason, error),
        )

    async def _ask(self, images: PartImages, place: int) -> list[TilePrompts]:
        if place in images.unreadable:
            return self._failed(images, place, Reason.UNREADABLE, images.unreadable[place])
        number = self._context.numbers_of(images.part)[place]
        queries = [sample.query for sample in askable(self._context.images[number])]
        return await self._ask_prompter(_view(number, images.rgb[place]), queries) if queries else []

    async def _ask_prompter(self, view: TileImage, queries: list[str]) -> list[TilePrompts]:
        answers = await self._prompter.prompt(view, queries)
        if len(answers) != len(queries):
            raise ValueError(f"{len(answers)} answers to {len(queries)} queries")
        return answers

    def verifier(self) -> Verifier | None:
        """Make a verifier on this engine, for a `SampleScorer` in the same event loop. None: it is off."""
        options = self._context.verifier
        return (
            build_verifier(options, self._context.prompter, NO_GRID, self._prompter) if options.on else None
        )

    def close(self) -> None:
        if self._built is not None:
            self._built.close()

    def _failed(self, images: PartImages, place: int, reason: Reason, error: str) -> list[TilePrompts]:
        """Make a failed answer to every askable query about one image."""
        number = self._context.numbers_of(images.part)[place]
        tile_id = image_tile(number, images.rgb[place].shape[:2]).tile_id
        n_queries = len(askable(self._context.images[number]))
        return alike(tile_id, n_queries, TileStatus.FAILED, reason, error)


class SampleScorer:
    """Pixels and answers -> a committed part."""

    def __init__(
        self, context: EvaluationContext, segmenter: Segmenter | None = None, looks: LooksAt | None = None
    ) -> None:
        """`looks`: a verifier that this process already has. None: one is built if it is on."""
        self._context = context
        options = None if segmenter or context.masks_from == "truth" else context.segmenter.mask_model
        self._mask_model = None if options is None else build_mask_model(options)
        self._segmenter: Segmenter | None = None
        if self._mask_model is None:
            self._segmenter = segmenter or _build_segmenter(context)
        encoder = self._mask_model or self._segmenter
        assert encoder is not None, "either a mask model or a segmenter draws"
        self._encoder = encoder
        self._looks = looks or build_looks(context.verifier, context.prompter, NO_GRID)

    def commit(self, images: PartImages, answers: Sequence[TilePrompts]) -> PartSummary:
        """Segment, verify, score and write. A part can be repeated: it always has the same file name.

        Raises SourceError when a true mask is damaged, ModelError when the verifier's engine or the
        segmenter's GPU fails.
        """
        journal = self._context.journal
        name = part_name(images.part)
        before = self._encoder.n_embeddings
        attempt = journal.begin(name, "score")
        by_image: dict[str, list[TilePrompts]] = {}
        for answer in answers:
            by_image.setdefault(answer.tile_id, []).append(answer)
        views = [
            (number, _view(number, images.rgb[place]))
            for place, number in enumerate(self._context.numbers_of(images.part))
        ]
        drawn = (
            answered
            for number, view in views
            for answered in self._draw_alone(
                attempt, view, self._context.images[number], by_image.get(view.tile.tile_id, [])
            )
        )
        records = [
            score_answer(answered, self._context.side_px, self._context.boundary_share)
            for answered in self._verify(drawn)
        ]
        write_part(self._context.part_path(images.part), records, self._context.fingerprint)
        attempt.end()
        statuses = [record.status for record in records]
        return PartSummary(
            part=images.part,
            found=statuses.count(TileStatus.FOUND),
            empty=statuses.count(TileStatus.EMPTY),
            failed=statuses.count(TileStatus.FAILED),
            n_embeddings=self._encoder.n_embeddings - before,
        )

    def close(self) -> None:
        """End the process of a mask model."""
        if self._mask_model is not None:
            self._mask_model.close()

    def _draw_alone(
        self, attempt: Attempt, view: TileImage, image: SampleImage, answers: Sequence[TilePrompts]
    ) -> list[DrawnAnswer]:
        """Draw the masks of every query about one image, which is noted where a process died."""
        why = attempt.verdict(view.tile.tile_id)
        with nullcontext() if why else attempt.working_on(view.tile.tile_id):
            return list(self._draw(view, image, answers, why))

    def _draw(
        self, view: TileImage, image: SampleImage, answers: Sequence[TilePrompts], why: SetAside | None
    ) -> Iterator[DrawnAnswer]:
        """Draw the masks of every query about one image. `why`: nothing is segmented any more."""
        given = iter(self._drawn(view, image, answers, why))
        for sample in image.samples:
            if sample.refusal:
                yield DrawnAnswer(
                    view=view,
                    image=image,
                    sample=sample,
                    answer=_failure(view, Reason.MODEL_ERROR, sample.refusal),
                )
                continue
            answer, masks = next(given)
            yield DrawnAnswer(view=view, image=image, sample=sample, answer=answer, masks=masks)

    def _drawn(
        self, view: TileImage, image: SampleImage, answers: Sequence[TilePrompts], why: SetAside | None
    ) -> Iterator[tuple[TilePrompts, tuple[MaskCrop, ...]]]:
        """The answers to the queries that may be asked, each with its masks."""
        stopped = [
            _failure(view, why.reason, why.error) if why and answer.status is TileStatus.FOUND else answer
            for answer in answers
        ]
        if self._mask_model is not None:
            queries = [sample.query for sample in askable(image)]
            split = self._context.segmenter.splits(self._mask_model.one_mask)
            for answer, drawn in answered_by_query(
                self._mask_model, view, stopped, queries=queries, split=split
            ):
                yield answer, drawn or ()
            return
        assert self._segmenter is not None, "prompts are drawn by a segmenter"
        view_masks = ViewMasks(self._segmenter, view)
        for answer in stopped:
            masks: tuple[MaskCrop, ...] = ()
            error = ""
            if answer.status is TileStatus.FOUND:
                masks, error = view_masks.draw(answer.prompts)
            yield (_failure(view, Reason.MODEL_ERROR, error, answer) if error else answer), masks

    def _verify(self, drawn: Iterable[DrawnAnswer]) -> Iterable[DrawnAnswer]:
        """Remove the masks that a verifier rejects. Raises ModelError."""
        return verified(
            drawn,
            self._looks,
            self._context.verifier.threshold,
            masks_of=lambda item: DrawnMasks(
                image=item.view, query=item.sample.query, n_prompts=len(item.answer.prompts), masks=item.masks
            ),
            judged=judged_answer,
        )


class PartRow(TypedDict):
    """A part on its way between Ray actors."""

    part: int
    rgb: bytes
    shapes: bytes
    unreadable: bytes


def images_to_row(images: PartImages) -> PartRow:
    """Turn a part into scalars and bytes, for Ray."""
    return {
        "part": images.part,
        "rgb": b"".join(rgb.tobytes() for rgb in images.rgb),
        "shapes": json.dumps([rgb.shape[:2] for rgb in images.rgb]).encode(),
        "unreadable": json.dumps({str(place): text for place, text in images.unreadable.items()}).encode(),
    }


def row_to_images(row: PartRow) -> PartImages:
    """Turn a row of `images_to_row` back into a part."""
    data = np.frombuffer(row["rgb"], dtype=np.uint8)
    start = 0
    rgb = []
    for height, width in json.loads(row["shapes"]):
        rgb.append(data[start : start + height * width * 3].reshape(height, width, 3))
        start += height * width * 3
    unreadable = {int(place): text for place, text in json.loads(row["unreadable"]).items()}
    return PartImages(part=row["part"], rgb=tuple(rgb), unreadable=unreadable)


def _view(number: int, rgb: NDArray[np.uint8]) -> TileImage:
    shape = (int(rgb.shape[0]), int(rgb.shape[1]))
    return TileImage(tile=image_tile(number, shape), rgb=rgb, valid=np.ones(shape, dtype=np.bool_))


def _failure(view: TileImage, reason: Reason, error: str, before: TilePrompts | None = None) -> TilePrompts:
    """Make a failed answer. `before`: an answer that failed in a later step; its reply is kept."""
    return TilePrompts(
        tile_id=view.tile.tile_id,
        query_index=0,
        status=TileStatus.FAILED,
        reason=reason,
        error=error,
        reply=before.reply if before else "",
        rationale=before.rationale if before else "",
        n_calls=before.n_calls if before else 0,
    )


def _build_prompter(context: EvaluationContext) -> Prompter:
    return (
        TruthPrompter(context.images, context.truth)
        if context.prompts_from == "truth"
        else build_prompter(context.prompter, NO_GRID, context.parser)
    )


def _build_segmenter(context: EvaluationContext) -> Segmenter:
    return (
        TruthSegmenter(context.images, context.truth)
        if context.masks_from == "truth"
        else build_segmenter(context.segmenter)
    )
