"""The real prompter: a vision-language model, asked through vLLM (vllm_engine.py).

1. `VllmPrompter` checks the checkpoint and the image size, then loads the engine.
2. `prompt` squashes the tile once. The first query is sent alone, until its first token is there. The others
   then find image and prefix in the caches.
3. After a malformed reply the query is asked again. If every attempt fails, the tile is FAILED(malformed).
4. An error of one request is recorded. A dead engine is a ModelError.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.prompt.box_margins import BoxMargins, moved_boxes
from pipeline.prompt.engine_times import engine_times
from pipeline.prompt.image_rules import ImageRule, image_rule, local_image_rule
from pipeline.prompt.profile import Decision, Profile, load_profile
from pipeline.prompt.prompter_checkpoint import (
    bring_checkpoint,
    check_checkpoint,
    check_image_size,
    checkpoint_folder,
    checkpoint_id,
    load_processor,
    resolve_model,
)
from pipeline.prompt.reply.frames import to_window
from pipeline.prompt.reply.parse import ParsedReply
from pipeline.prompt.reply.released_parser import PARSERS, ParserName
from pipeline.prompt.template import chat_messages, squash
from pipeline.prompt.vllm_engine import (
    Completion,
    EngineOutput,
    VllmOptions,
    answer_sampling,
    error_chain,
    start_engine,
)
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TilePrompts, TileStatus

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedTokenizerBase, ProcessorMixin
    from vllm import SamplingParams


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A tile, or a part of one, in the size that the model sees."""

    image: Image
    uuid: str
    """Key in the engine's caches; equal keys mean equal images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """Result of asking one query."""

    n_calls: int = 0
    reply: str = ""
    """Text of the last attempt that ended."""
    parsed: ParsedReply | None = None
    """What that text says; None: no attempt ended."""
    failure: Reason = Reason.NONE
    """Why the last attempt did not end; NONE when it did."""
    error: str = ""
    """The failure in words."""


def check_model(model: str, options: VllmOptions, look: Decision | None = None) -> None:
    """Check checkpoint, options and image size before anything is loaded.

    `look`: a one-token look whose image is checked too. Hub ids that are not in the cache pass. Raises
    InputError.
    """
    profile = load_profile(options.profile)
    path = resolve_model(model)
    check_checkpoint(path, options.revision)
    folder = checkpoint_folder(path, options.revision)
    rule = None if folder is None else local_image_rule(folder)
    if rule is not None:
        _check_size(profile, rule, options)
        if look is not None and look.image_px is not None:
            _check_size(replace(profile, image_px=look.image_px), rule, options)


def _check_size(profile: Profile, rule: ImageRule, options: VllmOptions) -> None:
    check_image_size(
        profile,
        rule,
        max_model_len=options.max_model_len,
        max_tokens=options.max_tokens or profile.max_tokens,
    )


def _image_settings(processor: ProcessorMixin) -> dict[str, Any]:
    """Settings of a loaded image processor, with those that LLaVA's whole processor has."""
    whole = {name: getattr(processor, name, None) for name in ("patch_size", "image_seq_length")}
    return {
        **{name: value for name, value in whole.items() if isinstance(value, int)},
        **processor.image_processor.to_dict(),
    }


