from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.errors import InputError
from pipeline.files.run_times import EPOCH, durations, moment


def test_a_moment_is_now_in_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EPOCH, raising=False)
    before = datetime.now(UTC).replace(microsecond=0)
    told = datetime.fromisoformat(moment())
    assert before <= told <= datetime.now(UTC)
    assert moment().endswith("+00:00")
    assert durations({"publish": 1.23456}) == {"publish": 1.235}


def test_a_fixed_time_is_told_and_durations_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPOCH, "86400")
    assert moment() == "1970-01-02T00:00:00+00:00"
    assert durations({"publish": 1.0}) == {}


def test_anything_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPOCH, "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        moment()
