"""Read, prompt, score: with hand-written fakes at both seams, and with the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, ArraySource, context, image, rectangle, sample
from prompt.fakes_prompt import FakePrompter
from prompt.fakes_verifier import FakeVerifier
from segment.fakes_segment import FakeSegmenter

from pipeline.errors import ModelError, SourceError
from pipeline.evaluate.benchmark import sample_steps
from pipeline.evaluate.benchmark.benchmark import SampleImage
from pipeline.evaluate.benchmark.sample_records import SampleRecord, read_part, unpack_mask
from pipeline.evaluate.benchmark.sample_steps import (
    IMAGES_PER_PART,
    EvaluationContext,
    SamplePrompter,
    SampleReader,
    SampleScorer,
    images_to_row,
    row_to_images,
)
from pipeline.evaluate.benchmark.truth_models import image_tile
from pipeline.prompt import build_prompter
from pipeline.prompt.build_prompter import PrompterOptions
from pipeline.prompt.looks.verifier import LooksAt, VerifierOptions
from pipeline.run.infer.attempts import MAX_CRASHES
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus
from pipeline.segment.build_segmenter import SegmenterOptions
from pipeline.segment.mask_model.mask_model import MaskAnswer, masks_or_nothing, no_answer
from pipeline.segment.mask_model.mask_options import MaskModelOptions

BOX = Prompt(box_xyxy=(2.0, 3.0, 8.0, 9.0))  # the fake segmenter fills boxes
SQUARE = rectangle(3, 2, 9, 8)


def run(
    made: EvaluationContext,
    part: int = 0,
    *,
    prompter: object = None,
    segmenter: object = None,
    verifier: object = None,
) -> dict[str, SampleRecord]:
    images = SampleReader(made).read(part)
    asking = SamplePrompter(made, prompter)  # type: ignore[arg-type]
    answers = asyncio.run(asking.prompt(images))
    looks = LooksAt(verifier=verifier, run=asyncio.run) if verifier is not None else None  # type: ignore[arg-type]
    SampleScorer(made, segmenter, looks).commit(images, answers)  # type: ignore[arg-type]
    return {item.sample_id: item for item in read_part(made.part_path(part), made.fingerprint)}


def tile_id(number: int) -> str:
    return image_tile(number, SHAPE).tile_id


def test_answers_masks_and_truth_come_together(tmp_path: Path) -> None:
    shifted = rectangle(3, 4, 9, 10)
    images = [
        image(
            "a",
            [
                sample("hit", SQUARE, kind="explicit"),
                sample("half", shifted),
                sample("no", rectangle(0, 0, 0, 0)),
            ],
        ),
        image("b", [sample("missed", SQUARE)]),
    ]
    table = {
        (tile_id(0), "where is hit?"): (BOX,),
        (tile_id(0), "where is half?"): (BOX, BOX),
        (tile_id(1), "other"): (BOX,),
    }
    segmenter = FakeSegmenter()
    records = run(context(images, tmp_path), prompter=FakePrompter(table), segmenter=segmenter)
    assert list(records) == ["hit", "half", "no", "missed"]
    assert (records["hit"].true_px, records["hit"].predicted_px, records["hit"].common_px) == (36, 36, 36)
    assert (records["half"].true_px, records["half"].predicted_px, records["half"].common_px) == (36, 36, 24)
    assert len(records["half"].mask_scores) == 2  # two masks, their union is scored
    assert records["hit"].strata == {"kind": "explicit"}
    np.testing.assert_array_equal(unpack_mask(records["half"].mask_png, SHAPE), SQUARE)
    assert (records["no"].abstained, records["no"].true_px) == (True, 0)
    assert (records["missed"].abstained, records["missed"].true_px) == (True, 36)
    assert segmenter.embedded == [
        tile_id(0)
    ]  # one embedding for all queries of an image, none where nothing was found


def test_a_picture_that_does_not_decode_is_a_failure_with_its_truth_counted(tmp_path: Path) -> None:
    images = [image("bad", [sample("s", SQUARE)], damaged=True), image("good", [sample("t", SQUARE)])]
    prompter = FakePrompter({(tile_id(1), "where is t?"): (BOX,)})
    records = run(context(images, tmp_path), prompter=prompter, segmenter=FakeSegmenter())
    assert (records["s"].status, records["s"].reason, records["s"].error) == (
        TileStatus.FAILED,
        Reason.UNREADABLE,
        "this picture is damaged",
    )
    assert (records["s"].true_px, records["s"].predicted_px, records["s"].height) == (36, 0, SHAPE[0])
    assert records["t"].status is TileStatus.FOUND
    assert [asked for asked, _ in prompter.asked] == [tile_id(1)]


def test_a_damaged_truth_stops_the_evaluation(tmp_path: Path) -> None:
    broken = sample("s", SQUARE)
    object.__setattr__(broken, "mask", ArraySource(None))
    made = context([image("i", [broken])], tmp_path)
    with pytest.raises(SourceError, match="damaged"):
        run(made, prompter=FakePrompter({}), segmenter=FakeSegmenter())
    assert not made.part_path(0).exists()


def test_a_query_that_may_not_be_asked_fails_without_a_call(tmp_path: Path) -> None:
    images = [image("i", [sample("bad", SQUARE, refusal="too long"), sample("t", SQUARE)])]
    prompter = FakePrompter({(tile_id(0), "where is t?"): (BOX,)})
    records = run(context(images, tmp_path), prompter=prompter, segmenter=FakeSegmenter())
    assert (records["bad"].status, records["bad"].reason, records["bad"].error) == (
        TileStatus.FAILED,
        Reason.MODEL_ERROR,
        "too long",
    )
    assert records["t"].common_px == 36
    assert prompter.asked == [(tile_id(0), ("where is t?",))]


def test_an_exception_on_one_image_is_its_failure_and_a_dead_engine_is_not(tmp_path: Path) -> None:
    class Moody(FakePrompter):
        error: Exception = ValueError("no idea")

        async def prompt(self, image, queries):  # type: ignore[no-untyped-def]
            if image.tile.tile_id == tile_id(0):
                raise self.error
            return await super().prompt(image, queries)

    images = [image("a", [sample("s", SQUARE)]), image("b", [sample("t", SQUARE)])]
    table = {(tile_id(1), "where is t?"): (BOX,)}
    records = run(context(images, tmp_path / "x"), prompter=Moody(table), segmenter=FakeSegmenter())
    assert (records["s"].reason, records["s"].error) == (Reason.MODEL_ERROR, "ValueError: no idea")
    assert records["t"].status is TileStatus.FOUND
    dead = Moody(table)
    dead.error = ModelError("the engine is gone", retryable=True)
    with pytest.raises(ModelError, match="gone"):
        run(context(images, tmp_path / "y"), prompter=dead, segmenter=FakeSegmenter())


def test_a_prompter_that_answers_too_little_fails_that_image(tmp_path: Path) -> None:
    class Terse(FakePrompter):
        async def prompt(self, image, queries):  # type: ignore[no-untyped-def]
            return (await super().prompt(image, queries))[:1]

    images = [image("a", [sample("s", SQUARE), sample("t", SQUARE)])]
    records = run(context(images, tmp_path), prompter=Terse({}), segmenter=FakeSegmenter())
    assert {item.error for item in records.values()} == {"ValueError: 1 answers to 2 queries"}


def test_a_segmenter_that_fails_keeps_the_reply_and_prompts_without_pixels_are_no_abstention(
    tmp_path: Path,
) -> None:
    class Broken(FakeSegmenter):
        def segment(self, embedding, prompts):  # type: ignore[no-untyped-def]
            raise RuntimeError("out of memory")

    class Blind(FakeSegmenter):
        def segment(self, embedding, prompts):  # type: ignore[no-untyped-def]
            return []

    images = [image("a", [sample("s", SQUARE)])]
    table = {(tile_id(0), "where is s?"): (BOX,)}
    failed = run(context(images, tmp_path / "x"), prompter=FakePrompter(table), segmenter=Broken())["s"]
    assert (failed.status, failed.error) == (TileStatus.FAILED, "RuntimeError: out of memory")
    blind = run(context(images, tmp_path / "y"), prompter=FakePrompter(table), segmenter=Blind())["s"]
    assert (blind.status, blind.error) == (TileStatus.EMPTY, "no prompt gave a mask with pixels")
    assert not blind.abstained


HALF = VerifierOptions(mode="crop", threshold=0.5)
BESIDE = Prompt(box_xyxy=(20.0, 10.0, 26.0, 16.0))  # 36 px that no target has
POINT = Prompt(
    box_xyxy=None, points_xy=((5.0, 5.0),), point_labels=(1,)
)  # the fake segmenter makes no mask of it


def test_a_segmenter_that_only_a_fresh_process_can_mend_leaves_the_part_undone(tmp_path: Path) -> None:
    class Lost(FakeSegmenter):
        def segment(self, embedding, prompts):  # type: ignore[no-untyped-def]
            raise ModelError("CUDA error: an illegal memory access", retryable=True)

    made = context([image("a", [sample("s", SQUARE)])], tmp_path)
    with pytest.raises(ModelError, match="illegal memory access"):
        run(made, prompter=FakePrompter({(tile_id(0), "where is s?"): (BOX,)}), segmenter=Lost())
    assert not made.part_path(0).exists()


def test_a_verifier_takes_masks_away_and_the_rest_is_scored(tmp_path: Path) -> None:
    """`two` has the target and as many pixels beside it: IoU 36 / 72 before, 1 without the second mask."""
    images = [
        image("a", [sample("two", SQUARE), sample("alarm", rectangle(0, 0, 0, 0)), sample("lost", SQUARE)]),
        image("b", [sample("unsure", SQUARE), sample("none", SQUARE), sample("pointless", SQUARE)]),
    ]
    a = tile_id(0)
    b = tile_id(1)
    table = {
        (a, "where is two?"): (POINT, BOX, BESIDE),
        (a, "where is alarm?"): (BOX, BESIDE),
        (a, "where is lost?"): (BOX,),
    }
    table |= {(b, "where is unsure?"): (BOX,), (b, "where is pointless?"): (POINT,)}
    given = {
        (a, "where is two?"): (0.5, 0.49),
        (a, "where is alarm?"): (0.1, 0.2),
        (a, "where is lost?"): (0.3,),
    }
    verifier = FakeVerifier({**given, (b, "where is unsure?"): (None,)})
    made = context(images, tmp_path / "with", verifier=HALF)
    records = run(made, prompter=FakePrompter(table), segmenter=FakeSegmenter(), verifier=verifier)
    plain = run(
        context(images, tmp_path / "without"), prompter=FakePrompter(table), segmenter=FakeSegmenter()
    )
    assert len(verifier.asked) == 4  # neither the rejection nor the answer without a mask

    two = records["two"]
    assert (
        plain["two"].predicted_px,
        plain["two"].common_px,
        plain["two"].n_rejected,
        plain["two"].verified,
    ) == (72, 36, 0, ())
    assert (two.status, two.true_px, two.predicted_px, two.common_px) == (TileStatus.FOUND, 36, 36, 36)
    assert (two.verified, two.n_rejected, two.n_drawn, len(two.mask_scores), len(two.prompts)) == (
        (None, 0.5, 0.49),
        1,
        2,
        1,
        3,
    )
    np.testing.assert_array_equal(unpack_mask(two.mask_png, SHAPE), SQUARE)

    for name, verified in (("alarm", (0.1, 0.2)), ("lost", (0.3,))):
        gone = records[name]
        assert (gone.status, gone.reason, gone.error, gone.predicted_px, gone.mask_png) == (
            TileStatus.EMPTY,
            Reason.VERIFIER,
            "",
            0,
            b"",
        )
        assert (gone.abstained, plain[name].abstained) == (True, False)
        assert (gone.verified, gone.n_rejected, gone.mask_scores) == (verified, len(verified), ())
    assert records["alarm"].prompts == (BOX, BESIDE)

    assert (records["unsure"].status, records["unsure"].common_px, records["unsure"].verified) == (
        TileStatus.FOUND,
        36,
        (None,),
    )
    for name in ("none", "pointless"):
        assert records[name] == plain[name]
    assert records["pointless"].error == "no prompt gave a mask with pixels"


def test_a_scorer_without_a_prompter_builds_its_own_verifier_and_only_when_it_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [image("a", [sample("s", SQUARE)])]
    table = {(tile_id(0), "where is s?"): (BOX,)}
    built: list[VerifierOptions] = []

    def built_here(options: VerifierOptions, *_: object) -> FakeVerifier | None:
        built.append(options)
        return FakeVerifier({(tile_id(0), "where is s?"): (0.2,)}) if options.on else None

    monkeypatch.setattr(build_prompter, "build_verifier", built_here)
    for options, status in ((HALF, TileStatus.EMPTY), (VerifierOptions(threshold=1.0), TileStatus.FOUND)):
        made = context(images, tmp_path / options.mode, verifier=options)
        assert run(made, prompter=FakePrompter(table), segmenter=FakeSegmenter())["s"].status is status
    assert built == [HALF, VerifierOptions(threshold=1.0)]


def test_the_verifier_of_one_process_shares_the_prompter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompter = FakePrompter({})
    verifier = FakeVerifier({})
    made = context([], tmp_path, verifier=HALF)

    def built_with(*given: object) -> FakeVerifier:
        assert given == (HALF, made.prompter, sample_steps.NO_GRID, prompter)
        return verifier

    assert SamplePrompter(context([], tmp_path), prompter).verifier() is None
    monkeypatch.setattr(sample_steps, "build_verifier", built_with)
    assert SamplePrompter(made, prompter).verifier() is verifier


def test_a_dead_verifier_leaves_the_part_undone(tmp_path: Path) -> None:
    class Dead(FakeVerifier):
        async def verify(self, image, query, masks):  # type: ignore[no-untyped-def]
            raise ModelError("the engine is gone", retryable=True)

    made = context([image("a", [sample("s", SQUARE)])], tmp_path, verifier=HALF)
    table = {(tile_id(0), "where is s?"): (BOX,)}
    with pytest.raises(ModelError, match="gone"):
        run(made, prompter=FakePrompter(table), segmenter=FakeSegmenter(), verifier=Dead({}))
    assert not made.part_path(0).exists()


@pytest.mark.parametrize("step", ["prompt", "score"])
def test_a_part_that_keeps_killing_its_process_is_given_up(tmp_path: Path, step: str) -> None:
    made = context([image("a", [sample("s", SQUARE)])], tmp_path)
    for _ in range(MAX_CRASHES):
        made.journal.begin("p00000", step)  # attempts of processes that died
    record = run(
        made, prompter=FakePrompter({(tile_id(0), "where is s?"): (BOX,)}), segmenter=FakeSegmenter()
    )["s"]
    assert (record.status, record.reason) == (TileStatus.FAILED, Reason.CRASHED)


@pytest.mark.parametrize("side", [None, 16, 40])
def test_the_truth_scores_one_at_any_size(tmp_path: Path, side: int | None) -> None:
    rng = np.random.default_rng(1)
    images = [
        image(f"i{k}", [sample(f"s{k}", rng.random(SHAPE) < 0.3), sample(f"e{k}", np.zeros(SHAPE, bool))])
        for k in range(3)
    ]
    for item in run(context(images, tmp_path, side_px=side)).values():
        assert item.true_px == item.predicted_px == item.common_px
        assert item.abstained == (item.true_px == 0)
        assert (item.height, item.width) == ((side, side) if side else SHAPE)


def test_parts_cover_every_image_once(tmp_path: Path) -> None:
    images = [image(f"i{k}", [sample(f"s{k}", SQUARE)]) for k in range(2 * IMAGES_PER_PART + 3)]
    made = context(images, tmp_path)
    assert made.n_parts == 3
    assert [number for part in range(3) for number in made.numbers_of(part)] == list(range(len(images)))
    assert list(run(made, 2)) == [f"s{k}" for k in range(2 * IMAGES_PER_PART, len(images))]


def test_pixels_survive_the_way_through_ray(tmp_path: Path) -> None:
    odd = SampleImage(
        image_id="odd",
        pixels=ArraySource(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3), (5, 7)),
        samples=(),
    )
    images = SampleReader(context([odd, image("bad", [], damaged=True), image("c", [])], tmp_path)).read(0)
    row = images_to_row(images)
    assert all(isinstance(value, int | bytes) for value in row.values())
    back = row_to_images(row)
    assert (back.part, dict(back.unreadable)) == (0, {1: "this picture is damaged"})
    for one, other in zip(images.rgb, back.rgb, strict=True):
        np.testing.assert_array_equal(one, other)


class FakeMaskModel:
    """Draws SQUARE where a query speaks of a tank, fails on a pool, and finds nothing else."""

    model_id = "fake"
    one_mask = True

    def __init__(self) -> None:
        self.n_embeddings = 0
        self.asked: list[tuple[str, ...]] = []

    def answer(self, view: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        self.n_embeddings += 1
        self.asked.append(tuple(queries))
        return [self._one(query) for query in queries]

    def _one(self, query: str) -> MaskAnswer:
        if "pool" in query:
            return no_answer(Reason.TIMEOUT, "late")
        drawn = SQUARE if "tank" in query else np.zeros_like(SQUARE)
        return masks_or_nothing(drawn[None].astype(bool), [0.5], "as asked")

    def close(self) -> None:
        self.asked.append(("closed",))


def test_a_mask_model_is_asked_all_queries_of_an_image_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeMaskModel()
    monkeypatch.setattr(sample_steps, "build_mask_model", lambda options: model)
    asked = [
        sample("tank", SQUARE),
        sample("bad", SQUARE, refusal="too long"),
        sample("pool", SQUARE),
        sample("lake", SQUARE),
    ]
    options = MaskModelOptions(kind="sam3-text", checkpoint="facebook/sam3")
    made = replace(
        context([image("i", asked)], tmp_path),
        prompter=PrompterOptions(kind="whole", model=""),
        segmenter=SegmenterOptions(kind="mask-model", mask_model=options),
        prompts_from="preset",
        masks_from="preset",
    )
    records = run(made)
    assert model.asked == [("where is tank?", "where is pool?", "where is lake?")]
    assert (records["tank"].status, records["tank"].common_px, records["tank"].rationale) == (
        TileStatus.FOUND,
        36,
        "as asked",
    )
    assert (records["bad"].status, records["bad"].error) == (TileStatus.FAILED, "too long")
    assert (records["pool"].reason, records["pool"].error) == (Reason.TIMEOUT, "late")
    assert (records["lake"].status, records["lake"].abstained) == (TileStatus.EMPTY, True)
    scorer = SampleScorer(made)
    scorer.close()
    assert model.asked[-1] == ("closed",)
