"""The gate of a vision-language model: one token per look, from the prompter's own engine."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.prompt.looks.decision import Decider
from pipeline.prompt.looks.gate import Look
from pipeline.prompt.profile import Decision
from pipeline.prompt.vllm_prompter import VllmPrompter


class VllmGate:
    """A `Gate` that shares the prompter's engine, which ends with the prompter."""

    def __init__(self, prompter: VllmPrompter, decision: Decision) -> None:
        """Look the decision's texts up. Raises ModelError when one is not a token of the checkpoint."""
        self._decider = Decider(prompter, decision)

    async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
        """Give P(yes) for each query, in order; None: not decided. Raises ModelError for a dead engine."""
        return await self._decider.ask(look.key, look.rgb, queries)
