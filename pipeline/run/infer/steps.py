"""What one block goes through: read, prompt, segment, commit. The same objects serve both runners.

1. `ReadStep` (read_step.py) reads pixels and validity of the block's tiles.
2. `PromptStep` asks every query about every tile. Tiles without valid pixels are EMPTY(nodata), tiles that
   clouds hide EMPTY(cloud); they cost no model call. An optional gate looks first.
3. `SegmentStep` embeds a tile with a FOUND answer once and decodes all its prompts, or asks a mask model all
   its queries. An optional verifier looks at every mask. The block record is written whole: its presence
   proves that the block is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from pipeline.errors import ModelError
from pipeline.grid.tiles import Plan
from pipeline.load.prepare_scenes import SceneSource
from pipeline.prompt.build_prompter import build_gate, build_verifier
from pipeline.prompt.looks.gate import Gate
from pipeline.prompt.looks.gatekeeper import Gatekeeper, Probabilities
from pipeline.prompt.looks.verifier import DrawnMasks, LooksAt, Verifier, judged
from pipeline.prompt.prompter import Prompter
from pipeline.run.config import RunConfig
from pipeline.run.events.stage_times import Meter, load_times
from pipeline.run.infer.attempts import Attempt, AttemptJournal, SetAside
from pipeline.run.infer.block_summary import summarise
from pipeline.run.infer.deadlines import Hand, OverdueError
from pipeline.run.infer.encode_ahead import EncodeAhead
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.shared_models import SharedModels
from pipeline.run.infer.step_rules import (
    NO_OBJECT,
    NO_PIXELS,
    EarlierAnswers,
    ImageToAsk,
    ViewMasks,
    alike,
    ask_each,
    ask_journalled,
    failure_text,
    late_text,
    unseen_reason,
    verified,
)
from pipeline.run.infer.tile_masks import (
    TileMasks,
    failed_record,
    judged_masks,
    masks_by_query,
    record_of,
    unsegmented,
)
from pipeline.schema.imagery import BlockImage, ScenePixels, TileImage
from pipeline.schema.tile_answers import BlockRecord, Reason, TilePrompts, TileRecord, TileStatus
from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.segment.mask_ranker import MaskRanker
from pipeline.segment.segmenter import Segmenter
from pipeline.stitch.flatten import flatten_tile
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import BlockKey, RecordKeys, key_of
from pipeline.write.run_dir import RunDir


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Everything a worker needs to know about a run. Small and picklable: no weights, no arrays of pixels.

    Steps are built from it in the process that runs them, so weights load once per actor.
    """

    config: RunConfig
    plan: Plan
    scene_sources: tuple[SceneSource, ...]
    """The scenes with stretch and collar, settled once on the driver."""
    run_dir: str
    """Absolute path of the run directory."""
    fingerprint: str
    """Of the run."""
    keys: RecordKeys
    """Of its block records."""
    model_ids: Mapping[str, str]
    """Role (prompter, segmenter) -> what answers, as published with every instance."""
    ranker: MaskRanker | None = None
    """The classifier that was trained on a user's marks. None: there are none."""
    redone: Mapping[str, str] = field(default_factory=dict)
    """block_id -> seal of the record that this start replaces, because it has failed tiles."""
    asked: EarlierAnswers | None = None
    """The answers to earlier queries, where `config` has the added ones alone. None: it has all."""

    @property
    def lattice(self) -> TileLattice:
        return self.plan.lattice

    @property
    def journal(self) -> AttemptJournal:
        """What is being worked on, and what came of earlier attempts."""
        return AttemptJournal(RunDir(self.run_dir).attempts)


