"""Phase one without Ray: the steps in one process, one block at a time.

1. `Steps` holds the models. The prompter's requests of a block still run concurrently, in an event loop of
   their own.
2. `run_local` works in this process, until a model can go on only in a fresh one (an engine that died, a
   segmenter that does not come back). Then `apart` does the rest in a child process.
3. A block at which an earlier start of the run ended without a word may end this one too. It is done in a
   child process, after the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import replace

from pipeline.errors import TerraqueryError
from pipeline.prompt.looks.verifier import LooksAt
from pipeline.run.events.stage_times import Stopwatch
from pipeline.run.infer.apart import Job, Worker, run_apart
from pipeline.run.infer.deadlines import Hand, LoopThread, OverdueError
from pipeline.run.infer.intake import ALWAYS, Intake
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.read_step import ReadStep
from pipeline.run.infer.shared_models import SharedModels
from pipeline.run.infer.steps import PromptStep, RunContext, SegmentStep
from pipeline.run.screen import Screen
from pipeline.run.stop_signals import unbroken_each
from pipeline.schema.tiling import BlockSpec

Work = tuple[RunContext, Sequence[BlockSpec]]
"""A run, and the blocks of it that are to be done."""

CLOSING_S = 30.0
"""Seconds that an engine has for its end."""


class Steps:
    """The three steps of one run after the other, with models that they share."""

    def __init__(self, contexts: Sequence[RunContext], screen: Screen | None = None) -> None:
        """Load nothing yet. `screen` says what is loaded, once it is needed."""
        self._contexts = tuple(contexts)
        self._screen = screen
        self._models = SharedModels()
        self._loop = LoopThread("prompter", contexts[0].config.limits.tile_s)
        self._run: int | None = None
        self._watch = Stopwatch("all")

    def do(self, job: Job) -> BlockSummary:
        """Read, ask, segment and commit a block. Raises a retryable TerraqueryError when only a fresh process
        can go on, and ModelError when a model does not load.
        """
        if job.run != self._run:
            self._begin(self._contexts[job.run])
            self._run = job.run
        watch = self._watch
        with watch.at("read"):
            image = self._reader.read(job.block)
        try:
            with watch.at("prompt") as counts:
                answers = self._loop.run(self._prompter.prompt(image))
                counts.update(self._prompter.used())
        except OverdueError as late:
            raise self._prompter.held_up(late) from late
        with watch.at("segment") as counts:
            summary = self._segmenter.commit(image, answers)
            counts.update(self._segmenter.used())
        watch.loaded("prompter", self._prompter.loading())
        watch.loaded("segmenter", self._segmenter.loading())
        return replace(summary, times=watch.take())

    def close(self) -> None:
        """End the prompter's engine, unless it does not come back; before that its loop, in which the engine
        would complain of its end.
        """
        self._loop.close()
        hand = Hand("closing")
        with suppress(OverdueError):
            hand.call(self._models.close, CLOSING_S)
        hand.close()

    def _begin(self, context: RunContext) -> None:
        """Make the steps of a run."""
        self._reader = ReadStep(context)
        with self._loading(context, "prompter"), self._watch.at("load", "prompter"):
            self._prompter = PromptStep(context, models=self._models)
        with self._loading(context, "segmenter"), self._watch.at("load", "segmenter"):
            verifier = self._prompter.verifier()
            looks = None if verifier is None else LooksAt(verifier=verifier, run=self._loop.run)
            self._segmenter = SegmentStep(context, looks=looks, models=self._models)

    def _loading(self, context: RunContext, role: str) -> AbstractContextManager[object]:
        if self._screen is None:
            return nullcontext()
        return self._screen.loading(f"{role} {context.model_ids[role].partition('@')[0]}")


def run_local(
    work: Sequence[Work],
    screen: Screen,
    *,
    intake: Intake = ALWAYS,
    build: Callable[[Sequence[RunContext], Screen], Worker] = Steps,
    build_apart: Callable[[Sequence[RunContext]], Worker] = Steps,
) -> Iterator[BlockSummary]:
    """Do the blocks of all runs; yields what came of each as it is committed. `intake`: once it is closed no
    block is begun. `build` and `build_apart` make the steps of this process and of a child, which must be
    able to import the latter. Raises ModelError.
    """
    contexts = [context for context, _ in work]
    suspects = [context.journal.in_progress() for context in contexts]
    for context in contexts:
        context.journal.reset()
    left: list[Job] = []
    others: list[Job] = []
    for run, (_, blocks) in enumerate(work):
        for block in blocks:
            (others if block.block_id in suspects[run] else left).append(Job(run=run, block=block))
    if left:
        try:
            with closing(build(contexts, screen)) as steps:
                for job in unbroken_each(tuple(left)):
                    if not intake.is_open:
                        return
                    yield steps.do(job)
                    left.remove(job)
        except BaseException as error:
            if not (isinstance(error, TerraqueryError) and error.retryable):
                for context in contexts:
                    context.journal.reset()  # this end is no riddle for the next start
                raise
            screen.say(f"note: {error}; the rest is done in a fresh process")
    if others and intake.is_open:
        names = ", ".join(job.block.block_id for job in others)
        screen.say(f"note: an earlier start ended without a word at {names}; that is done in a fresh process")
    if left or others:
        yield from run_apart(contexts, [*left, *others], build=build_apart, intake=intake)
