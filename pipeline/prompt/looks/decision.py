"""Ask the prompter's engine for yes or no, in one token. Gate and verifier share this.

1. `Decider` looks up the decision's texts in the checkpoint's tokenizer. Each must be one token.
2. `ask` shows a picture with every query and decodes ONE token. The answer is P(yes) / (P(yes) + P(no))
   (`share_of_yes`).
3. Some checkpoints name their subject before they decide. This lead is decoded once per query, on a grey
   picture (`_lead`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.prompt.profile import Decision
from pipeline.prompt.vllm_prompter import Picture, VllmPrompter, picture_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import SamplingParams

GREY = 128
"""Value of every pixel of the picture on which leads are decoded."""


class Decider:
    """Asks a prompter's engine for a `Decision`."""

    def __init__(self, prompter: VllmPrompter, decision: Decision) -> None:
        """Look the decision's texts up. Raises ModelError when one is not a token of the checkpoint."""
        self._prompter = prompter
        self._decision = decision
        self._yes, self._no = (_token_ids(prompter.tokenizer, texts) for texts in (decision.yes, decision.no))
        self._leads: dict[str, asyncio.Task[str | None]] = {}

    async def ask(self, key: str, rgb: NDArray[np.uint8], queries: Sequence[str]) -> list[float | None]:
        """Ask every query about one picture (H, W, 3), which `key` names.

        The other queries wait for the first one's token, as in the prompter: then the picture is in the
        cache. Returns P(yes) per query; None: not decided. Raises ModelError for a dead engine.
        """
        picture = await asyncio.to_thread(
            picture_of, key, rgb, self._prompter.profile, self._decision.image_px
        )
        warm = asyncio.Event()
        jobs = (self._decide(picture, query, warm, first=index == 0) for index, query in enumerate(queries))
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _decide(
        self, picture: Picture, query: str, warm: asyncio.Event, *, first: bool
    ) -> float | None:
        try:
            lead = await self._lead(query)
            if not first:
                await warm.wait()
            if lead is None:
                return None
            text = self._prompter.chat_text(query, self._decision) + lead
            completion = await self._prompter.run(text, picture, _one_token([*self._yes, *self._no]), warm)
            first_token = completion.logprobs[0] if completion.logprobs else {}
            found = {token: candidate.logprob for token, candidate in first_token.items()}
            return share_of_yes(found, yes=self._yes, no=self._no)
        except ModelError:
            raise
        except Exception as error:
            self._prompter.require_alive(error)
            return None
        finally:
            warm.set()

    async def _lead(self, query: str) -> str | None:
        """Decode how the reply to this query begins, up to the decision. None: it never gets there.

        For example "The question is about lakes. I see some.". The picture is grey, so the lead does not
        depend on the tile that comes first.
        """
        if not self._decision.lead_until:
            return self._decision.lead
        if query not in self._leads:
            self._leads[query] = asyncio.ensure_future(self._decoded_lead(query))
        try:
            return await asyncio.shield(self._leads[query])
        except Exception:
            self._leads.pop(query, None)  # the next picture tries again
            raise

    async def _decoded_lead(self, query: str) -> str | None:
        width, height = self._decision.image_px or self._prompter.profile.image_px
        grey = np.full((height, width, 3), GREY, dtype=np.uint8)
        picture = picture_of("grey", grey, self._prompter.profile, self._decision.image_px)
        text = self._prompter.chat_text(query, self._decision) + self._decision.lead
        completion = await self._prompter.run(text, picture, _up_to(self._decision), asyncio.Event())
        before, mark, _ = completion.text.partition(self._decision.lead_until)
        return f"{self._decision.lead}{before}{mark}" if mark else None


def share_of_yes(logprobs: Mapping[int, float], *, yes: Sequence[int], no: Sequence[int]) -> float | None:
    """Compute the share of the yes tokens in the probability of all decision tokens.

    `logprobs`: token id -> natural logarithm of its probability. None: no decision token has a probability.
    """
    given = {token: logprobs[token] for token in (*yes, *no) if token in logprobs}
    top = max(given.values(), default=-math.inf)
    if top == -math.inf:
        return None
    weight = {token: math.exp(value - top) for token, value in given.items()}
    return sum(weight.get(token, 0.0) for token in yes) / sum(weight.values())


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    for text, tokens in zip(texts, ids, strict=True):
        if len(tokens) != 1:
            raise ModelError(
                f"a decision text must be one token of the checkpoint: {text!r} is {len(tokens)}; "
                "correct the profile"
            )
    return [tokens[0] for tokens in ids]


def _one_token(token_ids: list[int]) -> SamplingParams:
    from vllm import SamplingParams

    return SamplingParams(temperature=0.0, repetition_penalty=1.0, max_tokens=1, logprob_token_ids=token_ids)


def _up_to(decision: Decision) -> SamplingParams:
    from vllm import SamplingParams

    return SamplingParams(
        temperature=0.0,
        repetition_penalty=1.0,
        max_tokens=decision.lead_tokens,
        stop=[decision.lead_until],
        include_stop_str_in_output=True,
    )