class PromptStep:
    """Asks the queries: one `TilePrompts` per tile and query. Tiles are row-major, queries inside."""

    def __init__(
        self,
        context: RunContext,
        prompter: Prompter | None = None,
        gate: Gate | None = None,
        models: SharedModels | None = None,
    ) -> None:
        """`models`: those of this process; without them the step loads its own. `prompter`, `gate`: taken
        instead.
        """
        self._context = context
        config = context.config
        grid = context.lattice.grid
        models = models or SharedModels()
        self._prompter = prompter or models.prompter(config, context.lattice)
        self._queries = config.queries
        gate = gate or build_gate(config.gate, config.prompter, self._prompter, grid)
        self._gatekeeper = Gatekeeper(gate, config.gate, self._queries) if gate is not None else None
        self._journal = context.journal
        self._room = models.room
        self._meter = Meter(self._prompter)

    async def prompt(self, image: BlockImage) -> tuple[TilePrompts, ...]:
        """Ask all queries about all tiles of a block. Raises ModelError only when the engine is gone."""
        return await ask_journalled(
            image.block.block_id,
            journal=self._journal,
            room=self._room,
            ask=lambda attempt: self._ask_block(image, attempt),
        )

    def used(self) -> dict[str, int]:
        """Count what the prompter used since this was last asked."""
        return self._meter.since()

    def loading(self) -> Mapping[str, float]:
        """Seconds that parts of the prompter's loading took, as far as it tells."""
        return load_times(self._prompter)

    def held_up(self, late: OverdueError) -> ModelError:
        """Note the tile that holds up the event loop, and say that only a fresh process can go on."""
        if late.working_on is not None:
            block_id, tile_id = late.working_on
            why = SetAside(reason=Reason.TIMEOUT, error=late_text("the prompter", late.limit_s))
            self._journal.set_aside(block_id, "prompt", tile_id, why)
        where = "" if late.working_on is None else f" with tile {late.working_on[1]}"
        return ModelError(
            f"the prompter was busy{where} for {late.limit_s:g} s and heard nothing", retryable=True
        )

    async def _ask_block(self, image: BlockImage, attempt: Attempt) -> tuple[TilePrompts, ...]:
        views = [image.tile_image(tile) for tile in image.block.tiles]
        tiles = self._context.config.tiles
        unseen = {
            view.tile.tile_id: unseen_reason(
                view, min_valid_share=tiles.min_valid_share, max_cloud_share=tiles.max_cloud_share
            )
            for view in views
        }
        seen = {name for name, reason in unseen.items() if not reason and name not in image.unreadable}
        shared = await self._look_at_block(image, {name for name in seen if attempt.verdict(name) is None})
        asked = [
            ImageToAsk(
                tile_id=view.tile.tile_id,
                ask=partial(self._ask_models, view, shared),
                failed=partial(self._all, view.tile, TileStatus.FAILED),
            )
            for view in views
            if view.tile.tile_id in seen
        ]
        given = await ask_each(asked, attempt, self._context.config.limits.tile_s)
        by_tile: dict[str, list[TilePrompts]] = {}
        for answer in given:
            by_tile.setdefault(answer.tile_id, []).append(answer)
        return tuple(
            answer
            for view in views
            for answer in by_tile.get(view.tile.tile_id) or self._unasked(image, view.tile, unseen)
        )

    async def _look_at_block(self, image: BlockImage, seen: AbstractSet[str]) -> Probabilities | None:
        """The gate's one look at a block, when it is of that kind. `seen`: ids of tiles with imagery."""
        if self._gatekeeper is None:
            return None
        tiles = [tile for tile in image.block.tiles if tile.tile_id in seen]
        try:
            async with asyncio.timeout(self._context.config.limits.tile_s):
                return await self._gatekeeper.look_at_block(image, self._context.lattice, tiles)
        except TimeoutError:  # like every look that fails, it rejects nothing
            return [None] * len(self._queries)

    def _unasked(
        self, image: BlockImage, tile: TileSpec, unseen: Mapping[str, Reason | None]
    ) -> list[TilePrompts]:
        """The answers about a tile that no model is asked about."""
        name = tile.tile_id
        if name in image.unreadable:
            reason = Reason(image.unread_for.get(name, Reason.UNREADABLE))
            return self._all(tile, TileStatus.FAILED, reason, image.unreadable[name])
        return self._all(tile, TileStatus.EMPTY, unseen[name] or Reason.NODATA)

    async def _ask_models(self, view: TileImage, shared: Probabilities | None) -> list[TilePrompts]:
        if self._gatekeeper is not None:
            return await self._gatekeeper.examine(self._prompter, view, shared)
        return await self._prompter.prompt(view, self._queries)

    def verifier(self) -> Verifier | None:
        """Make the run's verifier with this step's engine, for a `SegmentStep` in the same event loop. None:
        it is off.
        """
        config = self._context.config
        return build_verifier(config.verifier, config.prompter, self._context.lattice.grid, self._prompter)

    def _all(self, tile: TileSpec, status: TileStatus, reason: Reason, error: str = "") -> list[TilePrompts]:
        return alike(tile.tile_id, len(self._queries), status, reason, error)


