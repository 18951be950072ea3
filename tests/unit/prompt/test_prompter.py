"""The contract: the fake and all real prompters conform; a prompter that reads no query answers alike."""

from __future__ import annotations

import inspect

import pytest
from fakes_prompt import FakePrompter

from pipeline.prompt.oracle_prompter import OraclePrompter
from pipeline.prompt.prompter import Prompter, same_for_all
from pipeline.prompt.vector_prompter import VectorPrompter
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus

PROMPTERS: tuple[type[Prompter], ...] = (FakePrompter, OraclePrompter, VectorPrompter, VllmPrompter)


@pytest.mark.parametrize("prompter", PROMPTERS)
def test_every_prompter_has_the_methods_of_the_protocol(prompter: type[Prompter]) -> None:
    assert inspect.iscoroutinefunction(prompter.prompt)
    assert list(inspect.signature(prompter.prompt).parameters) == ["self", "image", "queries"]
    assert list(inspect.signature(prompter.close).parameters) == ["self"]
    assert isinstance(prompter.model_id, property)


def test_the_same_answer_for_every_query_but_its_index() -> None:
    answer = TilePrompts(
        tile_id="r00000c00000",
        query_index=0,
        status=TileStatus.FOUND,
        reason=Reason.NONE,
        prompts=(Prompt(box_xyxy=(0, 0, 2, 2)),),
        n_dropped=3,
    )
    first, second, third = same_for_all(answer, 3)
    assert first == answer
    assert (second.query_index, third.query_index) == (1, 2)
    for other in (second, third):
        assert (other.prompts, other.n_dropped, other.status) == (answer.prompts, 3, TileStatus.FOUND)
    assert same_for_all(answer, 0) == []
