"""Every error Terraquery raises on purpose, in one tree.

    TerraqueryError
    |-- InputError             exit code 2
    |   |-- RunMismatchError   exit code 2
    |   `-- RunBusyError       exit code 5
    |-- SourceError            retryable when transient
    |-- ModelError             retryable when transient
    |-- RecordError
    |   |-- MissingRecordError
    |   `-- OtherInputsError
    |-- DiskFullError
    |-- MemoryShortError
    |-- UnexpectedError
    |-- IncompleteRunError
    |-- StoppedRunError        exit code 4
    `-- BudgetSpentError       exit code 6

A message says what was required, what came, and what to do next. Per-tile problems are not exceptions once
they are known: they become rows with `TileStatus.FAILED` and a reason. What libraries raise is turned into
one of these where a job ends (`pipeline.run.job_exit`).
"""

from __future__ import annotations


class TerraqueryError(Exception):
    """Base of all errors raised on purpose. A job that one of them ends exits with `exit_code`."""

    exit_code = 1
    retryable = False


class InputError(TerraqueryError):
    """A parameter or an input file is wrong. Raised before any model is loaded; nothing has been written."""

    exit_code = 2

    def __init__(self, what: str, *, came: str = "", remedy: str = "") -> None:
        """`what` names the input and what was required; `came` what arrived; `remedy` the next step.

        `came` may be the message of another error. Its remedy then follows the own one.
        """
        came, inner = parted(came)
        remedies = dict.fromkeys(one.rstrip(".") for one in (remedy, inner) if one)
        self.what = what.rstrip(".") + "."
        self.came = came.replace(". Got: ", ": ").rstrip(".")
        self.remedy = ", or: ".join(remedies)
        said = [self.what]
        if self.came:
            said.append(f"Got: {self.came}.")
        if self.remedy:
            said.append(f"{_REMEDY}{self.remedy}{'' if self.remedy.endswith('?') else '.'}")
        super().__init__(" ".join(said))


_REMEDY = "To fix: "


def parted(message: str) -> tuple[str, str]:
    """Part the message of an error into what happened, and the remedy. Empty: it has none."""
    reason, _, remedy = message.partition(_REMEDY)
    return reason.rstrip(), remedy


def without_remedy(message: str) -> str:
    """Give what the message of an error says to have happened, to be quoted in a sentence."""
    return parted(message)[0].replace(". Got: ", ": ").rstrip(".")


class RunMismatchError(InputError):
    """The output directory holds a run with other parameters; the message lists the keys that differ."""


class RunBusyError(InputError):
    """Another driver is at work in the output directory. Nothing else is wrong: the same command goes on once
    that one has ended, or its lock is too old to count."""

    exit_code = 5


class SourceError(TerraqueryError):
    """Imagery could not be opened or read."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ModelError(TerraqueryError):
    """A checkpoint could not be loaded, has another architecture, or a model call failed."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class RecordError(TerraqueryError):
    """A block record is missing, truncated, or carries another run's fingerprint."""


class MissingRecordError(RecordError):
    """There is no block record."""


class OtherInputsError(RecordError):
    """A block record is whole, and was made for other inputs."""

    def __init__(self, message: str, *, inputs: str = "") -> None:
        super().__init__(message)
        self.inputs = inputs
        """What it says it was made for. Empty: nothing."""


class DiskFullError(TerraqueryError):
    """There was no room for what had to be written. What was committed before is kept."""


class MemoryShortError(TerraqueryError):
    """There was no memory for what had to be done. What was committed before is kept."""


class UnexpectedError(TerraqueryError):
    """Something that nobody foresaw: a defect of this project or of a library. The message names the file
    that holds the traceback."""


class IncompleteRunError(TerraqueryError):
    """A run cannot be published: tiles are unaccounted for, or another driver has taken over. What was done
    is committed, and the same command goes on.
    """


class StoppedRunError(TerraqueryError):
    """A run was stopped because its tiles fail one after the other for one reason. What was done is committed
    and resumable; nothing was published."""

    exit_code = 4


class BudgetSpentError(TerraqueryError):
    """A run was stopped because it has spent what it may. What was begun is committed and resumable; nothing
    was published. To try again without a higher limit would be in vain."""

    exit_code = 6
