"""Names, ends and logs of remote jobs, without Airflow."""

from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_jobs.job_end import (
    BUSY,
    LONGEST_NAME,
    SEGMENT_ENDS,
    VERIFY_ENDS,
    JobState,
    job_name,
    judge,
    last_line,
    unread,
)

from jobs import segment_region, verify_run
from pipeline.errors import BudgetSpentError, RunBusyError

pytestmark = pytest.mark.ops


def test_a_name_is_the_same_for_the_same_try_and_no_other() -> None:
    parts = ("nightly_region", "segment", "scheduled__2026-11-30", "-1")
    name = job_name(parts, ["python", "a.py"], 1)
    assert name == job_name(parts, ["python", "a.py"], 1)
    others = [job_name(parts, ["python", "a.py"], 2), job_name(parts, ["python a.py"], 1)]
    others += [job_name((*parts[:2], "manual", "-1"), ["python", "a.py"], 1)]
    assert len({name, *others}) == 4
    assert name.startswith("job-nightly-region-segment-")
    assert name.endswith("-1")


@given(st.text(), st.text(), st.integers(1, 999))
def test_a_name_is_one_that_kubernetes_takes(dag: str, task: str, number: int) -> None:
    name = job_name((dag, task, "run", "-1"), {}, number)
    assert len(name) <= LONGEST_NAME
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name[0].isalpha()
    assert name[-1].isdigit()


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        ("SUCCEEDED", 0, "done"),
        ("FAILED", 1, "again"),
        ("FAILED", 2, "fail"),
        ("FAILED", 3, "fail"),
        ("FAILED", 4, "again"),
        ("FAILED", 5, "again"),
        ("FAILED", 6, "fail"),
        ("FAILED", 130, "again"),
        ("FAILED", 143, "again"),
        ("FAILED", -9, "again"),
        ("FAILED", None, "again"),
        ("STOPPED", 143, "again"),
        ("STOPPED", None, "again"),
        ("UNKNOWN", None, "again"),
        ("UNREACHABLE", None, "again"),
        ("REFUSED", None, "fail"),
        ("LATE", None, "again"),
    ],
)
def test_what_an_end_means(status: str, code: int | None, outcome: str) -> None:
    verdict = judge(
        "job-x", JobState(status=status, exit_code=code), ends=SEGMENT_ENDS, log="the last line\n"
    )
    assert verdict.outcome == outcome
    assert "job-x" in verdict.text


def test_an_end_that_no_try_mends_says_why() -> None:
    three = judge(
        "job-x", JobState(status="FAILED", exit_code=3), ends=SEGMENT_ENDS, log="a\n7 of 9 tiles failed\n"
    )
    assert "more tiles failed" in three.text
    assert "--retry-failed" in three.text
    assert "7 of 9 tiles failed" in three.text


def test_a_run_that_another_driver_holds_is_named() -> None:
    busy = judge(
        "j", JobState(status="FAILED", exit_code=5), ends=SEGMENT_ENDS, log="error: process 7 on h\n"
    )
    assert "another driver is at work in its run. error: process 7 on h" in busy.text


def test_nothing_to_do_is_a_skip_only_where_the_job_says_so() -> None:
    ended = JobState(status="FAILED", exit_code=2)
    for log, outcome in (("error: none found here\n", "skip"), ("error: no such file\n", "fail")):
        assert judge("j", ended, ends=SEGMENT_ENDS, log=log, nothing_to_do="none found").outcome == outcome
    assert judge("j", ended, ends=SEGMENT_ENDS, log="").outcome == "fail"


def test_the_exit_codes_are_those_that_the_jobs_teach() -> None:
    assert "2 bad input" in segment_region.EXAMPLES
    assert "3 more tiles failed than --max-failed-share" in segment_region.EXAMPLES
    assert "2 no run directory, 4 something is wrong" in verify_run.EXAMPLES
    assert f"{BUSY} another driver is at work" in segment_region.EXAMPLES
    assert RunBusyError.exit_code == BUSY
    assert "6 stopped at --max-cost" in segment_region.EXAMPLES
    assert set(SEGMENT_ENDS) == {2, 3, BudgetSpentError.exit_code}
    assert set(VERIFY_ENDS) == {2, verify_run.DAMAGED}


@given(st.lists(st.text(st.characters(exclude_characters="\r")), max_size=6), st.lists(st.integers(0, 40)))
def test_whatever_the_looks_every_character_is_read_once(lines: list[str], looks: list[int]) -> None:
    log = "\n".join(lines)
    read = ""
    for seen in sorted(min(look, len(log)) for look in looks):
        new = unread(log[:seen], len(read), ended=False)
        assert new == "" or new.endswith("\n")
        read += new
    assert read + unread(log, len(read), ended=True) == log


def test_of_a_line_written_over_itself_the_last_words_count() -> None:
    assert last_line("first\n10 %\r99 %\rdone: 5 km2\n\n  \n") == "done: 5 km2"
    assert last_line("\n") == ""


def test_airflow_is_not_needed() -> None:
    assert importlib.util.find_spec("airflow") is None
