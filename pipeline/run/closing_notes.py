"""What a finished run can do without, and the notes of what could not be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.run.job_exit import readable
from pipeline.run.screen import Say
from pipeline.run.shortage import full_disk
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import read_any_run

_OF_REPORTS = (
    "report.html",
    "the report of zone",
    "the pictures of report.html",
    "pictures of the imagery",
    "the overview",
)
"""What a note of a report begins with."""


class Notes:
    """Makes what a run can do without, and keeps a note of what could not be made."""

    def __init__(self, say: Say, log: Path) -> None:
        """Notes are also said; tracebacks go to `log`."""
        self.texts: list[str] = []
        self._say = say
        self._log = log

    def add(self, text: str) -> None:
        """Keep a note, and say it."""
        self.texts.append(text)
        self._say(f"note: {text}")

    def attempt[T](self, what: str, make: Callable[[], T]) -> T | None:
        """Return what `make` returns. When it fails: a note, and None. A full disk raises."""
        try:
            return make()
        except Exception as error:
            if full_disk(error) is not None:
                raise
            self.add(f"{what} could not be made: {readable(error, log=self._log)}")
            return None


def kept_notes(run_dir: RunDir) -> list[str]:
    """What run.json says of the report of a snapshot, if it names this one."""
    info = read_any_run(run_dir.run_json)
    if info.snapshot != run_dir.results.name:
        return []
    return [text for text in info.notes if text.startswith(_OF_REPORTS)]