class VllmPrompter:
    """A `Prompter` over one checkpoint.

    It counts model calls, prompt tokens, and how many of these came from the cache. An engine belongs to the
    event loop of its first call; a call from another loop raises ModelError.
    """

    def __init__(
        self,
        model: str,
        options: VllmOptions,
        *,
        parser: ParserName = "robust",
        margins: BoxMargins | None = None,
    ) -> None:
        """Load the engine (seconds to minutes).

        Args:
            model: directory of a checkpoint, `models/<name>` for one that ships with the package, or hub id.
            options: how to serve it.
            parser: how replies are read. All but `robust` may give prompts outside the image, and are for
                evaluations only.
            margins: how the sides of boxes are moved; None: not at all.

        Raises:
            InputError: the checkpoint or the profile's image size does not fit, see `check_checkpoint` and
                `check_image_size`.
            ModelError: the processor or the engine does not start.
        """
        check_model(model, options)
        path = resolve_model(model)
        self._options = options
        self._profile = load_profile(options.profile)
        self._parse = PARSERS[parser]
        self._margins = margins or BoxMargins()
        self._max_tokens = options.max_tokens or self._profile.max_tokens
        self._model_id = checkpoint_id(path, options.revision)
        path = bring_checkpoint(path, options.revision)
        self._processor = load_processor(path, options.revision)
        rule = image_rule(_image_settings(self._processor))
        if rule is not None:
            _check_size(self._profile, rule, options)
        with engine_times() as self._load_times:
            self._engine = start_engine(path, options, self._profile.largest_image_px)
        self._slots = asyncio.Semaphore(options.max_num_seqs)
        self._request_numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.n_calls = 0
        self.n_cached_tokens = 0
        self.n_prompt_tokens = 0
        self.n_reply_tokens = 0

    @property
    def profile(self) -> Profile:
        """What the checkpoint is asked, and how it answers."""
        return self._profile

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer, from transformers."""
        return self._processor.tokenizer

    @property
    def model_id(self) -> str:
        """Checkpoint, and the profile it is read with."""
        return f"{self._model_id}+{self._profile.name}"

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Answer every query, in order. Raises ModelError only when the engine cannot answer any more.

        The image comes first in every prompt, so all queries of a tile share it as a prefix.
        """
        self._stay_in_loop()
        picture = await asyncio.to_thread(picture_of, image.tile.tile_id, image.rgb, self._profile)
        warm = asyncio.Event()
        jobs = (self._answer(image, picture, index, query, warm) for index, query in enumerate(queries))
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        done = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            done.append(answer)
        return done

    def load_times(self) -> dict[str, float]:
        """Seconds that parts of loading took, as far as the engine tells (`engine_times`)."""
        return dict(self._load_times)

    def usage(self) -> dict[str, int]:
        """Count calls and tokens since it was loaded. Cached tokens are some of those of prompts."""
        return {
            "calls": self.n_calls,
            "prompt_tokens": self.n_prompt_tokens,
            "cached_tokens": self.n_cached_tokens,
            "reply_tokens": self.n_reply_tokens,
        }

    def close(self) -> None:
        """End the engine's processes and close its sockets.

        The engine closes its sockets in the event loop in which it worked. If that loop is not running, it is
        run once more: the garbage collection of a context with open sockets would wait for ever.
        """
        self._engine.shutdown()
        loop = self._loop
        if loop is not None and not loop.is_running() and not loop.is_closed():
            loop.run_until_complete(asyncio.sleep(0))

    async def _answer(
        self, image: TileImage, picture: Picture, index: int, query: str, warm: asyncio.Event
    ) -> TilePrompts:
        """Ask one query of one tile. The first query sets `warm`, and the others wait for it.

        If all were sent at once, each would miss the cache.
        """
        try:
            if index > 0:
                await warm.wait()
            outcome = await self._ask(picture, query, warm)
        finally:
            warm.set()
        return self._record(image, index, outcome)

    async def _ask(self, picture: Picture, query: str, warm: asyncio.Event) -> _Outcome:
        """Ask until a reply can be read or the attempts are used up. Raises ModelError for a dead engine.

        The last reply is kept; if it hit the token limit, its complete items are used.
        """
        outcome = _Outcome()
        for attempt in range(1 + self._options.retry):
            outcome = replace(outcome, n_calls=attempt + 1)
            try:
                sampling = answer_sampling(
                    attempt=attempt, max_tokens=self._max_tokens, stream=not warm.is_set()
                )
                reply = await self.run(self.chat_text(query), picture, sampling, warm)
                parsed = self._parse(reply.text, self._profile, finish_reason=reply.finish_reason)
            except TimeoutError:
                late = f"no reply within {self._options.timeout_s:g} s"
                return replace(outcome, failure=Reason.TIMEOUT, error=late)
            except Exception as error:
                self.require_alive(error)
                return replace(outcome, failure=Reason.MODEL_ERROR, error=error_chain(error))
            outcome = replace(outcome, reply=reply.text, parsed=parsed)
            if not parsed.malformed:
                break
        return outcome

    async def run(
        self, text: str, picture: Picture, sampling: SamplingParams, warm: asyncio.Event
    ) -> Completion:
        """Send one request, a whole prompt and its picture, and wait for its end.

        `warm` is set on the first token. Raises TimeoutError, or what the engine raises.
        """
        self._stay_in_loop()
        request: dict[str, object] = {
            "prompt": text,
            "multi_modal_data": {"image": picture.image},
            "multi_modal_uuids": {"image": [picture.uuid]},
        }
        output: EngineOutput | None = None
        async with self._slots, asyncio.timeout(self._options.timeout_s):
            self.n_calls += 1
            (rendered,) = await self._engine.renderer.render_cmpl_async([request])
            async for partial in self._engine.generate(
                rendered, sampling, f"tile-{next(self._request_numbers)}"
            ):
                output = partial
                warm.set()
        if output is None:
            raise RuntimeError("the engine ended the request without a word")
        self.n_cached_tokens += output.num_cached_tokens or 0
        self.n_prompt_tokens += len(output.prompt_token_ids or ())
        completion = output.outputs[0]
        self.n_reply_tokens += len(completion.token_ids)
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"the engine ended the request with {completion.finish_reason!r}")
        return completion

    def _record(self, image: TileImage, index: int, outcome: _Outcome) -> TilePrompts:
        parsed = outcome.parsed or ParsedReply(malformed=True)
        status = TileStatus.FOUND
        reason = Reason.NONE
        error = ""
        if outcome.failure is not Reason.NONE:
            status = TileStatus.FAILED
            reason = outcome.failure
            error = outcome.error
        elif parsed.malformed:
            status = TileStatus.FAILED
            reason = Reason.MALFORMED
            error = "; ".join(parsed.notes)
        elif parsed.absent:
            status = TileStatus.EMPTY
            reason = Reason.PROMPTER
        items = () if outcome.failure is not Reason.NONE else parsed.items
        window_hw = image.tile.read.shape
        prompts = to_window(items, self._profile.frame_wh, window_hw)
        return TilePrompts(
            tile_id=image.tile.tile_id,
            query_index=index,
            status=status,
            reason=reason,
            prompts=moved_boxes(prompts, self._margins, window_hw),
            reply=outcome.reply,
            rationale=parsed.rationale,
            error=error,
            n_dropped=parsed.n_dropped,
            truncated_reply=parsed.truncated,
            n_calls=outcome.n_calls,
        )

    def require_alive(self, error: BaseException) -> None:
        """Raise ModelError, retryable in a fresh process, when `error` came from an engine that died."""
        if self._engine.errored:
            raise ModelError(
                f"the engine of {self._model_id} died: {error_chain(error)}", retryable=True
            ) from error

    def chat_text(self, query: str, decision: Decision | None = None) -> str:
        """Write the whole prompt with the checkpoint's own chat template: image first, query last.

        `decision`: a one-token look, whose text replaces the profile's.
        """
        messages = chat_messages(self._profile, query, decision)
        return str(self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _stay_in_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ModelError(
                "a vLLM prompter must be used from one event loop only; keep the loop of its first call open"
            )


def picture_of(
    key: str, rgb: NDArray[np.uint8], profile: Profile, image_px: tuple[int, int] | None = None
) -> Picture:
    """Squash (H, W, 3) pixels to `image_px` (width, height); None: the profile's size. `key` names them."""
    small = squash(rgb, profile, image_px)
    digest = hashlib.blake2b(small.tobytes(), digest_size=16).hexdigest()
    return Picture(image=small, uuid=f"{key}-{digest}")
