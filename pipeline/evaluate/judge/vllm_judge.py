"""The judge: any vision-language checkpoint, asked through the same vLLM engine as prompters are.

It is asked once, greedily. A reply that cannot be read is not asked for again: another draw until a mark
comes out would be a choice of marks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.options import parse_table, read_toml
from pipeline.prompt.profile import load_profile
from pipeline.prompt.vllm_engine import VllmOptions, answer_sampling, error_chain
from pipeline.prompt.vllm_prompter import VllmPrompter, check_model, picture_of

JUDGE_PROFILE = str(Path(__file__).with_name("judge.toml"))


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Which checkpoint judges, and how it is served."""

    model: str
    """A checkpoint directory or a hub id."""
    vllm: VllmOptions

    def result_parameters(self) -> dict[str, object]:
        """What can change a verdict, for a fingerprint. The model's content is added by who knows it."""
        served = {key: value for key, value in self.vllm.result_parameters().items() if key != "profile"}
        return {"vllm": served, "profile": load_profile(JUDGE_PROFILE).result_parameters()}


def judge_options(model: str, config_file: str | None) -> JudgeOptions:
    """Build the options of a judge. `config_file`: TOML with keys of [prompter.vllm]. Raises InputError."""
    table = {} if config_file is None else read_toml(Path(config_file), "--judge-config")
    return JudgeOptions(
        model=model,
        vllm=parse_table(VllmOptions, {"retry": 0, **table, "profile": JUDGE_PROFILE}, "--judge-config"),
    )


def check_judge(options: JudgeOptions) -> None:
    """Check the judge's checkpoint without loading it. Raises InputError."""
    check_model(options.model, options.vllm)


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a judge said about one picture."""

    reply: str = ""
    error: str = ""
    """Why there is no reply; empty: there is one."""


class Judge(Protocol):
    """Rates pictures of answers."""

    async def rate(self, key: str, picture: NDArray[np.uint8], query: str) -> Said:
        """Ask about a picture (H, W, 3). `key` names it. Raises ModelError when the engine died."""
        ...

    def close(self) -> None:
        """Release the engine."""
        ...


class VllmJudge:
    """A `Judge` with an engine of its own."""

    def __init__(self, options: JudgeOptions) -> None:
        """Load the engine. Raises InputError, ModelError."""
        self._prompter = VllmPrompter(options.model, options.vllm)
        self._max_tokens = options.vllm.max_tokens or self._prompter.profile.max_tokens

    async def rate(self, key: str, picture: NDArray[np.uint8], query: str) -> Said:
        """Ask once, greedily. Raises ModelError when the engine died."""
        profile = self._prompter.profile
        shown = await asyncio.to_thread(picture_of, key, picture, profile)
        sampling = answer_sampling(attempt=0, max_tokens=self._max_tokens, stream=False)
        try:
            text = self._prompter.chat_text(query)
            completion = await self._prompter.run(text, shown, sampling, asyncio.Event())
        except TimeoutError:
            return Said(error="no reply in time")
        except ModelError:
            raise
        except Exception as error:
            self._prompter.require_alive(error)
            return Said(error=error_chain(error))
        return Said(reply=completion.text)

    def close(self) -> None:
        """End the engine."""
        self._prompter.close()
