"""Stand-ins for vLLM's engine and the checkpoint's processor, for tests of one-token decisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.prompt import vllm_prompter
from pipeline.prompt.looks import decision as decision_module
from pipeline.prompt.vllm_engine import VllmOptions
from pipeline.prompt.vllm_prompter import VllmPrompter

YES = 3
NO = 4
OTHER = 9


class EchoRenderer:
    """Gives requests back as they came."""

    async def render_cmpl_async(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return requests


@dataclass
class DecidingEngine:
    """Reads a request's text and decides.

    `odds(text)` gives the log-odds of yes, or raises; a request for a lead gets `subject(text)`.
    """

    odds: Callable[[str], float]
    subject: Callable[[str], str] = lambda _text: ""
    errored: bool = False
    texts: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    n_running: int = 0
    most_running: int = 0
    closed: int = 0

    @property
    def renderer(self) -> EchoRenderer:
        return EchoRenderer()

    async def generate(self, request: dict[str, Any], sampling: Any, _request_id: str) -> AsyncIterator[Any]:
        text = request["prompt"]
        self.texts.append(text)
        self.requests.append(request)
        self.n_running += 1
        self.most_running = max(self.most_running, self.n_running)
        await asyncio.sleep(0.01)
        self.n_running -= 1
        if sampling.kind == "lead":
            completion = SimpleNamespace(
                token_ids=[7, 8], text=self.subject(text), finish_reason="stop", logprobs=None
            )
        else:
            assert sampling.token_ids == [YES, NO]
            odds = self.odds(text)
            found = {YES: -1.0 + odds, NO: -1.0, OTHER: 0.0}  # something else is likelier than both
            completion = SimpleNamespace(
                token_ids=[7, 8],
                text="x",
                finish_reason="length",
                logprobs=[{token: SimpleNamespace(logprob=value) for token, value in found.items()}],
            )
        yield SimpleNamespace(outputs=[completion], num_cached_tokens=0, prompt_token_ids=[1, 2, 3])

    def shutdown(self) -> None:
        self.closed += 1


class DecidingProcessor:
    """Of the transformers processor what a decision needs; `yes` and `no` are one token each."""

    image_processor = SimpleNamespace(
        to_dict=lambda: {"patch_size": 14, "merge_size": 2, "min_pixels": 784, "max_pixels": 63504}
    )

    class tokenizer:  # noqa: N801
        @staticmethod
        def encode(text: str, *, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return {"yes": [YES], "no": [NO]}.get(text, [1, 2])

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert (tokenize, add_generation_prompt) == (False, True)
        return f"{messages[-1]['content'][1]['text']}|"


def deciding_prompter(monkeypatch: pytest.MonkeyPatch, engine: DecidingEngine) -> VllmPrompter:
    """A prompter of the embedded profile over `engine`."""
    monkeypatch.setattr(vllm_prompter, "bring_checkpoint", lambda path, _: path)
    monkeypatch.setattr(vllm_prompter, "load_processor", lambda *_: DecidingProcessor())
    monkeypatch.setattr(vllm_prompter, "start_engine", lambda *_: engine)
    monkeypatch.setattr(decision_module, "_one_token", lambda ids: SimpleNamespace(kind="one", token_ids=ids))
    monkeypatch.setattr(decision_module, "_up_to", lambda _: SimpleNamespace(kind="lead"))
    return VllmPrompter("owner/model", VllmOptions(profile="embedded"))
