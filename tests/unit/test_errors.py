"""Messages, exit codes and which errors are worth another try."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import (
    DiskFullError,
    IncompleteRunError,
    InputError,
    ModelError,
    RecordError,
    RunBusyError,
    RunMismatchError,
    SourceError,
    TerraqueryError,
    UnexpectedError,
    parted,
    without_remedy,
)


@pytest.mark.parametrize(
    ("came", "remedy", "said"),
    [
        ("", "", "--tile must be even."),
        ("7", "", "--tile must be even. Got: 7."),
        ("", "give 8", "--tile must be even. To fix: give 8."),
        ("7.", "give 8.", "--tile must be even. Got: 7. To fix: give 8."),
    ],
)
def test_an_input_error_says_what_was_required_what_came_and_what_to_do(
    came: str, remedy: str, said: str
) -> None:
    assert str(InputError("--tile must be even", came=came, remedy=remedy)) == said
    assert str(InputError("--tile must be even.", came=came, remedy=remedy)) == said


def test_a_quoted_error_gives_its_reason_and_its_remedy_once() -> None:
    inner = str(InputError("An href must be allowed", came="ftp://h", remedy="give --allow-host h"))
    outer = InputError("One item must be usable", came=inner, remedy="name others")
    assert str(outer) == (
        "One item must be usable. Got: An href must be allowed: ftp://h. To fix: name others, or: give "
        "--allow-host h."
    )
    same = InputError("One item must be usable", came=inner, remedy="give --allow-host h")
    assert str(same).endswith("To fix: give --allow-host h.")
    assert without_remedy(str(outer)) == "One item must be usable: An href must be allowed: ftp://h"
    assert parted("it broke") == ("it broke", "")
    again = pickle.loads(pickle.dumps(outer))
    assert (str(again), again.remedy) == (str(outer), outer.remedy)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InputError, 2),
        (RunMismatchError, 2),
        (RunBusyError, 5),
        (IncompleteRunError, 1),
        (SourceError, 1),
        (ModelError, 1),
        (RecordError, 1),
        (DiskFullError, 1),
        (UnexpectedError, 1),
    ],
)
def test_every_error_ends_a_job_with_its_code(kind: type[TerraqueryError], code: int) -> None:
    with pytest.raises(TerraqueryError) as caught:
        raise kind("gone")
    assert caught.value.exit_code == code
    assert not caught.value.retryable


@pytest.mark.parametrize("kind", [SourceError, ModelError])
def test_trouble_that_may_pass_is_marked_on_that_error_alone(kind: type[SourceError | ModelError]) -> None:
    assert kind("the server did not answer", retryable=True).retryable
    assert not kind("no such file").retryable
