"""Replies of a judge, written by hand: what is read, and what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.judge.verdict import CRITERIA, JudgeMarks, read_verdict

GOOD = '{"faithfulness": 4, "localization": 2, "robustness": 5}'
READ = JudgeMarks(faithfulness=4, localization=2, robustness=5)


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here is my verdict: {GOOD} I hope it helps.",
        '{"Faithfulness": "4", "LOCALIZATION": 2.0, "robustness": " 5 ", "overlap": 3}',
        "{'faithfulness': 4, 'localization': 2, 'robustness': 5,}",
        f'<think>Perhaps {{"faithfulness": 1, "localization": 1, "robustness": 1}}?</think>{GOOD}',
        f'{{"faithfulness": 1, "localization": 1, "robustness": 1}} no, rather {GOOD}',
        f'{GOOD} with {{"overlap": 3}}',
    ],
)
def test_marks_that_are_read(reply: str) -> None:
    assert read_verdict(reply) == READ


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "4, 2, 5",
        "The mask is good.",
        '{"faithfulness": 4, "localization": 2}',
        '{"faithfulness": 4, "localization": 2, "robustness": null}',
        '{"faithfulness": 4, "localization": 2, "robustness": 0}',
        '{"faithfulness": 4, "localization": 2, "robustness": 6}',
        '{"faithfulness": 4.5, "localization": 2, "robustness": 5}',
        '{"faithfulness": true, "localization": 2, "robustness": 5}',
        '{"faithfulness": "1-5", "localization": "1-5", "robustness": "1-5"}',
        '{"faithfulness": NaN, "localization": 2, "robustness": 5}',
        '{"faithfulness": 4, "localization": 2, "robust',
        f"<think>{GOOD}</think>",
        "[4, 2, 5]",
    ],
)
def test_verdicts_that_are_missing_and_not_3(reply: str) -> None:
    assert read_verdict(reply) is None


words = st.lists(
    st.sampled_from(["{", "}", '"', ":", ",", "1", "5", "-3", "</think>", *CRITERIA, "]"])
    | st.text(max_size=4),
    max_size=30,
)


@settings(deadline=None)
@given(words)
def test_any_text_gives_whole_marks_or_none(parts: list[str]) -> None:
    verdict = read_verdict("".join(parts))
    assert verdict is None or all(getattr(verdict, name) in range(1, 6) for name in CRITERIA)
