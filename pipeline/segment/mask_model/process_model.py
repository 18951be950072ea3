"""A mask model in a process and an environment of its own.

1. `say_hello` starts the child, asks who it is, and ends it. Nothing is loaded. A run is planned with what it
   says.
2. `ProcessMaskModel` starts it again, loads the weights, and sends it tile after tile.
3. A child that does not answer in time is killed, and its tile is FAILED(timeout). A tile at which it dies is
   FAILED(crashed), and one whose answer is none FAILED(malformed). The next tile gets a fresh child.
4. After `MAX_ENDS` ends in a row without an answer between them no further one is started, and every tile
   fails at once, so that the run's own breaker stops it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason
from pipeline.segment.mask_model.child.mask_child import PROTOCOL
from pipeline.segment.mask_model.mask_model import MaskAnswer, masks_or_nothing, no_answer
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.mask_model.mask_pipe import EndedError, LateError, MaskPipe

CHILD = Path(__file__).parent / "child" / "mask_child.py"

MAX_ENDS = 3
"""Children that may end one after the other without an answer between them."""

MAX_MASKS = 10_000
"""Masks of one query about one tile."""

HELLO_S = 60.0
"""Seconds that a child has to say who it is: Python and numpy start, from a cold disk at worst."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What a child says of itself before it loads anything."""

    name: str
    version: str
    """Of the adapter."""
    repository: str
    """Commit of the model's repository; empty where it is unknown."""
    versions: Mapping[str, str]
    """Of Python and some libraries in its environment."""
    options: Mapping[str, Any]
    """The adapter's options, with defaults."""
    paths: tuple[str, ...]
    """Options that name files, folders or repositories of a hub."""
    one_mask: bool

    @property
    def model_id(self) -> str:
        """Name of what answers."""
        commit = f" at {self.repository[:7]}" if self.repository else ""
        return f"{self.name} (adapter {self.version}{commit})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return asdict(self)


def say_hello(options: MaskModelOptions) -> Hello:
    """Ask a child who it is; once in this process for the same options. Raises ModelError."""
    return _hello_once(json.dumps(asdict(options), sort_keys=True))


@lru_cache
def _hello_once(options_json: str) -> Hello:
    options = MaskModelOptions(**json.loads(options_json))
    pipe = _start(options, passes_on=False)
    try:
        return _greet(pipe, options)
    finally:
        pipe.close()