class SegmentStep:
    """Turns pixels and answers into a committed block record; returns what the driver counts."""

    def __init__(
        self,
        context: RunContext,
        segmenter: Segmenter | None = None,
        looks: LooksAt | None = None,
        models: SharedModels | None = None,
    ) -> None:
        """`models`: those of this process; without them the step loads its own. `segmenter`, `looks`: taken
        instead.
        """
        self._context = context
        config = context.config
        models = models or SharedModels()
        self._mask_model = models.mask_model(config) if segmenter is None else None
        self._segmenter: Segmenter | None = None
        if self._mask_model is None:
            self._segmenter = segmenter or models.segmenter(config, context.lattice)
        encoder = self._mask_model or self._segmenter
        assert encoder is not None, "either a mask model or a segmenter draws"
        self._encoder = encoder
        self._looks = looks or models.looks(config, context.lattice)
        self._run_dir = RunDir(context.run_dir)
        self._journal = context.journal
        self._hand = Hand("segmenter")
        self._meter = Meter(self._encoder)

    def used(self) -> dict[str, int]:
        """Count what the segmenter used since this was last asked."""
        return self._meter.since()

    def loading(self) -> Mapping[str, float]:
        """Seconds that parts of the segmenter's loading took, as far as it tells by now."""
        return load_times(self._encoder)

    def commit(self, image: BlockImage, answers: Sequence[TilePrompts]) -> BlockSummary:
        """Segment, flatten and write one block. Done again, it writes the same file.

        Raises a retryable ModelError when the segmenter can only go on in a fresh process.
        """
        start = time.monotonic()
        before = self._encoder.n_embeddings
        attempt = self._journal.begin(image.block.block_id, "segment")
        by_tile: dict[str, list[TilePrompts]] = {tile.tile_id: [] for tile in image.block.tiles}
        for answer in answers:
            why = attempt.verdict(answer.tile_id)
            by_tile[answer.tile_id].append(answer if why is None else unsegmented(answer, why))
        views = {tile.tile_id: image.tile_image(tile) for tile in image.block.tiles}
        records = list(self._records(views, by_tile, attempt))
        key = key_of(self._context.keys, image.block.block_id)
        record = BlockRecord(
            block_id=image.block.block_id,
            fingerprint=key.fingerprint,
            inputs=key.inputs,
            tiles=tuple(records),
            valid={tile_id: view.core_valid for tile_id, view in views.items()},
            scenes={tile.tile_id: core_scenes(image, tile, key) for tile in image.block.tiles},
            n_embeddings=self._encoder.n_embeddings - before,
            elapsed_s=time.monotonic() - start,
        )
        asked = self._context.asked
        write_block_record(
            self._run_dir,
            record if asked is None else asked.joined(self._run_dir, record),
            lattice=self._context.lattice,
            replaced=self._context.redone.get(record.block_id, ""),
        )
        attempt.end()
        return summarise(record)

    def _records(
        self, views: Mapping[str, TileImage], by_tile: Mapping[str, list[TilePrompts]], attempt: Attempt
    ) -> Iterable[TileRecord]:
        """Draw, verify and flatten. The looks of a verifier at one block are taken together, unless its tiles
        are done one by one. Raises ModelError.
        """
        asked = [tile_id for tile_id in views if any(a.status is TileStatus.FOUND for a in by_tile[tile_id])]
        together = self._looks is not None and not attempt.one_by_one
        batch = 1 if attempt.deaths else self._context.config.segmenter.tile_batch
        ahead = EncodeAhead(self._segmenter, [views[tile_id] for tile_id in asked], batch)
        done: dict[str, list[TileRecord]] = {}
        for group in [asked] if together else [[tile_id] for tile_id in asked]:
            drawn = [
                masks
                for tile_id in group
                for masks in self._in_time(
                    attempt, tile_id, partial(self._tile, views[tile_id], by_tile[tile_id], ahead)
                )
            ]
            only = group[0] if len(group) == 1 else None
            for masks in self._in_time(attempt, only, partial(self._verify, views, drawn)):
                tile_id = masks.record.tile.tile_id
                record = self._in_time(attempt, tile_id, partial(self._flatten, masks))
                done.setdefault(tile_id, []).append(record)
        for tile_id, view in views.items():
            yield from done.get(tile_id) or (masks.record for masks in self._tile(view, by_tile[tile_id]))

    def _in_time[T](self, attempt: Attempt, tile_id: str | None, work: Callable[[], T]) -> T:
        """Do a part of the work on one tile, or on several (None). A tile that does not come back is set
        aside, and a retryable ModelError raised: what it has taken hold of stays taken in this process.
        """
        limits = self._context.config.limits
        limit_s = limits.block_s if tile_id is None else limits.tile_s
        try:
            with nullcontext() if tile_id is None else attempt.working_on(tile_id):
                return self._hand.call(work, limit_s)
        except OverdueError as late:
            if tile_id is not None:
                why = SetAside(reason=Reason.TIMEOUT, error=late_text("the segmenter", limit_s))
                attempt.set_aside(tile_id, why)
            raise ModelError(f"the segmenter is {late}, with {tile_id or 'masks'}", retryable=True) from late

    def _tile(
        self, view: TileImage, answers: Sequence[TilePrompts], ahead: EncodeAhead | None = None
    ) -> list[TileMasks]:
        valid_px = int(view.core_valid.sum())
        cloud_px = view.core_hidden_px
        if self._mask_model is not None:
            split = self._context.config.segmenter.splits(self._mask_model.one_mask)
            queries = self._context.config.queries
            asked = masks_by_query(self._mask_model, view, answers, queries=queries, split=split)
            return [
                replace(one, record=replace(one.record, valid_px=valid_px, cloud_px=cloud_px))
                for one in asked
            ]
        assert self._segmenter is not None, "prompts are drawn by a segmenter"
        embedding = None if ahead is None else ahead.embedding(view.tile.tile_id)
        view_masks = ViewMasks(self._segmenter, view, embedding)
        found = []
        for answer in answers:
            base = replace(record_of(view.tile, answer), valid_px=valid_px, cloud_px=cloud_px)
            if answer.status is not TileStatus.FOUND:
                found.append(TileMasks(record=base))
                continue
            if self._context.config.prompter.kind == "grid":
                found.append(self._ranked(view_masks, self._everything(view_masks, base)))
                continue
            masks, error = view_masks.draw(answer.prompts)
            drawn = (
                TileMasks(record=failed_record(base, error)) if error else TileMasks(record=base, masks=masks)
            )
            found.append(self._ranked(view_masks, drawn))
        return found

    def _ranked(self, view_masks: ViewMasks, drawn: TileMasks) -> TileMasks:
        """Without the masks that examples speak against; as it is where there are none of either."""
        ranker = self._context.ranker
        if ranker is None or not drawn.masks:
            return drawn
        probabilities, error = view_masks.ranked(drawn.masks, ranker)
        if error:
            return TileMasks(record=failed_record(drawn.record, error))
        threshold = self._context.config.preset.examples.threshold
        return judged_masks(drawn, judged(drawn.masks, len(drawn.record.prompts), probabilities, threshold))

    def _everything(self, view_masks: ViewMasks, base: TileRecord) -> TileMasks:
        """All objects of a tile. Its record has the points of those alone, and counts what was left out."""
        rules = self._context.config.preset.everything
        proposals, prompts, error = view_masks.propose(base.prompts, rules)
        if error:
            return TileMasks(record=failed_record(base, error))
        record = replace(base, prompts=prompts, reply=proposals.text(len(base.prompts)))
        return TileMasks(record=record, masks=proposals.masks)

    def _verify(self, views: Mapping[str, TileImage], found: Sequence[TileMasks]) -> Iterable[TileMasks]:
        """Without the masks that a verifier rejects. Raises ModelError."""
        config = self._context.config
        return verified(
            found,
            self._looks,
            config.verifier.threshold,
            masks_of=lambda tile: DrawnMasks(
                image=views[tile.record.tile.tile_id],
                query=config.queries[tile.record.query_index],
                n_prompts=len(tile.record.prompts),
                masks=tile.masks or (),
            ),
            judged=judged_masks,
        )

    def _flatten(self, found: TileMasks) -> TileRecord:
        base = found.record
        if found.masks is None or base.status is not TileStatus.FOUND:
            return base
        try:
            labels, fragments = flatten_tile(
                base.tile, found.masks, base.prompts, self._context.lattice, self._context.config.stitch
            )
        except Exception as error:
            return failed_record(base, failure_text(error))
        if labels is None:
            return replace(
                base,
                status=TileStatus.EMPTY,
                reason=Reason.PROMPTER,
                error=NO_OBJECT if self._context.config.prompter.kind == "grid" else NO_PIXELS,
            )
        return replace(base, labels=labels, fragments=fragments)


def core_scenes(image: BlockImage, tile: TileSpec, key: BlockKey) -> ScenePixels:
    """Which scene gave each valid pixel of a tile's core, as the record of its block numbers them."""
    slices = tile.core.slices_in(image.block.read)
    scenes = image.scenes.cut(slices, image.valid[slices])
    return replace(scenes, numbers=key.own_numbers(scenes.numbers))
