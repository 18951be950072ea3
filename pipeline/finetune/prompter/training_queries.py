"""Choose the query that is asked about a tile in training.

Most wordings come from `pipeline.finetune.prompter.wordings`. The others come from `pipeline.world.queries`
(never the held-out ones), or put its nouns into templates. Queries without an answer ask for an absent class
or for a stranger: a thing that no world labels, even if it is in the picture (roads, trees, shadows). About
half of the answers are empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.samples import UNKNOWN_SUBJECT
from pipeline.finetune.prompter.wordings import NEVER, load_wordings, pick
from pipeline.world.classes import CLASSES
from pipeline.world.queries import TRAIN_QUERIES, QueryKind

SUBJECTS = tuple(name.replace("_", " ") + "s" for name in CLASSES)
"""Name of each class in the rationale."""

_TEMPLATES = (
    "{}", "find {}", "find all {}", "where are the {}?", "locate the {}", "mark {}", "detect {}",
    "any {} here?", "please segment {}", "I need all {}", "map the {}", "which pixels are {}?", "list {}",
    "highlight the {}", "are there {}?", "{} only", "every one of the {}",
)  # fmt: skip

_MORE_NOUNS: dict[str, tuple[str, ...]] = {
    "storage_tank": (
        "petroleum tanks",
        "oil storage tanks",
        "cylindrical storage tanks",
        "tank storage",
        "chemical tanks",
        "storage tank",
    ),
    "building": ("homes", "dwellings", "residential buildings", "rooftops", "built structures", "building"),
    "lake": ("reservoirs", "natural water bodies", "freshwater lakes", "lake surfaces", "lake"),
    "ripe_field": (
        "harvest-ready fields",
        "mature cereal fields",
        "fields of golden grain",
        "ripe field",
        "ripe crops",
        "dry golden crops",
    ),
    "green_field": (
        "growing crops",
        "green crop plots",
        "immature crop fields",
        "fields with young crops",
        "green field",
        "green crops",
    ),
    "runway": ("airfield runways", "airport landing strips", "asphalt runways", "runway", "aircraft runways"),
    "pool": ("home swimming pools", "bathing pools", "blue garden pools", "pool", "swimming pool"),
    "greenhouse": (
        "greenhouse structures",
        "glass houses for plants",
        "hothouses",
        "greenhouse",
        "agricultural greenhouses",
    ),
    "solar_array": (
        "solar farms",
        "PV panels",
        "solar power plants",
        "solar modules",
        "photovoltaic installations",
        "solar array",
        "photovoltaics",
    ),
}

_MORE_NEVER = (
    "cars", "trucks", "vehicles", "roads", "paths", "streets", "trees", "forest", "shrubs", "bare soil",
    "sand", "grass", "shadows", "clouds", "people", "animals", "cattle", "sheep", "beaches", "mountains",
    "cliffs", "rivers", "canals", "parking lots", "snow", "ice", "tracks in the sand", "fences", "walls",
    "hedges", "orchards", "vineyards", "rocks", "craters", "wetlands", "swamps", "canoes", "bicycles",
    "buses", "tractors", "combine harvesters", "farm animals", "fire", "smoke", "landslides", "windmills",
    "water towers", "silos", "grain silos", "piers", "harbours", "marinas", "lock gates", "tunnels",
    "motorways", "intersections", "traffic lights", "benches", "monuments", "temples", "palaces",
    "skyscrapers", "barns with red doors", "cable cars", "missiles", "tanks of an army", "rockets",
    "launch pads", "antennas", "telescopes", "billboards", "markets", "tents", "landfills", "scrap yards",
    "log piles", "sawmills", "coal heaps", "oil spills", "algae", "coral", "whales", "dunes", "oases",
    "palm trees", "burnt forest", "potholes", "zebra crossings", "where do cars drive?",
    "where do trees grow?", "where could one park a car?", "what casts a shadow?", "where do cows graze?",
    "where can hikers walk?", "where do trains run?", "what carries water from a mountain?",
    "where is wine made?", "where is fruit picked from trees?", "where is garbage dumped?",
    "where do children play football?", "what could a tank driver steer?", "where does snow stay all year?",
    "places that burned recently", "where do people pray?", "where do people shop?",
    "where could a ship dock?", "something to ride on", "nothing", "the letter A", "unicorns", "asdf qwer",
    "blue elephants", "xyz", "dragons", "what is the capital of France?", "hello",
)  # fmt: skip

ABSENT_SHARE = 0.35
"""Probability that a query about a tile with objects asks for an absent class or a stranger."""

STRANGER_SHARE = 0.35
"""Share of the queries without an answer that ask for a stranger."""

_MENTIONS = (
    " in this image",
    " in the image",
    " in this picture",
    " here",
    " on this photo",
    " in this area",
)

QUERIES_SHARE = 0.4
"""Share of the queries with a wording of `pipeline.world.queries` or a template. The others come from
`wordings.toml`.
"""

CORPUS_FRAMES = 3
"""Number of frames for each wording of `wordings.toml` in the tokenizer's corpus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingQuery:
    """One wording, and what it asks for."""

    text: str
    class_id: int
    """Index into CLASSES; -1: a stranger, a thing that no world has."""

    @property
    def subject(self) -> str:
        return SUBJECTS[self.class_id] if self.class_id >= 0 else UNKNOWN_SUBJECT


