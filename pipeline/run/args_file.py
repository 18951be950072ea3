"""Job arguments in a file: `--args-file FILE` stands for the words in it.

    # what is asked of the June imagery
    --source "stac:https://earth-search.aws.element84.com/v1#sentinel-2-l2a"
    --bbox -117.3 32.6 -116.9 33.0
    --query "storage tanks"
    --query 'swimming pools'   # a query for each line

1. Every line is split like a command of a shell: quotes keep words together, a backslash takes the meaning of
   the next character, and what follows a `#` after blanks is a comment. Nothing is expanded: no variables, no
   wildcards, no `~`.
2. The words take the place of `--args-file FILE`. Where an option counts once, the last one counts, so what
   is written after the file on the command line overrides it. Paths are relative to the working directory, as
   on the command line.
3. `JobParser` names file and line where argparse complains of a word that came from a file.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import InputError
from pipeline.files.text_file import read_text

OPTION = "--args-file"

_TOKEN = re.compile(r"[^\s,:'\"()]+")


def with_args_files(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Put the words of files where `--args-file` names them. Returns all words, and those from files with
    their places. Raises InputError for a file that cannot be read, or not as lines of words.
    """
    found: list[str] = []
    places: list[tuple[str, str]] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, path = word.partition("=")
        if name != OPTION or (not equals and not waiting):  # argparse misses the name of a file by itself
            found.append(word)
            continue
        path = path if equals else waiting.pop(0)
        for number, line in enumerate(read_text(Path(path), OPTION).splitlines(), start=1):
            place = f"{path}, line {number}"
            told = _words_of(line, place)
            found += told
            places += [(one, place) for one in told]
    return found, places


def _words_of(line: str, place: str) -> list[str]:
    try:
        words = shlex.split(_without_comment(line))
    except ValueError as error:
        raise InputError(
            f"{place} must be words as a shell takes them",
            came=f"{line.strip()} ({error})",
            remedy="close the quotes, on the same line",
        ) from error
    if any(word.partition("=")[0] == OPTION for word in words):
        raise InputError(
            f"{place} names a further file",
            came=line.strip(),
            remedy=f"give {OPTION} on the command line, once for each file",
        )
    return words


def _without_comment(line: str) -> str:
    """The line up to a `#` at its beginning or after blanks, unless quotes are open there. shlex would cut
    `collection#name` as well.
    """
    for mark in re.finditer(r"(?:^|(?<=\s))#", line):
        before = line[: mark.start()]
        try:
            shlex.split(before)
        except ValueError:
            continue
        return before
    return line


class _WrittenOut(argparse.Action):
    """Refuses a shortened --args-file, which is looked for before argparse knows of short forms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{OPTION} must be written out")


class JobParser(argparse.ArgumentParser):
    """The parser of a job, which takes arguments from files too."""

    def __init__(self, *, prepare: Callable[[list[str]], list[str]] = list, **named: Any) -> None:
        """`prepare`: rewrites the words, those of files included, before they are parsed. `named`: as
        argparse takes it.
        """
        super().__init__(**named)
        self._prepare = prepare
        self._places: list[tuple[str, str]] = []
        self.add_argument(
            OPTION,
            action=_WrittenOut,
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="take further arguments from a text file, as if they stood here: one option with its values "
            "per line, quotes as in a shell, # for comments; what comes after it overrides it",
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse as argparse does, once files are replaced by their words."""
        try:
            words, places = with_args_files(sys.argv[1:] if args is None else list(args))
        except InputError as error:
            self.error(str(error))
        self._places += places
        return super().parse_known_args(self._prepare(words), namespace)

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2. Words of files are named with their places."""
        tokens = set(_TOKEN.findall(message))
        named = [(word, place) for word, place in self._places if word.partition("=")[0] in tokens]
        options = [(word, place) for word, place in named if word.startswith("-")]
        values = named if message.startswith("unrecognized arguments") else []
        told = "; ".join(dict.fromkeys(f"{word} stands in {place}" for word, place in options or values))
        super().error(f"{message} ({told})" if told else message)