class ProcessMaskModel:
    """A `MaskModel` behind a pipe."""

    def __init__(self, options: MaskModelOptions) -> None:
        """Start the child and load its weights. Raises ModelError."""
        self._options = options
        self._pipe: MaskPipe | None = None
        self._ends = 0
        self._last_end = ""
        self._n_embeddings = 0
        self._hello = self._open()

    @property
    def model_id(self) -> str:
        return self._hello.model_id

    @property
    def n_embeddings(self) -> int:
        return self._n_embeddings

    @property
    def one_mask(self) -> bool:
        return self._hello.one_mask

    def answer(self, image: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        """Ask the child all queries at once. What goes wrong with it is a FAILED answer to all of them."""
        try:
            return self._ask(image, queries)
        except LateError:
            limit = f"{self._options.limit_s:g} s (limit_s under [mask_model])"
            return self._ended(Reason.TIMEOUT, f"it did not answer within {limit}", len(queries))
        except EndedError as error:
            return self._ended(Reason.CRASHED, str(error), len(queries))
        except WrongReplyError as error:
            return self._ended(Reason.MALFORMED, f"its reply is wrong: {error}", len(queries))
        except ModelError as error:
            return [no_answer(Reason.MODEL_ERROR, str(error)) for _ in queries]

    def close(self) -> None:
        """End the child."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _ask(self, image: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        if self._pipe is None:
            self._reopen()
        assert self._pipe is not None
        height, width = image.rgb.shape[:2]
        header, payload = self._pipe.ask(
            "answer",
            {"height": height, "width": width, "queries": list(queries)},
            np.ascontiguousarray(image.rgb).tobytes(),
            limit_s=self._options.limit_s,
        )
        if "error" in header:
            self._ends = 0
            return [no_answer(Reason.MODEL_ERROR, str(header["error"])) for _ in queries]
        answers = read_answers(header, payload, (height, width), len(queries))
        self._ends = 0
        self._n_embeddings += 1
        return answers

    def _open(self) -> Hello:
        """Start a child that has its weights. Raises ModelError."""
        pipe = _start(self._options)
        try:
            hello = _greet(pipe, self._options)
            header, _ = pipe.ask("load", {"options": self._options.options}, limit_s=self._options.load_s)
        except (EndedError, LateError, ModelError) as error:
            pipe.close()
            if isinstance(error, ModelError):
                raise
            late = f"its weights took longer than {self._options.load_s:g} s (load_s under [mask_model])"
            raise ModelError(f"the mask model does not load: {error if str(error) else late}") from error
        if "error" in header:
            pipe.close()
            raise ModelError(f"{hello.name} does not load: {header['error']}")
        self._pipe = pipe
        return hello

    def _reopen(self) -> None:
        """Start a fresh child, unless too many ended. Raises ModelError."""
        if self._ends >= MAX_ENDS:
            raise ModelError(
                f"the mask model's process ended {self._ends} times in a row without an answer, and is not "
                f"started again: {self._last_end}"
            )
        try:
            self._open()
        except ModelError as error:
            self._ends += 1
            self._last_end = str(error)
            raise

    def _ended(self, reason: Reason, why: str, n_queries: int) -> list[MaskAnswer]:
        self.close()
        self._ends += 1
        self._last_end = why
        return [no_answer(reason, f"the mask model's process: {why}") for _ in range(n_queries)]


class WrongReplyError(Exception):
    """A reply that does not say what a reply says."""


def read_answers(
    header: Mapping[str, Any], payload: bytes, shape_px: tuple[int, int], n_queries: int
) -> list[MaskAnswer]:
    """Read a reply to `answer` about a picture of `shape_px` (height, width). Raises WrongReplyError."""
    told = header.get("answers")
    if not isinstance(told, list) or len(told) != n_queries:
        raise WrongReplyError(f"{n_queries} queries need as many answers")
    each = -(-shape_px[0] * shape_px[1] // 8)
    counts = [_count(one) for one in told]
    if sum(counts) * each != len(payload):
        raise WrongReplyError(f"{sum(counts)} masks of {each} bytes are not {len(payload)} bytes")
    packed = np.frombuffer(payload, dtype=np.uint8).reshape(-1, each)
    answers = []
    start = 0
    for one, count in zip(told, counts, strict=True):
        if "error" in one:
            answers.append(no_answer(Reason.MODEL_ERROR, str(one["error"])))
            continue
        masks = _unpacked(packed[start : start + count], shape_px)
        start += count
        answers.append(masks_or_nothing(masks, one["scores"], str(one.get("text", ""))))
    return answers


def _count(one: object) -> int:
    """How many masks one answer has."""
    if not isinstance(one, dict):
        raise WrongReplyError("an answer is an object")
    if "error" in one:
        return 0
    n = one.get("n")
    scores = one.get("scores")
    if type(n) is not int or not 0 <= n <= MAX_MASKS:
        raise WrongReplyError(f"an answer has 0 to {MAX_MASKS} masks, not {n!r}")
    if not isinstance(scores, list) or len(scores) != n:
        raise WrongReplyError(f"{n} masks need as many scores")
    if not all(type(score) in (int, float) and 0 <= score <= 1 for score in scores):
        raise WrongReplyError("a score lies in 0..1")
    return n


def _unpacked(packed: NDArray[np.uint8], shape_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks (N, H, W) of N rows of bits."""
    height, width = shape_px
    bits = np.unpackbits(packed, axis=1, count=height * width)
    return bits.reshape(-1, height, width).astype(np.bool_)


def _start(options: MaskModelOptions, *, passes_on: bool = True) -> MaskPipe:
    """Start a child. `passes_on`: see `MaskPipe`. Raises ModelError."""
    command = [options.python, "-I", str(CHILD), "--adapter", str(options.adapter_file)]
    repo = str(Path(options.repo).absolute()) if options.repo else ""
    try:
        return MaskPipe([*command, "--repo", repo], cwd=repo or "/", passes_on=passes_on)
    except OSError as error:
        raise ModelError(f"the mask model's Python does not start: {options.python}: {error}") from error


def _greet(pipe: MaskPipe, options: MaskModelOptions) -> Hello:
    """Ask a child who it is. Raises ModelError."""
    who = f"the mask model's process ({options.python}, adapter {options.adapter})"
    try:
        header, _ = pipe.ask("hello", {"options": options.options}, limit_s=HELLO_S)
    except LateError as error:
        raise ModelError(f"{who} does not say hello within {HELLO_S:g} s") from error
    except EndedError as error:
        raise ModelError(f"{who} does not say hello: {error}") from error
    if "error" in header:
        raise ModelError(f"{who} refuses: {header['error']}")
    if header.get("protocol") != PROTOCOL:
        raise ModelError(f"{who} speaks protocol {header.get('protocol')!r}, and {PROTOCOL} is needed")
    try:
        return Hello(
            name=str(header["name"]),
            version=str(header["version"]),
            repository=str(header["repository"]),
            versions=dict(header["versions"]),
            options=dict(header["options"]),
            paths=tuple(header["paths"]),
            one_mask=bool(header["one_mask"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{who} does not say who it is: {error!r}") from error