def _is_noun(text: str) -> bool:
    return not text.endswith("?") and text.split()[0] not in {
        "all",
        "find",
        "segment",
        "every",
        "the",
        "houses",
    }


def _nouns(class_name: str) -> tuple[str, ...]:
    given = [
        q.query
        for q in TRAIN_QUERIES
        if q.class_name == class_name and q.kind is QueryKind.EXPLICIT and _is_noun(q.query)
    ]
    return (*given, *_MORE_NOUNS[class_name])


class QuerySampler:
    """Draws queries. It loads the wordings once.

    `absent_share` and `stranger_share` replace ABSENT_SHARE and STRANGER_SHARE.
    """

    def __init__(self, *, absent_share: float = ABSENT_SHARE, stranger_share: float = STRANGER_SHARE) -> None:
        self._absent_share = absent_share
        self._stranger_share = stranger_share
        self._listed = tuple(
            tuple(q.query for q in TRAIN_QUERIES if q.class_name == name) for name in CLASSES
        )
        self._nouns = tuple(_nouns(name) for name in CLASSES)
        self._never = (*(q.query for q in TRAIN_QUERIES if not q.class_name), *_MORE_NEVER)
        self._never_nouns = tuple(text for text in self._never if not text.endswith("?"))
        wordings = load_wordings()
        self._wide = (*(wordings[name] for name in CLASSES), wordings[NEVER])

    def corpus(self) -> list[str]:
        """List the texts from which the tokenizer learns.

        They hold the queries' wordings several times, nouns in every template, and other wordings in some
        frames.
        """
        listed = [text for texts in self._listed for text in texts]
        nouns = [noun for nouns in self._nouns for noun in nouns] + list(self._never_nouns)
        framed = [template.format(noun) for noun in nouns for template in _TEMPLATES]
        wide = [
            text
            for start, subject in enumerate(self._wide)
            for text in subject.sample(CORPUS_FRAMES, start=start)
        ]
        return listed * len(_TEMPLATES) + list(self._never) * 4 + framed + wide

    def about(self, class_id: int, rng: np.random.Generator) -> TrainingQuery:
        """Draw a query about a class; -1: about a stranger."""
        if rng.random() >= QUERIES_SHARE:
            text = self._wide[class_id].draw(rng)
        elif class_id < 0:
            framed = rng.random() < 0.5
            text = _frame(rng, self._never_nouns) if framed else pick(rng, self._never)
        else:
            framed = rng.random() < 0.35
            text = _frame(rng, self._nouns[class_id]) if framed else pick(rng, self._listed[class_id])
        return TrainingQuery(text=_vary(rng, text), class_id=class_id)

    def for_tile(
        self, class_ids: NDArray[np.int64], rng: np.random.Generator, *, unclear: Iterable[int] = ()
    ) -> TrainingQuery:
        """Draw a query for a tile with objects of `class_ids` (one entry per object).

        `unclear`: classes that are visible in the tile, perhaps only in objects too small to list. If such a
        class has no object in `class_ids`, it is not asked about, since neither answer would be fair.
        """
        present = np.unique(class_ids)
        if len(present) and rng.random() > self._absent_share:
            return self.about(int(rng.choice(present)), rng)
        absent = np.setdiff1d(np.arange(len(CLASSES)), [*present, *unclear])
        if rng.random() < self._stranger_share or not len(absent):
            return self.about(-1, rng)
        return self.about(int(rng.choice(absent)), rng)


def _frame(rng: np.random.Generator, nouns: tuple[str, ...]) -> str:
    return pick(rng, _TEMPLATES).format(pick(rng, nouns))


def _vary(rng: np.random.Generator, text: str) -> str:
    """Change a wording now and then.

    Changes are: a lost article, "all" for "all the", a mention of the picture, a polite word, other capitals,
    another closing mark.
    """
    if rng.random() < 0.08:
        text = re.sub(r"\b(the|a|an) ", "", text, count=1)
    if rng.random() < 0.3:
        text = re.sub(r"\ball (the )?(?=[a-z])", "all " if " the " in text else "all the ", text, count=1)
    mark = "?" if text.endswith("?") else ""
    if rng.random() < 0.08 and not re.search(r"\b(image|picture|photo|map|air|here)\b", text):
        text = text.removesuffix("?") + pick(rng, _MENTIONS) + mark
    if rng.random() < 0.05 and "please" not in text and not mark:
        text = f"{text}, please" if rng.random() < 0.5 else f"please: {text}"
    letters = rng.random()
    if letters < 0.2:
        text = text[0].upper() + text[1:]
    elif letters < 0.3:
        text = text.lower()
    elif letters < 0.31:
        text = text.upper()
    if rng.random() < 0.15:
        text = text.rstrip("?") if text.endswith("?") else text + "."
    return text
