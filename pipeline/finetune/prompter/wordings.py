"""Ask for the same thing in many ways: the wordings of `wordings.toml`, their grammar and their frames.

1. `load_wordings` reads the listed wordings of each subject: a class, or `never` for what no world labels.
2. `_composed` adds wordings of the grammar: each head of a table with each of its tails.
3. `SubjectWordings.draw` draws a form, a wording of that form and a frame around it. All subjects have the
   same shares, so a form tells nothing about the answer.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from itertools import product
from typing import Any, Literal

import numpy as np

from pipeline.errors import InputError
from pipeline.world.classes import CLASSES

Form = Literal["noun", "singular", "sentence", "where", "that"]

FORM_SHARES: dict[Form, float] = {
    "noun": 0.27,
    "singular": 0.06,
    "sentence": 0.37,
    "where": 0.17,
    "that": 0.13,
}
"""Share of each form among drawn wordings."""

LISTED_SHARE = 0.6
"""Share of listed wordings among those of form noun; the others are composed."""

BARE_SHARES: dict[Form, float] = {"noun": 0.15, "singular": 0.15, "sentence": 0.6}
"""Share of the wordings of a form that stand without a frame."""

NEVER = "never"
"""Subject of things that no world has or labels. They have the same forms as the classes."""

_LISTED_KEYS: dict[Form, str] = {"noun": "nouns", "singular": "singular", "sentence": "sentences"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectWordings:
    """The wordings about one subject and the frames that all subjects share."""

    listed: dict[Form, tuple[str, ...]]
    """Wordings written out in the file; those of forms where and that are empty."""
    composed: dict[Form, tuple[str, ...]]
    """Wordings composed by the grammar; those of forms singular and sentence are empty."""
    frames: dict[Form, tuple[str, ...]]
    """Frames by form; each holds one slot {}."""

    def phrases(self, form: Form) -> tuple[str, ...]:
        """List every wording of a form, without a frame."""
        return self.listed[form] + self.composed[form]

    def draw(self, rng: np.random.Generator) -> str:
        """Draw one wording in a frame."""
        form = tuple(FORM_SHARES)[int(rng.choice(len(FORM_SHARES), p=tuple(FORM_SHARES.values())))]
        listed = self.listed[form]
        composed = self.composed[form]
        from_list = rng.random() < LISTED_SHARE if listed and composed else bool(listed)
        phrase = pick(rng, listed if from_list else composed)
        if rng.random() < BARE_SHARES.get(form, 0.0):
            return phrase
        return pick(rng, self.frames[form]).format(phrase)

    def count(self) -> int:
        """Count the distinct queries that `draw` can give."""
        framed = {
            frame.format(text)
            for form in FORM_SHARES
            for text in self.phrases(form)
            for frame in self.frames[form]
        }
        bare = {text for form in BARE_SHARES for text in self.phrases(form)}
        return len(framed | bare)

    def sample(self, frames_each: int, *, start: int = 0) -> list[str]:
        """Put each wording into `frames_each` frames, in turn from frame `start` on; for a corpus."""
        said = []
        number = start
        for form in FORM_SHARES:
            for phrase in self.phrases(form):
                for _ in range(frames_each):
                    said.append(self.frames[form][number % len(self.frames[form])].format(phrase))
                    number += 1
        return said


def pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    """Draw one of the items."""
    return items[int(rng.integers(len(items)))]


def read_wordings() -> dict[str, Any]:
    """Read the file as it is."""
    return tomllib.loads(
        resources.files("pipeline.finetune.prompter").joinpath("wordings.toml").read_text(encoding="ascii")
    )


def load_wordings() -> dict[str, SubjectWordings]:
    """Load wordings by subject: the classes in order, then NEVER.

    Raises InputError when a subject or a form is missing.
    """
    tables = read_wordings()
    missing = [name for name in ("frames", *CLASSES, NEVER) if name not in tables]
    if missing:
        raise InputError(
            "wordings.toml needs a table for every class, never and frames",
            came=f"without {missing}",
            remedy="add them",
        )
    frames: dict[Form, tuple[str, ...]] = {form: tuple(tables["frames"][form]) for form in FORM_SHARES}
    return {name: _subject(name, tables[name], frames) for name in (*CLASSES, NEVER)}


def _subject(name: str, table: dict[str, Any], frames: dict[Form, tuple[str, ...]]) -> SubjectWordings:
    listed: dict[Form, tuple[str, ...]] = {
        form: tuple(table[_LISTED_KEYS[form]]) if form in _LISTED_KEYS else () for form in FORM_SHARES
    }
    wordings = SubjectWordings(
        listed=listed,
        composed={form: _composed(table["grammar"], form) for form in FORM_SHARES},
        frames=frames,
    )
    for form in FORM_SHARES:
        if not wordings.phrases(form):
            raise InputError(
                "every subject of wordings.toml needs wordings of every form",
                came=f"{name} without {form}",
                remedy="add some",
            )
    return wordings


def _composed(grammar: list[dict[str, Any]], form: Form) -> tuple[str, ...]:
    """Compose the grammar's wordings of a form.

    A wording of form where follows the word where ("rain water collects"), one of form that the word that
    ("hold crude oil").
    """
    pairs = (
        pair for table in grammar if table["form"] == form for pair in product(table["heads"], table["tails"])
    )
    return tuple(f"{head} {tail}" for head, tail in pairs)
