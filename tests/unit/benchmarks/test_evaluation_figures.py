"""Seconds are not those of a traced call."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from benchmarks import evaluation_figures


def test_time_is_taken_untraced_and_the_peak_in_a_second_call() -> None:
    traced: list[bool] = []

    def call() -> None:
        traced.append(tracemalloc.is_tracing())
        np.ones(1_000_000)

    seconds, peak = evaluation_figures.seconds_and_peak(call)
    assert traced == [False, True]
    assert seconds >= 0
    assert 8_000_000 <= peak < 9_000_000
    assert not tracemalloc.is_tracing()


def test_a_call_that_fails_leaves_no_tracing_on() -> None:
    calls = iter([False, True])

    def call() -> None:
        if next(calls):
            raise MemoryError

    with pytest.raises(MemoryError):
        evaluation_figures.seconds_and_peak(call)
    assert not tracemalloc.is_tracing()


def test_the_line_of_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation_figures.main([3])
    assert capsys.readouterr().out.split()[:2] == ["3", "samples"]
